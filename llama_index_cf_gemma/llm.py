"""CloudflareGemma: Gemma 4 on Cloudflare Workers AI as a LlamaIndex LLM."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from llama_index.core.base.llms.types import ChatMessage, MessageRole
from llama_index.core.instrumentation import get_dispatcher  # pyright: ignore[reportPrivateImportUsage] - its documented place
from llama_index.core.instrumentation.events.llm import LLMStructuredPredictEndEvent, LLMStructuredPredictStartEvent
from llama_index.core.program.function_program import get_function_tool
from llama_index.core.types import PydanticProgramMode
from typing_extensions import override

from cf_gemma.errors import ToolChoiceNotHonoured
from llama_index_cf_gemma.events import on_chat, on_completion
from llama_index_cf_gemma.messages import is_after_nothing, to_wire
from llama_index_cf_gemma.queued import QueuedGemma
from llama_index_cf_gemma.responses import (
    StreamedChat,
    StreamedCompletion,
    accept,
    chat_response,
    completion_response,
    refuse_nothing,
    refuse_unfinished_thought,
)
from llama_index_cf_gemma.schema import answer_format
from llama_index_cf_gemma.streaming import aprimed, primed
from llama_index_cf_gemma.structured import StructuredAnswer
from llama_index_cf_gemma.text_only import TEXT_ONLY, text_only
from llama_index_cf_gemma.tools import history_with, tool_options, tool_selections

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence

    from llama_index.core.base.llms.types import (
        ChatResponse,
        ChatResponseAsyncGen,
        ChatResponseGen,
        CompletionResponse,
        CompletionResponseAsyncGen,
        CompletionResponseGen,
    )
    from llama_index.core.llms.llm import ToolSelection
    from llama_index.core.program.utils import FlexibleModel
    from llama_index.core.prompts import BasePromptTemplate, PromptTemplate
    from llama_index.core.tools.types import BaseTool
    from llama_index.core.types import Model, TokenAsyncGen, TokenGen

    from cf_gemma import Completion


dispatcher = get_dispatcher(__name__)

Method = TypeVar("Method")


def _span(method: Method) -> Method:
    """A span around each call, without hiding the types of what it wraps."""
    return cast("Any", dispatcher).span(method)


PROGRAM_OPTIONS: Final = frozenset({"tool_choice", "tool_required", "allow_parallel_tool_calls"})
"""What LlamaIndex's programs take out of `llm_kwargs`: how the object is asked for is decided here."""

THINKING_OPTIONS: Final = frozenset({"thinking", "chat_template_kwargs"})
"""A caller who sets one of these has decided about thinking; else structured output switches it off."""


class CloudflareGemma(QueuedGemma):
    """Gemma 4 on Cloudflare Workers AI, as a FunctionCallingLLM.

    ```python
    from llama_index_cf_gemma import CloudflareGemma

    llm = CloudflareGemma()  # CLOUDFLARE_ACCOUNT_ID and CLOUDFLARE_API_TOKEN from the environment
    print(llm.complete("Why is the sky blue?"))
    ```

    Every call takes the request parameters of the published schema as keyword arguments (`max_tokens=…`,
    `thinking=False`, `extra_headers=…`). LlamaIndex hands them to observers as they are: no secrets there.

    A stream's first piece has come when the call returns, so a request that fails raises at the call. Leaving a stream
    early closes its connection. Its last response carries the whole message, the usage and the finish reason.

    Raises:
        cf_gemma.errors.ConfigurationError: at construction, when a setting is missing or malformed.
        cf_gemma.errors.InvalidRequest: at construction or at a call, for a parameter that is unknown or out of range.
        cf_gemma.errors.GemmaError: at a call; `.partial` holds what had arrived.
    """

    @classmethod
    @override
    def class_name(cls) -> str:
        """The name under which `to_dict` stores this class."""
        return "cloudflare_gemma_llm"

    @override
    @on_chat
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """The whole answer: text, reasoning and tool calls as blocks, usage in `additional_kwargs` and `raw`."""
        request, options = self._request(messages, kwargs)
        return _chat_response(self.client.chat(request, **options), options, messages)

    @override
    @on_chat
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """The whole answer."""
        request, options = self._request(messages, kwargs)
        return _chat_response(await self.async_client.chat(request, **options), options, messages)

    @override
    @on_chat
    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        """The answer as it comes; new reasoning is in `additional_kwargs["thinking_delta"]`."""
        request, options = self._request(messages, kwargs)
        return primed(self.client.stream(request, **options), _streamed_chat(options, messages))

    @override
    @on_chat
    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseAsyncGen:
        """The answer as it comes."""
        request, options = self._request(messages, kwargs)
        return await aprimed(self.async_client.stream(request, **options), _streamed_chat(options, messages))

    @override
    def predict(self, prompt: BasePromptTemplate, **prompt_args: Any) -> str:
        """The answer's text to a prompt. Raises ReasoningBudgetExceeded where thinking left none."""
        with text_only():
            return super().predict(prompt, **prompt_args)

    @override
    async def apredict(self, prompt: BasePromptTemplate, **prompt_args: Any) -> str:
        """The answer's text to a prompt."""
        with text_only():
            return await super().apredict(prompt, **prompt_args)

    @override
    def stream(self, prompt: BasePromptTemplate, **prompt_args: Any) -> TokenGen:
        """The answer's text to a prompt, as it comes. Raises ReasoningBudgetExceeded where thinking left none."""
        with text_only():
            return super().stream(prompt, **prompt_args)

    @override
    async def astream(self, prompt: BasePromptTemplate, **prompt_args: Any) -> TokenAsyncGen:
        """The answer's text to a prompt, as it comes."""
        with text_only():
            return await super().astream(prompt, **prompt_args)

    @override
    @on_completion
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """The answer's text. Raises ReasoningBudgetExceeded where thinking left none."""
        request, options = self._request(self._prompted(prompt, formatted=formatted), kwargs)
        return completion_response(self.client.chat(request, **options))

    @override
    @on_completion
    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """The answer's text."""
        request, options = self._request(self._prompted(prompt, formatted=formatted), kwargs)
        return completion_response(await self.async_client.chat(request, **options))

    @override
    @on_completion
    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        """The answer's text as it comes. Raises ReasoningBudgetExceeded at the end where thinking left none."""
        request, options = self._request(self._prompted(prompt, formatted=formatted), kwargs)
        return primed(self.client.stream(request, **options), StreamedCompletion())

    @override
    @on_completion
    async def astream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseAsyncGen:
        """The answer's text as it comes."""
        request, options = self._request(self._prompted(prompt, formatted=formatted), kwargs)
        return await aprimed(self.async_client.stream(request, **options), StreamedCompletion())

    @override
    def get_tool_calls_from_response(
        self, response: ChatResponse, error_on_no_tool_call: bool = True, **kwargs: Any
    ) -> list[ToolSelection]:
        """The calls to execute; in the middle of a stream, as far as they have come.

        Agents, which take no call for an answer, also get the calls that the model wrote badly, under a name that no
        tool has: so the model is told, and calls again.

        Raises:
            InvalidOutput: the answer is complete and all that it calls is cut off or invalid.
            ReasoningBudgetExceeded: thinking used up `max_tokens` before the answer began.
            ValueError: the model called nothing and `error_on_no_tool_call` is set.
        """
        return tool_selections(response, error_on_no_tool_call=error_on_no_tool_call)

    @override
    def _prepare_chat_with_tools(
        self,
        tools: Sequence[BaseTool],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        verbose: bool = False,
        allow_parallel_tool_calls: bool = False,
        tool_required: bool = False,
        tool_choice: str | Mapping[str, Any] | None = None,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        chosen = tool_options(
            tools, parallel=allow_parallel_tool_calls, required=tool_required, choice=tool_choice, strict=strict
        )
        # Programs require a call, and want an object of it: as for structured_predict.
        quick = {"thinking": False} if tool_required and THINKING_OPTIONS.isdisjoint(self._options(kwargs)) else {}
        return {"messages": history_with(user_msg, chat_history), **chosen, **quick, **kwargs}

    @override
    @_span
    def structured_predict(
        self,
        output_cls: type[Model],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Model:
        """An object of `output_cls`, held to its JSON schema by the service.

        Raises:
            ReasoningBudgetExceeded: thinking used up `max_tokens` before the answer began.
            InvalidOutput: the answer is cut off, or doesn't pass the class's own validators.
        """
        if not self._native:
            return super().structured_predict(output_cls, prompt, llm_kwargs, **prompt_args)
        dispatcher.event(
            LLMStructuredPredictStartEvent(output_cls=output_cls, template=prompt, template_args=prompt_args)
        )
        request = self._structured_request(output_cls, prompt, llm_kwargs, prompt_args)
        answer = StructuredAnswer(output_cls)
        try:
            result = answer.result(self.chat(**request))
        except ToolChoiceNotHonoured as error:
            result = answer.salvaged(error)
        dispatcher.event(LLMStructuredPredictEndEvent(output=result))
        return result

    @override
    @_span
    async def astructured_predict(
        self,
        output_cls: type[Model],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Model:
        """The same, asynchronous."""
        if not self._native:
            return await super().astructured_predict(output_cls, prompt, llm_kwargs, **prompt_args)
        dispatcher.event(
            LLMStructuredPredictStartEvent(output_cls=output_cls, template=prompt, template_args=prompt_args)
        )
        request = self._structured_request(output_cls, prompt, llm_kwargs, prompt_args)
        answer = StructuredAnswer(output_cls)
        try:
            result = answer.result(await self.achat(**request))
        except ToolChoiceNotHonoured as error:
            result = answer.salvaged(error)
        dispatcher.event(LLMStructuredPredictEndEvent(output=result))
        return result

    @override
    def _structured_stream_call(
        self,
        output_cls: type[Model],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Generator[Model | list[Model] | FlexibleModel | list[FlexibleModel], None, None]:
        if not self._native:
            return super()._structured_stream_call(output_cls, prompt, llm_kwargs, **prompt_args)
        request = self._structured_request(output_cls, prompt, llm_kwargs, prompt_args)
        return StructuredAnswer(output_cls).stream(self.stream_chat(**request))

    @override
    async def _structured_astream_call(
        self,
        output_cls: type[Model],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> AsyncGenerator[Model | list[Model] | FlexibleModel | list[FlexibleModel], None]:
        if not self._native:
            return await super()._structured_astream_call(output_cls, prompt, llm_kwargs, **prompt_args)
        request = self._structured_request(output_cls, prompt, llm_kwargs, prompt_args)
        return StructuredAnswer(output_cls).astream(await self.astream_chat(**request))

    @property
    def _native(self) -> bool:
        """Whether structured output is ours; other `pydantic_program_mode`s name a program of core's."""
        return self.pydantic_program_mode in (PydanticProgramMode.DEFAULT, PydanticProgramMode.FUNCTION)

    def _structured_request(
        self,
        output_cls: type[Model],
        prompt: PromptTemplate,
        llm_kwargs: Mapping[str, Any] | None,
        prompt_args: Mapping[str, Any],
    ) -> dict[str, Any]:
        """The arguments of the chat call that yields the object: a JSON schema, or a tool that must be called."""
        messages = self._extend_messages(prompt.format_messages(llm=self, **prompt_args))
        options = {name: value for name, value in (llm_kwargs or {}).items() if name not in PROGRAM_OPTIONS}
        if self.should_use_structured_outputs and self.pydantic_program_mode is PydanticProgramMode.DEFAULT:
            return {"messages": messages, "response_format": answer_format(output_cls), **options}
        tool = get_function_tool(output_cls)
        return self._prepare_chat_with_tools([tool], chat_history=messages, tool_required=True, **options)

    def _prompted(self, prompt: str, *, formatted: bool) -> list[ChatMessage]:
        if formatted:
            return [ChatMessage(role=MessageRole.USER, content=prompt)]
        adapt = self.completion_to_prompt
        message = ChatMessage(role=MessageRole.USER, content=adapt(prompt) if adapt else prompt)
        return self._extend_messages([message])

    def _request(
        self, messages: Sequence[ChatMessage], call: Mapping[str, Any]
    ) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        return to_wire(messages), self._options(call)


def _chat_response(completion: Completion, options: Mapping[str, Any], messages: Sequence[ChatMessage]) -> ChatResponse:
    _check_of(messages)(completion)
    return chat_response(completion, single_call=_single_call(options))


def _streamed_chat(options: Mapping[str, Any], messages: Sequence[ChatMessage]) -> StreamedChat:
    return StreamedChat(single_call=_single_call(options), check=_check_of(messages))


def _check_of(messages: Sequence[ChatMessage]) -> Callable[[Completion], None]:
    """What raises an error for an answer that won't do, in answer to these messages."""
    if is_after_nothing(messages):
        return refuse_nothing
    return refuse_unfinished_thought if TEXT_ONLY.get() else accept


def _single_call(options: Mapping[str, Any]) -> bool:
    """Whether only the first tool call may count: the service takes `parallel_tool_calls=False` as advice."""
    return options.get("parallel_tool_calls") is False
