"""One call as an HTTP request. No I/O; whatever can't be sent is refused here."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from pydantic_core import from_json, to_json

from cf_gemma.errors import InvalidRequest
from cf_gemma.model.estimate import estimate_request, estimate_tokens
from cf_gemma.model.facts import CONTEXT_WINDOW, MAX_TOKENS, MAX_TOKENS_THINKING, MODEL
from cf_gemma.model.json_object import as_object
from cf_gemma.request.bill import FREE, Bill
from cf_gemma.request.closing import Closing
from cf_gemma.request.messages import wire_messages
from cf_gemma.request.parameters import LIMITS
from cf_gemma.request.schema_prompt import set_schema
from cf_gemma.request.tools import forced_name, set_tools
from cf_gemma.settings.headers import affinity_header, checked_headers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cf_gemma.settings.resolved import Settings

LONG_ANSWER: Final = 2_048
"""Tokens. A longer answer may outlive the service's time limit of 120 to 240 s, unless it is streamed."""

LEAST_TOKENS: Final = 256
"""Our least default for `max_tokens`, however full the window is: the service's own default (live report, 2026-09)."""

FORCED_CALL_TOKENS: Final = 4_096
"""A forced tool call with thinking and less room than this is refused with 8006 (cloudflare/ai#560)."""

_PICTURES: Final[Any] = {"messages": {"__all__": {"content": {"__all__": {"image_url": {"url"}}}}}}
"""Where pictures are in a body, in the form of pydantic's `exclude`."""

_PICTURE_PART: Final = b'{"type":"image_url","image_url":{'
"""How the part of a picture begins in JSON. Within a text its quotation marks would be escaped."""

_NOT_JSON: Final = (
    "the request can't be written as JSON: look for NaN, infinity, half a surrogate pair, or a Python object"
)

_OURS: Final = ("thinking", "extra_body", "extra_headers", "session_affinity", "model")


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """What to POST, and what the answer must have."""

    url: str
    headers: dict[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    stream: bool
    """Whether the answer comes as an event stream."""
    requires_call: bool = False
    """Whether a tool call was required, which this model doesn't always heed (cloudflare/ai#561)."""
    choices: int = 1
    """How many answers were asked for."""
    limit: int | None = None
    """The most tokens that were asked for, if that is known."""
    logprobs: bool = False
    """Whether log probabilities were asked for, which make an answer large."""
    tools: Mapping[str, dict[str, Any]] = field(default_factory=dict[str, "dict[str, Any]"], repr=False)
    """The tools that may be called: by name, the JSON schema of the parameters."""
    idempotent: bool = True
    """Whether it may be sent again when nobody knows if the service acted on it."""
    left_out: tuple[str, ...] = ()
    """A line for each thing in the conversation's past that the model doesn't take, and that isn't sent."""
    closing: Closing | None = None
    """What to do with an answer that should be an object, but was free to be a call."""
    bill: Bill = FREE
    """What it may cost, and who wants to know what it has cost."""

    @property
    def prompt_tokens(self) -> int:
        """About how many tokens the prompt has, tools and pictures included."""
        body: dict[str, Any] = from_json(self.body)
        return estimate_tokens(body.get("prompt", "")) + estimate_request(
            body.get("messages", ()), body.get("tools", ())
        )

    @property
    def retried_by_gateway(self) -> bool:
        """Whether an AI Gateway retries it; a request that the gateway gives up on isn't sent again by us."""
        return self.headers.get("cf-aig-max-attempts", "1") != "1"

    def unstreamed(self) -> HttpRequest:
        """The same request, for an answer in one piece."""
        if not self.stream:
            return self
        body = from_json(self.body)
        streaming = ("stream", "stream_options")
        return replace(self, stream=False, body=to_json({k: v for k, v in body.items() if k not in streaming}))


def build(
    settings: Settings,
    messages: str | Sequence[Mapping[str, Any]] | None,
    parameters: Mapping[str, Any],
    *,
    prompt: str | None = None,
    stream: bool | None = None,
) -> HttpRequest:
    """The request for these messages, or this prompt.

    Args:
        settings: Where it goes and in whose name.
        messages: Chat-completions messages; a str is one user message.
        parameters: Checked parameters, see `parameters.merged`.
        prompt: Raw text for the run endpoint's prompt form, instead of messages.
        stream: True for a stream; None leaves it to `settings.wire_streaming` and the length of the answer.

    Raises:
        InvalidRequest: It can't be sent.
        ConfigurationError: A header or the model id is malformed.
    """
    left_out: list[str] = []
    body = _input(settings, messages, prompt, left_out)
    body.update((name, value) for name, value in parameters.items() if name not in _OURS)
    model = parameters.get("model", MODEL)
    url = settings.url(model)
    if not url.endswith(f"/run/{model}"):
        body["model"] = model
    set_tools(body, written_out=settings.readable_tools)
    _set_response_format(body)
    closing = _set_structure(settings, body, messages, parameters)
    _set_thinking(body, parameters.get("thinking"))
    extra = _extra(parameters)
    if not LIMITS.isdisjoint(extra):
        body = {name: value for name, value in body.items() if name not in LIMITS}
    # A server of one's own may have a smaller window, and refuses a limit that it has no room for.
    limited = settings.own_server or not LIMITS.isdisjoint({*body, *extra})
    if not limited:
        body["max_tokens"] = MAX_TOKENS_THINKING if body["chat_template_kwargs"]["enable_thinking"] else MAX_TOKENS
    if stream is None:
        stream = _streams(settings, {**body, **extra})
    if stream:
        body["stream"] = True
        body["stream_options"] = {"include_usage": True, **body.get("stream_options", {})}
    _check_finite(body, extra)
    pictures = [] if "messages" in extra else _pictures(body)
    body.update(extra)
    return HttpRequest(
        url=url,
        headers=_headers(settings, parameters),
        body=_whole(body, pictures) if limited else _within_window(body, pictures),
        stream=stream,
        requires_call=_requires_call(body),
        choices=_choices(body),
        limit=_limit(body),
        logprobs=any(value for name, value in body.items() if "logprobs" in name),
        tools=_parameters(body),
        left_out=tuple(left_out),
        closing=closing,
    )


def _headers(settings: Settings, parameters: Mapping[str, Any]) -> dict[str, str]:
    extra = checked_headers(parameters.get("extra_headers"), "extra_headers")
    return {**settings.headers, **affinity_header(parameters.get("session_affinity")), **extra}


def _input(
    settings: Settings, messages: str | Sequence[Mapping[str, Any]] | None, prompt: str | None, left_out: list[str]
) -> dict[str, Any]:
    if prompt is None:
        if messages is None:
            raise InvalidRequest("pass messages, or a prompt")
        return {"messages": wire_messages(messages, left_out)}
    if messages is not None:
        raise InvalidRequest("pass messages or a prompt, not both")
    if not prompt:
        raise InvalidRequest("prompt must not be empty")
    if settings.endpoint != "run":
        raise InvalidRequest('a prompt goes to endpoint="run" only; pass messages')
    return {"prompt": prompt}


def _set_thinking(body: dict[str, Any], thinking: bool | None) -> None:
    template = dict(body.get("chat_template_kwargs", {}))
    if thinking is None:
        thinking = template.get("enable_thinking", not _better_without_thinking(body))
    if not isinstance(thinking, bool):  # the template would take any text for yes
        raise InvalidRequest("chat_template_kwargs: enable_thinking must be True or False; it is set with thinking")
    template["enable_thinking"] = thinking
    body["chat_template_kwargs"] = template


def _better_without_thinking(body: dict[str, Any]) -> bool:
    """Whether thinking, which nobody asked for, would use up the tokens of a structured answer or a forced call."""
    if body.get("response_format", {}).get("type") in ("json_schema", "json_object"):
        return True
    room = body.get("max_tokens") or body.get("max_completion_tokens") or MAX_TOKENS_THINKING
    return isinstance(body.get("tool_choice"), dict) and room < FORCED_CALL_TOKENS


def _set_response_format(body: dict[str, Any]) -> None:
    """A bare schema in the wrapper that the published input schema wants, with the name that it requires."""
    wanted = body.get("response_format")
    if not wanted or wanted.get("type") != "json_schema":
        return
    wrapper = as_object(wanted.get("json_schema"))
    if wrapper is None:
        raise InvalidRequest('response_format must be {"type": "json_schema", "json_schema": {"name": …, "schema": …}}')
    wrapped = wrapper if "schema" in wrapper else {"name": wrapper.get("title"), "schema": wrapper}
    body["response_format"] = {**wanted, "json_schema": {**wrapped, "name": wrapped.get("name") or "answer"}}


def _set_structure(
    settings: Settings,
    body: dict[str, Any],
    messages: str | Sequence[Mapping[str, Any]] | None,
    parameters: Mapping[str, Any],
) -> Closing | None:
    """Shows the model the schema of the answer, and constrains the answer to it unless the model may call a tool."""
    wanted: dict[str, Any] = body.get("response_format") or {}
    if wanted.get("type") not in ("json_schema", "json_object"):
        return None
    if settings.schema_in_prompt:
        set_schema(body, wanted)
    if messages is None or not body.get("tools") or body.get("tool_choice") == "none":
        return None
    del body["response_format"]
    listed = [{"role": "user", "content": messages}] if isinstance(messages, str) else messages
    return Closing(listed, {**parameters, "response_format": wanted})


def _extra(parameters: Mapping[str, Any]) -> dict[str, Any]:
    extra = parameters.get("extra_body", {})
    if "stream" in extra:
        raise InvalidRequest("extra_body: stream is not set there; use stream(), or wire_streaming")
    return extra


def _streams(settings: Settings, body: dict[str, Any]) -> bool:
    if settings.wire_streaming != "auto":
        return bool(settings.wire_streaming)
    limit = body.get("max_tokens") or body.get("max_completion_tokens")
    return not isinstance(limit, int) or limit > LONG_ANSWER


def _choices(body: dict[str, Any]) -> int:
    count = body.get("n")
    return count if isinstance(count, int) else 1


def _limit(body: dict[str, Any]) -> int | None:
    limit = body.get("max_tokens") or body.get("max_completion_tokens")
    return limit if isinstance(limit, int) else None


def _parameters(body: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """By name, the parameters of the functions that may be called."""
    if body.get("tool_choice") == "none":
        return {}
    functions = [as_object((as_object(tool) or {}).get("function")) or {} for tool in body.get("tools") or ()]
    return {str(function.get("name")): as_object(function.get("parameters")) or {} for function in functions}


def _requires_call(body: dict[str, Any]) -> bool:
    choice = body.get("tool_choice")
    return choice == "required" or forced_name(choice) is not None


def _within_window(body: dict[str, Any], pictures: list[str]) -> bytes:
    """The body with our default limit, lowered where the edge would refuse the sum of prompt and answer.

    The edge estimates four characters a token over the whole body and adds the limit (captured, code 5021).
    """
    limit = body["max_tokens"]
    # In front, where it can be written over.
    encoded = _whole({"max_tokens": limit, **body}, pictures)
    room = max(LEAST_TOKENS, CONTEXT_WINDOW - len(encoded) // 4)
    return encoded if limit <= room else encoded.replace(b"%d" % limit, b"%d" % room, 1)


def _whole(body: dict[str, Any], pictures: list[str]) -> bytes:
    """The body as JSON. Pictures are put in unencoded, since base64 needs no escapes: they may be most of the body."""
    if not pictures or any('"' in picture or "\\" in picture for picture in pictures):
        return _encoded(body)
    first, *others = _encoded(body, exclude=_PICTURES).split(_PICTURE_PART)
    if len(others) != len(pictures):  # something else, such as a tool's example, looks like a part
        return _encoded(body)
    pieces = [first]
    for picture, rest in zip(pictures, others, strict=True):
        pieces += (_PICTURE_PART, b'"url":"', picture.encode(), b'"' if rest.startswith(b"}") else b'",', rest)
    return b"".join(pieces)


def _pictures(body: dict[str, Any]) -> list[str]:
    """The `data:` URLs of all pictures, in their order."""
    contents = [turn["content"] for turn in body.get("messages", ()) if isinstance(turn["content"], list)]
    return [part["image_url"]["url"] for content in contents for part in content if part["type"] == "image_url"]


def _check_finite(body: dict[str, Any], extra: dict[str, Any]) -> None:
    """Raises InvalidRequest for NaN and infinity. JSON has neither, and as texts they are longer than as numbers.

    Long texts, which most of a request is, aren't looked through.
    """
    turns = [turn for turn in body.get("messages", ()) if len(turn) > 2 or not isinstance(turn["content"], str)]
    numbers, without = [{**body, "messages": turns}, extra], {0: _PICTURES}
    if len(_encoded(numbers, exclude=without)) != len(_encoded(numbers, exclude=without, inf_nan_mode="strings")):
        raise InvalidRequest(_NOT_JSON)


def _encoded(value: object, **mode: Any) -> bytes:
    try:
        return to_json(value, **mode)
    except ValueError:
        raise InvalidRequest(_NOT_JSON) from None
