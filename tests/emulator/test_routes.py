"""The emulator over real HTTP."""

from __future__ import annotations

import operator
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx
import pytest

from cf_gemma.emulator import CUT, Fault, Reply, ToolCallSpec
from cf_gemma.model.facts import MODEL

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Caller

HELLO = {"messages": [{"role": "user", "content": "Hi"}]}


def test_run_route(serve: Callable[..., Caller]) -> None:
    """The native route wraps the completion and says in headers what it cost and what really answered."""
    response = serve("Hello!", dialect="S").run()
    assert response.status_code == 200
    assert response.json()["result"]["choices"][0]["message"] == {"content": "Hello!", "role": "assistant"}
    assert re.fullmatch(r"[0-9a-f]{16}-AMS", response.headers["cf-ray"])
    assert re.fullmatch(r"[0-9a-f-]{36}", response.headers["cf-ai-req-id"])
    assert response.headers["cf-ai-neurons"] == f"{response.json()['result']['usage']['neurons']:.2f}"
    assert response.headers["x-emulator-engine"] == "scripted"


def test_model_percent_encoded(serve: Callable[..., Caller]) -> None:
    """The official SDK percent-encodes the model in the path; that is the same model."""
    caller = serve("Hello!", dialect="S")
    response = caller.post(f"{caller.ai}/run/{quote(MODEL, safe='')}", HELLO)
    assert response.json()["result"]["model"] == f"{MODEL}-external"


def test_universal_route(serve: Callable[..., Caller]) -> None:
    """The route without a model takes it from the body, with the request under `input`."""
    caller = serve("Hello!", dialect="V")
    response = caller.post(f"{caller.ai}/run", {"model": MODEL, "input": {"prompt": "Hi"}})
    assert response.json()["result"]["choices"][0]["message"]["content"] == "Hello!"


def test_chat_completions_route(serve: Callable[..., Caller]) -> None:
    """The chat-completions route answers without an envelope."""
    completion = serve("Hello!", dialect="V").chat().json()
    assert completion["id"].startswith("id-")
    assert completion["choices"][0]["message"]["content"] == "Hello!"


def test_openai_route(serve: Callable[..., Caller]) -> None:
    """`/v1` wants neither account nor token nor a known model."""
    caller = serve("Hello!")
    url = f"{caller.emulator.openai_url}/chat/completions"
    completion = httpx.post(url, json={"model": "gemma", **HELLO}, trust_env=False).json()
    assert (completion["model"], completion["choices"][0]["message"]["content"]) == ("gemma", "Hello!")


BUSY = {"message": "Busy.", "type": "InternalServerError", "param": None, "code": 503}


@pytest.mark.parametrize(
    ("dialect", "whole", "streamed"),
    [
        ("V", {"error": BUSY}, {"error": BUSY}),
        ("S", {"object": "error", **BUSY}, {"error": {"object": "error", **BUSY}}),
    ],
)
def test_errors_of_servers_of_ones_own(
    serve: Callable[..., Caller], dialect: str, whole: dict[str, Any], streamed: dict[str, Any]
) -> None:
    """`/v1` words errors as the server that answers: vLLM has an object, SGLang is flat, but for a stream."""
    busy = Fault(503, message="Busy.", envelope="service")
    caller = serve([busy, Reply("Hello", error=busy)], dialect=dialect)
    url = f"{caller.emulator.openai_url}/chat/completions"
    refused = caller.post(url, HELLO)
    assert (refused.status_code, refused.json()) == (503, whole)
    assert caller.events(caller.post(url, {**HELLO, "stream": True}))[-1] == streamed


def test_what_stands_before_a_server_of_ones_own(serve: Callable[..., Caller]) -> None:
    """On `/v1` a wrong token, path or method is refused in a few words, by neither server."""
    caller = serve("Hello!")
    url = f"{caller.emulator.openai_url}/chat/completions"
    refused = caller.post(url, HELLO, headers={"authorization": "Bearer wrong"})
    assert (refused.status_code, refused.json()) == (401, {"error": "Unauthorized"})
    assert caller.http.get(f"{caller.emulator.openai_url}/models").json() == {"detail": "Not found"}
    assert caller.http.get(url).json() == {"detail": "Method not allowed"}


@pytest.mark.parametrize("dialect", ["S", "V"])
@pytest.mark.parametrize("tool_calls", ["whole", "fragments", "finaliser"])
def test_stream_says_the_same(serve: Callable[..., Caller], dialect: str, tool_calls: str) -> None:
    """Whatever the dialect and the cut, stream and whole answer say the same, on both routes."""
    reply = Reply("Let me see.", "Hm, tools.", [ToolCallSpec("add", {"a": 1}), ToolCallSpec("add", {"a": 2})])
    caller = serve(reply, dialect=dialect, tool_calls=tool_calls)
    message = caller.run().json()["result"]["choices"][0]["message"]
    for response in (caller.run(stream=True), caller.chat(stream=True)):
        assert response.headers["content-type"] == "text/event-stream"
        deltas = [event["choices"][0]["delta"] for event in caller.events(response)[:-1] if event.get("choices")]
        assert "".join(delta.get("content") or "" for delta in deltas) == message["content"]
        reasoning = "reasoning_content" if dialect == "S" else "reasoning"
        assert "".join(delta.get(reasoning) or "" for delta in deltas) == message[reasoning]
        pieces = [call for delta in deltas for call in delta.get("tool_calls") or []]
        arguments = ["".join(p["function"].get("arguments", "") for p in pieces if p["index"] == i) for i in (0, 1)]
        assert arguments == [call["function"]["arguments"] for call in message["tool_calls"]]


def test_stream_ends_in_three_parts(serve: Callable[..., Caller]) -> None:
    """The native stream ends with an empty choice list, the native tail and [DONE]; the other without the tail."""
    caller = serve("Hello!")
    assert [set(event) & {"choices", "response"} for event in caller.events(caller.run(stream=True))[-3:-1]] == [
        {"choices"}, {"response"},
    ]  # fmt: skip
    assert caller.events(caller.chat(stream=True))[-2]["choices"] == []
    assert caller.events(caller.chat(stream=True))[-1] == "[DONE]"


def test_dialect_is_drawn_by_the_seed(serve: Callable[..., Caller]) -> None:
    """A random dialect changes from request to request, the same way in every run; ids, too."""
    first, second, other = serve("Hi"), serve("Hi"), serve("Hi", seed=7)
    drawn = [[caller.run().headers["x-emulator-dialect"] for _ in range(12)] for caller in (first, second, other)]
    assert set(drawn[0]) == {"S", "V"}
    assert drawn[0] == drawn[1] != drawn[2]
    assert first.run().headers["cf-ai-req-id"] == second.run().headers["cf-ai-req-id"]


@pytest.mark.parametrize("authorization", [None, "", "Bearer wrong", "wrong", "Bearer"])
def test_token_is_checked(serve: Callable[..., Caller], authorization: str | None) -> None:
    """A missing or wrong token is refused by the edge: 401, 10000, and no request id."""
    caller = serve("Hello!")
    headers = {} if authorization is None else {"authorization": authorization}
    response = httpx.post(
        f"{caller.emulator.origin}{caller.ai}/run/{MODEL}", json=HELLO, headers=headers, trust_env=False
    )
    assert response.status_code == 401
    assert (
        response.text
        == '{"result":null,"success":false,"errors":[{"code":10000,"message":"Authentication error"}],"messages":[]}'
    )
    assert "cf-ai-req-id" not in response.headers
    assert response.headers["cf-ray"]


def refused(response: httpx.Response) -> tuple[int, int]:
    """Status and code of an error response."""
    return response.status_code, response.json()["errors"][0]["code"]


def test_wrong_paths(serve: Callable[..., Caller]) -> None:
    """Another account, another path, another method, another model: as the edge, or the service, says it."""
    caller = serve("Hello!")
    assert refused(caller.post(f"/client/v4/accounts/other/ai/run/{MODEL}", HELLO)) == (404, 7003)
    assert refused(caller.post(f"{caller.ai}/nonsense", HELLO)) == (404, 7000)
    assert refused(caller.http.get(f"{caller.ai}/run/{MODEL}")) == (405, 10405)
    assert refused(caller.post(f"{caller.ai}/run/@cf/other", HELLO)) == (400, 5007)
    assert refused(caller.chat(model="@cf/other")) == (400, 5007)
    assert refused(caller.post(f"{caller.ai}/v1/chat/completions", HELLO)) == (400, 5007)


def test_bad_bodies(serve: Callable[..., Caller]) -> None:
    """No body, no JSON, and JSON that the schema refuses; a refusal is no server-sent event."""
    caller = serve("Hello!")
    assert refused(caller.http.post(f"{caller.ai}/run/{MODEL}")) == (400, 3003)
    assert refused(caller.http.post(f"{caller.ai}/run/{MODEL}", content=b"{")) == (400, 5006)
    response = caller.run(temperature=3, stream=True)
    assert refused(response) == (400, 5006)
    assert response.headers["content-type"] == "application/json"
    assert response.headers["cf-ai-req-id"]


def test_context_window(serve: Callable[..., Caller]) -> None:
    """Four characters of the body are a token; with `max_tokens` they must fit the window."""
    caller = serve("Hello!")
    assert caller.run(max_tokens=250_000).status_code == 200
    assert refused(caller.run(max_tokens=256_000)) == (413, 5021)
    assert refused(caller.run(user="x" * 1_024_000)) == (413, 5021)


def test_scripted_fault(serve: Callable[..., Caller]) -> None:
    """A fault in the script is an HTTP error, streamed or not, and bears the request's id in its words."""
    caller = serve([Fault(429, 3040), Fault(429, 3040, retry_after=2), "Hello!"])
    response = caller.run(stream=True)
    assert refused(response) == (429, 3040)
    assert response.headers["cf-ai-req-id"] in response.json()["errors"][0]["message"]
    assert "retry-after" not in response.headers
    assert caller.run().headers["retry-after"] == "2"
    assert caller.run().status_code == 200


def test_error_in_mid_stream(serve: Callable[..., Caller]) -> None:
    """A reply that breaks off with an error says so in an event, and no [DONE] follows."""
    caller = serve(Reply("Hello there", error=Fault(429, 3040)))
    events = caller.events(caller.run(stream=True))
    assert events[-1]["errors"][0]["code"] == 3040
    assert len(events) == 4
    assert refused(caller.run()) == (429, 3040)


@pytest.mark.parametrize("stream", [True, False])
def test_cut_connection(serve: Callable[..., Caller], caplog: pytest.LogCaptureFixture, *, stream: bool) -> None:
    """A cut closes the connection in mid-answer, and leaves no traceback in the log."""
    caller = serve(Reply("Hello there", error=CUT))
    with pytest.raises(httpx.RemoteProtocolError):
        caller.run(stream=stream)
    caller.emulator.close()
    assert not caplog.records or {record.name for record in caplog.records} == {"httpx"}


def test_fault_header(serve: Callable[..., Caller]) -> None:
    """The header fails as many requests as it says, also after some deltas, and is refused when it can't be read."""
    caller = serve("Hello there, you")
    twice = {"x-emulator-fault": "429-3040;times=2"}
    assert [caller.run(headers=twice).status_code for _ in range(3)] == [429, 429, 200]
    late = caller.events(caller.run(headers={"x-emulator-fault": "3046;after=2"}, stream=True))
    assert [event["choices"][0]["delta"].get("content") for event in late[:-1]] == ["", "Hello", " there,"]
    assert late[-1]["errors"][0]["code"] == 3046
    page = caller.run(headers={"x-emulator-fault": "html"})
    assert (page.status_code, page.headers["content-type"]) == (502, "text/html")
    assert caller.run(headers={"x-emulator-fault": "what"}).status_code == 400


def test_requests_are_recorded(serve: Callable[..., Caller]) -> None:
    """What came is kept: method, path, query, headers, decoded body; refused requests, too."""
    caller = serve("Hello!")
    caller.run(max_tokens=5, headers={"x-session-affinity": "abc"})
    caller.post("/nowhere?a=1", {"b": 2})
    caller.http.post(f"{caller.ai}/run/{MODEL}", content=b"{")
    first, lost, broken = caller.emulator.requests
    assert (first.method, first.path) == ("POST", f"{caller.ai}/run/{MODEL}")
    assert first.headers["x-session-affinity"] == "abc"
    assert first.json == {**HELLO, "max_tokens": 5}
    assert (lost.path, lost.query, lost.json) == ("/nowhere", {"a": "1"}, {"b": 2})
    assert broken.json is None


def test_catalogue(serve: Callable[..., Caller]) -> None:
    """The model search has what exists, all on its first page, and wants the token like everything else."""
    caller = serve("Hello!", models=(MODEL, "@cf/other/gemma"))
    pages = [caller.http.get(f"{caller.ai}/models/search?search=GEMMA&page={page}").json() for page in (1, 2)]
    assert [[model["name"] for model in page["result"]] for page in pages] == [[MODEL, "@cf/other/gemma"], []]
    assert pages[0]["result_info"] == {"count": 2, "page": 1, "per_page": 2, "total_count": 2}
    properties = {entry["property_id"]: entry["value"] for entry in pages[0]["result"][0]["properties"]}
    assert properties["context_window"] == "256000"
    assert caller.http.get(f"{caller.ai}/models/search?search=llama").json()["result"] == []
    assert caller.http.get(f"{caller.ai}/models/search", headers={"authorization": ""}).status_code == 401


@pytest.mark.parametrize("path", ["/client/v4/user/tokens/verify", "/client/v4/accounts/acc/tokens/verify"])
def test_token_verify(serve: Callable[..., Caller], path: str) -> None:
    """The right token is active; a wrong one isn't known."""
    caller = serve("Hello!", account_id="acc")
    verified = caller.http.get(path).json()
    assert (verified["success"], verified["result"]["status"]) == (True, "active")
    assert caller.http.get(path, headers={"authorization": "Bearer other"}).status_code == 401


def test_about(serve: Callable[..., Caller]) -> None:
    """The root says what answers, without a token."""
    caller = serve("Hello!")
    assert httpx.get(caller.emulator.origin, trust_env=False).json() == {
        "emulator": "cf-gemma", "engine": "scripted", "models": [MODEL],
    }  # fmt: skip


def test_settings(serve: Callable[..., Caller]) -> None:
    """Account, token, models and clock are what the caller says."""
    options: dict[str, Any] = {"account_id": "acc", "api_token": "tok", "models": ("@cf/mine",), "clock": lambda: 12.5}
    caller = serve("Hello!", **options)
    assert (caller.emulator.account_id, caller.emulator.api_token) == ("acc", "tok")
    completion = caller.chat(model="@cf/mine").json()
    assert (completion["id"], completion["created"], completion["model"]) == ("id-12500", 12, "@cf/mine")
    assert refused(caller.run()) == (400, 5007)


def test_utf8_stays_as_it_is(serve: Callable[..., Caller]) -> None:
    """Neither escaped nor split into surrogates: U+2028 and emoji go out as bytes."""
    caller = serve(Reply(["a\u2028b", "😀\u0085"]))
    assert "a\u2028b" in caller.run(stream=True).content.decode()
    assert caller.run().json()["result"]["choices"][0]["message"]["content"] == "a\u2028b😀\u0085"


def test_embedding_route(serve: Callable[..., Caller]) -> None:
    """The account's embedding models answer, too: unit vectors, nearer the more words two texts share."""
    caller = serve("Hello!")
    texts = ["A reader borrows books.", "Which books may a reader borrow?", "Closed on Mondays.", "…"]
    response = caller.post(f"{caller.ai}/run/@cf/baai/bge-base-en-v1.5", {"text": texts})
    result = response.json()["result"]
    assert result["shape"] == [4, 768]
    first, near, far, _ = result["data"]
    assert [round(sum(x * x for x in vector), 6) for vector in result["data"]] == [1, 1, 1, 1]
    assert sum(map(operator.mul, first, near)) > 0.4 > sum(map(operator.mul, first, far))
    assert caller.emulator.requests[-1].json == {"text": texts}


@pytest.mark.parametrize(
    ("model", "body", "code"),
    [
        ("bge-reranker-base", {"text": "Hi"}, 5007),
        ("bge-m3", {"text": []}, 5006),
        ("bge-m3", {"text": ["Hi"] * 101}, 5006),
        ("bge-m3", {"text": ["Hi", ""]}, 5006),
        ("bge-m3", ["Hi"], 5006),
    ],
)
def test_embedding_refused(serve: Callable[..., Caller], model: str, body: Any, code: int) -> None:
    """A model that isn't there, and texts that the service wouldn't take, are refused with its codes."""
    caller = serve("Hello!")
    response = caller.post(f"{caller.ai}/run/@cf/baai/{model}", body)
    assert response.json()["errors"][0]["code"] == code
