"""What the server itself says, without the product."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx

from cf_gemma.model.facts import MODEL
from tests.faults.faces import Said

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.scenario import Scenario
    from tests.servers.server import Server


def asked(server: Server, scenario: Scenario, keep: Path | None) -> list[Said | Exception]:
    """The whole answer and the streamed one; of many limits, to one in the middle. `keep` takes the bytes."""
    body = _body(scenario)
    server.say(scenario.words)
    whole = httpx.post(f"{server.url}/chat/completions", json=body, timeout=60)
    streaming = {**body, "stream": True, "stream_options": {"include_usage": True}}
    server.say(scenario.words)
    stream = httpx.post(f"{server.url}/chat/completions", json=streaming, timeout=60)
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        path = keep / scenario.name.replace(" ", "_").replace(",", "").replace(":", "")
        path.with_suffix(".request.json").write_text(json.dumps(body, ensure_ascii=False), encoding="utf-8")
        path.with_suffix(".json").write_bytes(whole.content)
        path.with_suffix(".stream.sse").write_bytes(stream.content)
    return [_read(whole, [whole.text]), _read(stream, stream.text.split("\n\n"))]


def _body(scenario: Scenario) -> dict[str, Any]:
    requests = scenario.requests
    options = dict(requests[len(requests) // 2])
    prompt = scenario.prompt
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    template = {"chat_template_kwargs": {"enable_thinking": options.pop("thinking")}}
    return {"model": MODEL, "messages": messages, **template, **options}


def _read(response: httpx.Response, pieces: list[str]) -> Said | Exception:
    if response.is_error:
        return RuntimeError(f"{response.status_code}")
    answer, calls = Said(), list[list[str]]()
    for choice in [choice for piece in pieces for choice in _choices(piece) if choice["index"] == 0]:
        message = choice.get("message") or choice["delta"]
        answer.text += message.get("content") or ""
        answer.reasoning += message.get("reasoning") or message.get("reasoning_content") or ""
        answer.reason = choice["finish_reason"] or answer.reason
        for call in message.get("tool_calls") or ():
            name, arguments = call["function"].get("name"), call["function"].get("arguments")
            if name:
                calls.append([name, ""])
            calls[-1][1] += arguments or ""
    answer.calls = [(name, arguments) for name, arguments in calls]
    return answer


def _choices(piece: str) -> list[dict[str, Any]]:
    data = piece.removeprefix("data: ").strip()
    return json.loads(data).get("choices", []) if data.startswith("{") else []
