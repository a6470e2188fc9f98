"""The service's input check: first the published schema, then what the model's own server looks at. Pure."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from cf_gemma.emulator.chat import ChatRequest
from cf_gemma.emulator.faults import Fault, Refusal
from cf_gemma.model.facts import IMAGE_SHORTEST_SIDE
from cf_gemma.model.json_object import as_object
from cf_gemma.request.http_request import FORCED_CALL_TOKENS
from cf_gemma.request.images import sniff
from cf_gemma.request.published import MESSAGES, OPTIONS, PROMPT
from cf_gemma.request.schema import json_type

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cf_gemma.emulator.backends.common import Dialect


def check(body: Any, dialect: Dialect | None = None) -> ChatRequest:
    """The request in a decoded body. Raises Refusal (5006, 8001 or 8006) for one that the service wouldn't take.

    `dialect` is the back-end that is to answer, where one has been chosen: each has objections of its own.
    """
    fields = as_object(body)
    if fields is None:
        raise _mismatch([f"Type mismatch of '/', 'object' not in '{json_type(body)}'"])
    _check_schema(fields)
    request = ChatRequest.from_body(fields)
    for fault in _objections(request):
        raise Refusal(fault)
    for fault in dialect.objections(request) if dialect else ():
        raise Refusal(fault)
    return request


def _check_schema(body: dict[str, Any]) -> None:
    prompt, messages = list(PROMPT.problems(body)), list(MESSAGES.problems(body))
    if not prompt and not messages:
        raise Refusal(Fault.of(5006, "oneOf at '/' not met, 2 matches"))
    options = list(OPTIONS.problems(body))
    about_tools = [problem for problem in options if "'/tool" in problem]
    if (prompt and messages) or len(options) > len(about_tools):
        raise _mismatch([*prompt, *messages, *options])
    if about_tools:
        raise Refusal(Fault.of(8001, f"Invalid input: {', '.join(about_tools)}"))


def _objections(request: ChatRequest) -> Iterator[Fault]:
    """What passes the schema and still isn't taken."""
    if request.max_tokens < 1:
        yield _invalid("max_tokens", f"must be at least 1 (got {request.max_tokens})")
    if request.forced_tool is not None and request.forced_tool not in [tool["name"] for tool in request.tools]:
        yield Fault.of(8001, f"Invalid input: tool_choice names {request.forced_tool}, which is not among the tools")
    if request.forced_tool is not None and request.thinking and request.max_tokens < FORCED_CALL_TOKENS:
        why = f"forced tool_choice with thinking needs max_tokens of {FORCED_CALL_TOKENS} (got {request.max_tokens})"
        yield _invalid("tool_choice", why)
    if request.tool_choice == "required" and not request.body.get("tools"):
        yield Fault.of(8001, "Invalid input: tool_choice needs tools")
    for message in request.messages:
        yield from _objections_to_calls(message.get("tool_calls") or [])
        if isinstance(message.get("content"), list):
            for part in message["content"]:
                yield from _objections_to_part(part)


def _objections_to_calls(calls: list[dict[str, Any]]) -> Iterator[Fault]:
    for call in calls:
        try:
            json.loads(call["function"]["arguments"] if call["type"] == "function" else "{}")
        except ValueError:
            yield _invalid("messages", "Assistant tool call function.arguments must be valid JSON.")


def _objections_to_part(part: dict[str, Any]) -> Iterator[Fault]:
    if part["type"] in ("video_url", "input_audio", "file"):
        yield _invalid(part["type"], "this model takes text and images")
    elif part["type"] == "image_url":
        yield from _objections_to_image(part.get("image_url", {}).get("url", ""))


def _objections_to_image(url: str) -> Iterator[Fault]:
    head, _, data = url.partition(",")
    if not (head.startswith("data:image/") and head.endswith(";base64")):
        yield _invalid("image", "url must be a base64 data URL")
        return
    try:
        image = sniff(base64.b64decode(data, validate=True))
    except ValueError:
        image = None
    if image is None:
        yield _invalid("image", "cannot identify image file")
    elif min(image.width, image.height) < IMAGE_SHORTEST_SIDE:
        size = f"{image.width}x{image.height}"
        yield _invalid("image", f"image dimensions must be at least {IMAGE_SHORTEST_SIDE}px (got {size})")


def _mismatch(problems: list[str]) -> Refusal:
    return Refusal(Fault.of(5006, f"oneOf at '/' not met, 0 matches: {', '.join(problems)}"))


def _invalid(what: str, why: str) -> Fault:
    return Fault.of(8006, f"Invalid data for {what} - reason {why}")
