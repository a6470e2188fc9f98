"""What the model says, in one small language: deltas while it speaks, a Completion when it is done.

Everything that reads the wire produces these objects, and everything that a framework shows is made from them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from cf_gemma.model.facts import PRICE

ANSWER_IN_REASONING: Final = "answer_in_reasoning"
"""In the `extra` of a choice, where the server filed the whole answer under reasoning: it is the text, too."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts of one call, as the service reports them; reasoning is part of `completion_tokens`."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    cached_tokens: int | None = None
    """Prompt tokens served from the prefix cache; None when the service didn't say."""
    reasoning_tokens: int | None = None
    """Completion tokens spent on reasoning; None when the service didn't say (Workers AI never has, Oct 2026)."""
    neurons: float | None = None
    """Cloudflare's unit of billing; None when the service didn't say."""

    @property
    def cost(self) -> float:
        """US dollars: the reported neurons at their price, else the tokens at theirs."""
        return PRICE.cost(self.prompt_tokens, self.completion_tokens, self.neurons)

    def to_dict(self) -> dict[str, Any]:
        """The chat-completions `usage` object, with `neurons` when known."""
        usage: dict[str, Any] = {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.total_tokens,
        }
        if self.cached_tokens is not None:
            usage["prompt_tokens_details"] = {"cached_tokens": self.cached_tokens}
        if self.reasoning_tokens is not None:
            usage["completion_tokens_details"] = {"reasoning_tokens": self.reasoning_tokens}
        if self.neurons is not None:
            usage["neurons"] = self.neurons
        return usage


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool call whose arguments are a complete JSON object."""

    id: str
    name: str
    arguments: str
    """The arguments as the model wrote them: JSON text."""
    args: dict[str, Any]
    """The same, decoded."""


@dataclass(frozen=True, slots=True)
class InvalidToolCall:
    """A tool call that must not be executed: it is cut off, or a parser spoiled it, or the model made a slip."""

    id: str
    name: str
    arguments: str
    """The arguments as far as they came."""
    error: str
    """Why it must not be executed."""
    cut: bool = False
    """Whether a limit, a stop text or the server cut it off: asked for again, it would be cut again."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One answer. There is one unless `n` asked for more."""

    index: int = 0
    text: str = ""
    reasoning: str = ""
    calls: tuple[ToolCall | InvalidToolCall, ...] = ()
    """All tool calls in the model's own order; a call's place here is the `index` of its deltas."""
    finish_reason: str | None = None
    """`stop`, `length`, `tool_calls`, `content_filter`, or a word this version doesn't know; None only in a partial."""
    logprobs: dict[str, Any] | None = None
    extra: dict[str, Any] = field(default_factory=dict[str, Any])
    """What else the service said of this choice, non-null: `matched_stop`, `stop_reason`, `refusal`, `annotations`."""

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The calls that may be executed."""
        return tuple(call for call in self.calls if isinstance(call, ToolCall))

    @property
    def invalid_tool_calls(self) -> tuple[InvalidToolCall, ...]:
        """The calls that must not be executed."""
        return tuple(call for call in self.calls if isinstance(call, InvalidToolCall))

    @property
    def message(self) -> dict[str, Any]:
        """This answer as an assistant message, to send back with what comes next, such as the results of tools."""
        message: dict[str, Any] = {"role": "assistant", "content": self.text}
        if self.reasoning:
            message["reasoning_content"] = self.reasoning
        if self.calls:
            message["tool_calls"] = [
                {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
                for call in self.calls
            ]
        return message

    def to_dict(self) -> dict[str, Any]:
        """The chat-completions `choices[]` object."""
        return {
            "index": self.index,
            "message": self.message,
            "finish_reason": self.finish_reason,
            "logprobs": self.logprobs,
            **self.extra,
        }


@dataclass(frozen=True, slots=True)
class Completion:
    """A whole answer (or, as `GemmaError.partial`, what had arrived of one)."""

    choices: tuple[Choice, ...]
    usage: Usage | None = None
    """Exact whatever the stream did; None when the service sent none."""
    id: str = ""
    model: str = ""
    """The model the service says it used; it may bear a suffix such as `-external`."""
    created: int = 0
    """Unix seconds; 0 when the service didn't say."""
    headers: dict[str, str] = field(default_factory=dict[str, str])
    """The answer's own `cf-*` headers, lower case: `cf-ray`, `cf-ai-req-id`, `cf-aig-log-id`, `cf-aig-cache-status`…"""
    extra: dict[str, Any] = field(default_factory=dict[str, Any])
    """What else the service said at the top level, non-null: `system_fingerprint`, `service_tier`…"""

    @property
    def text(self) -> str:
        """The first choice's text, "" when there is none."""
        return self.choices[0].text

    @property
    def reasoning(self) -> str:
        """The first choice's reasoning, "" when there is none."""
        return self.choices[0].reasoning

    @property
    def message(self) -> dict[str, Any]:
        """The first choice as an assistant message, to send back with what comes next."""
        return self.choices[0].message

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The first choice's tool calls, in the order in which they began."""
        return self.choices[0].tool_calls

    @property
    def invalid_tool_calls(self) -> tuple[InvalidToolCall, ...]:
        """The first choice's tool calls that must not be executed."""
        return self.choices[0].invalid_tool_calls

    @property
    def finish_reason(self) -> str | None:
        """Why the first choice ended."""
        return self.choices[0].finish_reason

    @property
    def thought_only(self) -> bool:
        """Whether `max_tokens` ran out within the reasoning of the first choice, before anything of its answer came."""
        choice = self.choices[0]
        answered = choice.text.strip() or choice.calls
        return choice.finish_reason == "length" and bool(choice.reasoning) and not answered

    @property
    def gateway(self) -> dict[str, str]:
        """What an AI Gateway said: `log_id`, `cache_status`, `step`, `model`, `provider`…; {} without one."""
        named = {name.removeprefix("cf-aig-"): value for name, value in self.headers.items() if "cf-aig-" in name}
        return {name.replace("-", "_"): value for name, value in named.items()}

    @property
    def request_id(self) -> str | None:
        """The id to quote to Cloudflare: `cf-ai-req-id`, else `cf-ray`."""
        return self.headers.get("cf-ai-req-id") or self.headers.get("cf-ray")

    def to_dict(self) -> dict[str, Any]:
        """The answer as one plain `chat.completion` object, whichever back-end and route it came from."""
        completion: dict[str, Any] = {
            "id": self.id,
            "object": "chat.completion",
            "created": self.created,
            "model": self.model,
            "choices": [choice.to_dict() for choice in self.choices],
            **self.extra,
        }
        if self.usage is not None:
            completion["usage"] = self.usage.to_dict()
        return completion


# Not frozen, as all else here is: there is one for each token, and a frozen one costs three times as much.
@dataclass(slots=True)
class TextDelta:
    """A piece of the answer's text."""

    text: str
    choice: int = 0


@dataclass(slots=True)
class ReasoningDelta:
    """A piece of the model's reasoning."""

    text: str
    choice: int = 0


@dataclass(slots=True)
class ToolCallDelta:
    """A piece of a tool call.

    The first delta of a call carries `id` and `name`; later ones carry more of `arguments` only.
    """

    index: int
    """The call's place among the choice's calls, 0, 1, 2…, whatever index the wire used."""
    id: str | None = None
    name: str | None = None
    arguments: str = ""
    choice: int = 0


Delta = TextDelta | ReasoningDelta | ToolCallDelta
