"""What the doctor reads out of exchanges, as far as the emulator doesn't show it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cf_gemma.cli.doctor import reading
from cf_gemma.cli.doctor.witness import Exchange


def whole(body: Any, status: int = 200, **headers: str) -> Exchange:
    """A whole answer."""
    fields = {"content-type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return Exchange("POST", "/", None, status, fields, bytearray(json.dumps(body).encode()))


def stream(*events: Any) -> Exchange:
    """A stream of these events; a text is a line as it is."""
    lines = [event if isinstance(event, str) else f"data: {json.dumps(event)}" for event in events]
    return Exchange(
        "POST", "/", None, 200, {"content-type": "text/event-stream"}, bytearray("\n\n".join(lines).encode())
    )


def chunk(delta: Any = None, **more: Any) -> dict[str, Any]:
    """A chunk with one choice."""
    return {"id": "id-1776072781845", "choices": [{"delta": delta or {}, **more}]}


def test_other_streams() -> None:
    """Cumulative usage, two finish frames and two end marks are told apart from what the emulator sends."""
    usage = {"prompt_tokens": 5, "completion_tokens": 1}
    seen = reading.stream_shape(
        [stream({**chunk(), "usage": usage}, {**chunk(finish_reason="stop"), "usage": usage},
                chunk(finish_reason="stop"), "data: [DONE]", "data: [DONE]")]
    )  # fmt: skip
    assert seen == (
        "id id-…(13), no padding, usage cumulative, 2 finish frame(s), no chunk without choices, no native tail, "
        "[DONE] x2, model None"
    )
    assert reading.stream_shape([stream("data: [DONE]")]).startswith("no chunks")
    assert reading.usage_of_stream([stream(chunk())]) == "no usage"


def test_null_finaliser_and_object_arguments() -> None:
    """A call that ends with a delta of nulls, and arguments that are no text."""
    opener = {"index": 3, "id": "call_abc", "function": {"name": "f", "arguments": {"a": 1}}}
    finaliser = {"index": 3, "id": None, "function": {"name": None, "arguments": ""}}
    seen = reading.tool_calls([stream(chunk({"tool_calls": [opener]}), chunk({"tool_calls": [finaliser]}))])
    assert seen == "2 delta(s), id call_…(3), index 3, arguments as dict, str, a null finaliser"
    assert reading.tool_calls([stream(chunk())]) == "no call came (200)"


@pytest.mark.parametrize(
    ("neurons", "share"), [(2000 / 110 + 0.0, "100%"), (1000 / 110 + 0.0, "0%"), (1500 / 110 + 0.0, "50%")]
)
def test_cached_price(neurons: float, share: str) -> None:
    """The price of a cached token is worked out from the neurons."""
    details = {"cached_tokens": 1000}
    usage = {"prompt_tokens": 2000, "completion_tokens": 0, "neurons": neurons, "prompt_tokens_details": details}
    seen = reading.cached_price([whole({"result": {"usage": usage}})])
    assert seen == f"1000 of 2000 tokens cached, each at {share} of the price"


def test_watching() -> None:
    """Comments, event lines and errors in streams are found, and refusals with and without Retry-After."""
    exchanges = [
        stream(": ping", "event: message", chunk({"content": "a"}), {"errors": [{"code": 3040}]}),
        whole({"errors": [{"code": 4006, "message": "used up"}]}, 429),
        whole({"errors": [{"code": 3040, "message": "busy"}]}, 429, retry_after="7"),
    ]
    assert reading.other_lines(exchanges) == ": ping; event: message"
    assert reading.stream_errors(exchanges) == "keys errors"
    assert reading.retry_after(exchanges) == (
        '429 code 4006 "used up", Retry-After none; 429 code 3040 "busy", Retry-After 7'
    )


def test_effects() -> None:
    """Whether a setting had an effect is told both ways."""
    first, second = (whole({"result": {"choices": [{"message": {"content": text}}]}}) for text in ("a", "b"))
    assert reading.sameness([first, second]).endswith("different: no effect")
    kept, cleared = (whole({"usage": {"prompt_tokens": tokens}}) for tokens in (90, 40))
    assert reading.prompt_tokens([kept, cleared]).endswith("it decides whether earlier reasoning is read")
    assert reading.content_type([whole({"choices": [{"message": {"content": 7}}]})]) == "200, content int"


def test_refused_probes() -> None:
    """A probe that was refused says so, whatever it was to show."""
    refused = whole({"error": [{"code": 2021, "message": "No credits"}]}, 402)
    for read in (
        reading.sameness,
        reading.prompt_tokens,
        reading.length,
        reading.stream_shape,
        reading.usage_of_stream,
    ):
        assert read([refused]) == '402 code 2021 "No credits"'
