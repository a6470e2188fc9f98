"""What real servers made of known words is the same through every face, on both routes: what the model said."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from cf_gemma.errors import ToolChoiceNotHonoured
from tests.engines_bytes.replays import CASES, Case
from tests.faults.faces import FACES, SETTINGS, Said
from tests.faultserver import FaultServer
from tests.response.test_servers import SAID

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.faces import Face

ROUTES = ("run", "own")
"""Workers AI's native route, in its envelope; and a server of one's own."""


def answer(case: Case, route: str) -> bytes:
    """The HTTP response. The native route has replies in an envelope, and streams with padding, usage and a tail."""
    body = case.file("stream.sse" if case.streamed else "json")
    if route == "run":
        body = _native_stream(body) if case.streamed else json.dumps(_envelope(json.loads(body))).encode()
    kind = "text/event-stream" if case.streamed else "application/json"
    return f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


def _envelope(reply: dict[str, Any]) -> dict[str, Any]:
    return {"result": reply, "success": True, "errors": [], "messages": []}


def _native_stream(stream: bytes) -> bytes:
    chunks = [json.loads(event[6:]) for event in stream.split(b"\n\n") if event.startswith(b"data: {")]
    usage = next(chunk["usage"] for chunk in reversed(chunks) if chunk.get("usage"))
    steps = [
        {**chunk, "p": "abdef", "usage": _increment(place)} for place, chunk in enumerate(chunks) if chunk["choices"]
    ]
    events = [*steps, {"response": "", "usage": usage}]
    return "".join(f"data: {json.dumps(event)}\n\n" for event in events).encode() + b"data: [DONE]\n\n"


def _increment(place: int) -> dict[str, int]:
    return {"prompt_tokens": 0 if place else 9, "completion_tokens": 1, "total_tokens": 1 if place else 10}


@pytest.fixture(params=FACES)
def face(request: pytest.FixtureRequest) -> Iterator[Face]:
    """Each of the six."""
    face = FACES[request.param]()
    yield face
    face.close()


def asked(face: Face, case: Case, route: str, *, handed_out: bool) -> Said:
    """What the face makes of the case. `handed_out`: piece by piece, if it is streamed at all."""
    body: dict[str, Any] = json.loads(case.file("request.json"))
    ours = ("model", "messages", "stream", "stream_options")
    options = {name: value for name, value in body.items() if name not in ours}
    with FaultServer([answer(case, route)]) as server:
        own = {"account_id": None, "endpoint": "chat_completions"} if route == "own" else {}
        face.begin(**{**SETTINGS, **own}, base_url=server.url, wire_streaming=case.streamed, max_retries=0)
        return face.ask(stream=handed_out, pieces=[], prompt=body["messages"], **options)


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_face_says_the_same(face: Face, case: Case, route: str) -> None:
    """Text, reasoning, calls, what isn't valid and the finish reason are the core's, whole and in pieces."""
    if case.name == "tool_required_text":
        with pytest.raises(ToolChoiceNotHonoured):
            asked(face, case, route, handed_out=case.streamed)
        return
    expected = SAID[case.name]
    completion = case.read()[1]
    for handed_out in {False, case.streamed}:
        answer = asked(face, case, route, handed_out=handed_out)
        assert answer.text == expected.get("text", "")
        assert answer.calls == expected.get("calls", [])
        assert answer.reasoning == completion.reasoning
        assert answer.invalid == len(completion.invalid_tool_calls)
        assert answer.reason == completion.finish_reason
        assert answer.prompt_tokens == (completion.usage and completion.usage.prompt_tokens)
