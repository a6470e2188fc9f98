from __future__ import annotations

import json
from typing import Any

import pytest

from cf_gemma import errors as e
from cf_gemma.model.completion import TextDelta
from tests.response.wire import replied

UUID = "6f1c6d9e-0f6b-4c0e-9d58-0123456789ab"


def service(code: int | str | None, message: str, prefix: str = "AiError: AiError: ") -> bytes:
    """The AI service's own envelope."""
    error = {"message": f"{prefix}{message} ({UUID})"} | ({} if code is None else {"code": code})
    return json.dumps({"errors": [error], "success": False, "result": {}, "messages": []}).encode()


def edge(code: int, message: str) -> bytes:
    """The envelope of the API's edge."""
    error = {"code": code, "message": message}
    return json.dumps({"result": None, "success": False, "errors": [error], "messages": []}).encode()


GATEWAY = (
    b'{"success":false,"result":[],"messages":[],"error":[{"code":%d,"message":"gateway"}],"name":"AiGatewayError"}'
)
REMEDIES = {
    e.AuthenticationError: " (check api_token (CLOUDFLARE_API_TOKEN))",
    e.PermissionDenied: " (check that the token may use Workers AI on this account)",
    e.NotFound: " (check account_id (CLOUDFLARE_ACCOUNT_ID), model and base_url)",
    e.ContextOverflow: " (shorten the messages, or lower max_tokens)",
    e.QuotaExhausted: " (a daily allocation comes back at 00:00 UTC; waiting a little doesn't help)",
}
REDIRECT = "a redirect, which is never followed: the token would go to another address. Check base_url"


def refusal(status: int, body: bytes, headers: dict[str, str] | None = None) -> e.GemmaError:
    """The error that this response stands for."""
    with pytest.raises(e.GemmaError) as caught:
        replied(body, status, headers)
    return caught.value


@pytest.mark.parametrize(
    ("status", "body", "kind", "code", "message"),
    [
        (401, edge(10000, "Authentication error"), e.AuthenticationError, 10000, "Authentication error"),
        (403, edge(10000, "Authentication error"), e.PermissionDenied, 10000, "Authentication error"),
        (401, edge(9109, "Unauthorized"), e.AuthenticationError, 9109, "Unauthorized"),
        (400, edge(7000, "No route for that URI"), e.NotFound, 7000, "No route for that URI"),
        (404, edge(7003, "Could not route"), e.NotFound, 7003, "Could not route"),
        (400, edge(6003, "Invalid request headers"), e.BadRequest, 6003, "Invalid request headers"),
        (400, service(5006, "Error: oneOf", "AiError: Bad input: "), e.BadRequest, 5006, "Bad input: Error: oneOf"),
        (400, service(5007, "x or task", "AiError: No such model: "), e.NotFound, 5007, "No such model: x or task"),
        (400, service(8006, "Invalid data for image"), e.BadRequest, 8006, "Invalid data for image"),
        (400, service(8001, "Invalid input"), e.BadRequest, 8001, "Invalid input"),
        (400, service(3030, "Sequence too long: 9 > 8"), e.ContextOverflow, 3030, "Sequence too long: 9 > 8"),
        (400, service(None, "the maximum context length"), e.ContextOverflow, None, "the maximum context length"),
        (413, service(5021, "The estimated number"), e.ContextOverflow, 5021, "The estimated number"),
        (400, service(5021, "The estimated number"), e.ContextOverflow, 5021, "The estimated number"),
        (413, service(3010, "The estimated number"), e.ContextOverflow, 3010, "The estimated number"),
        (413, service(3006, "Request is too large"), e.RequestTooLarge, 3006, "Request is too large"),
        (408, service(3046, "Request timeout"), e.ServiceTimeout, 3046, "Request timeout"),
        (408, service(3007, "Request timeout"), e.ServiceTimeout, 3007, "Request timeout"),
        (429, service(4006, "used up the allocation"), e.QuotaExhausted, 4006, "used up the allocation"),
        (429, service(3036, "used up"), e.QuotaExhausted, 3036, "used up"),
        (429, service(3040, "Capacity exceeded"), e.CapacityExceeded, 3040, "Capacity exceeded"),
        (429, service("3040", "Capacity exceeded"), e.CapacityExceeded, 3040, "Capacity exceeded"),
        (429, service(None, "3040: Capacity exceeded"), e.CapacityExceeded, 3040, "3040: Capacity exceeded"),
        (429, service(None, "Rate limited."), e.RateLimited, None, "Rate limited."),
        (500, service(None, "Internal server error"), e.ServerError, None, "Internal server error"),
        (503, service(3050, "Max retries exhausted", "AiError: "), e.ServerError, 3050, "Max retries exhausted"),
        (403, service(5035, "not on the Workers Free plan"), e.PermissionDenied, 5035, "not on the Workers Free plan"),
        (422, service(5012, "upstream"), e.BadRequest, 5012, "upstream"),
        (402, GATEWAY % 2021, e.QuotaExhausted, 2021, "gateway"),
        (429, GATEWAY % 2045, e.QuotaExhausted, 2045, "gateway"),
        (429, GATEWAY % 2003, e.RateLimited, 2003, "gateway"),
        (400, b'{"error":{"code":"invalid_prompt","message":"AiError: AiError: boom"}}', e.BadRequest, None, "boom"),
        (404, b'{"detail":"Not Found"}', e.NotFound, None, "Not Found"),
        (502, b"<html>\n<h1>Bad  gateway</h1>", e.ServerError, None, "<html> <h1>Bad gateway</h1>"),
        (429, b"error code: 1015", e.RateLimited, None, "error code: 1015"),
        (524, b"", e.ServerError, None, "no reason given"),
        (500, b"{}", e.ServerError, None, "{}"),
        (500, b"[1]", e.ServerError, None, "[1]"),
        (500, b'{"errors":[]}', e.ServerError, None, "no reason given"),
        (500, b'{"errors":["boom",{"message":"bang"},7]}', e.ServerError, None, "boom; bang; 7"),
        (400, b'{"errors":[{"code":1,"message":"a"},{"code":3040,"message":"b"}]}', e.CapacityExceeded, 3040, "a; b"),
        (500, b'{"errors":{"code":3040,"message":"b"}}', e.CapacityExceeded, 3040, "b"),
        (500, b'{"errors":[{"code":"%s","message":"b"}]}' % (b"9" * 5_000), e.ServerError, None, "b"),
        (418, b"teapot", e.ApiError, None, "teapot"),
        (409, b"conflict", e.Conflict, None, "conflict"),
        (405, b"method", e.BadRequest, None, "method"),
        (307, b"<html>moved</html>", e.ApiError, None, REDIRECT),
        (301, b"", e.ApiError, None, REDIRECT),
        (200, b'{"success":false,"errors":[{"code":3040,"message":"busy"}]}', e.CapacityExceeded, 3040, "busy"),
        (200, b'{"result":{"response":{}},"success":false,"errors":[{"message":"no"}]}', e.ApiError, None, "no"),
        (200, b'{"error":{"message":"JSON Mode: invalid"}}', e.ApiError, None, "JSON Mode: invalid"),
    ],
)  # fmt: skip
def test_every_shape_of_error(status: int, body: bytes, kind: type[e.ApiError], code: int | None, message: str) -> None:
    """The class comes from Cloudflare's code, else from the status; the message is clean and says what to do."""
    error = refusal(status, body, {"location": "https://elsewhere.test/"} if 300 <= status < 400 else None)
    assert type(error) is kind
    assert (error.status, error.status_code, error.code, error.message) == (
        status,
        status,
        code,
        message + REMEDIES.get(kind, ""),
    )
    assert error.partial is None


@pytest.mark.parametrize(
    ("headers", "request_id"),
    [
        ({"cf-ai-req-id": "req", "cf-ray": "ray"}, "req"),
        ({"cf-ray": "ray"}, "ray"),
        ({}, UUID),
    ],
)
def test_the_request_id(headers: dict[str, str], request_id: str) -> None:
    """The id to quote comes from the headers, else from the message, and stands in the text once."""
    error = refusal(500, service(None, "boom"), headers)
    assert error.request_id == request_id
    assert str(error) == f"500 from Workers AI: boom (request {request_id})"


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b"7", b"{}", b'{"result":null}', b'{"result":7}', b'{"result":{}}', b"<html>", b"data: x",
     b'{"choices":', b'{"choices":[{"message":{"content":NaN}}]}', b'{"choices":[]}', b'{"choices":null}',
     b'{"result":{"choices":[]},"success":true}', b'{"choices":7}', b'{"choices":[7]}', b"[" * 100_000],
)  # fmt: skip
def test_what_is_no_answer(body: bytes) -> None:
    """A body that is no answer is a ProtocolError with its content type, or an excerpt, and its status."""
    error = refusal(200, body, {"content-type": "text/weird", "cf-ray": "ray"})
    assert type(error) is e.ProtocolError
    assert len(str(error)) < 400


def test_an_excerpt_is_short() -> None:
    """An unreadable body of any size is shown by its beginning."""
    for status in (200, 502):
        error = refusal(status, b"<html>" + b"x" * 1_000_000)
        assert 200 < len(error.message) < 300
    assert refusal(502, b"\xff\xfe" * 1_000).message.startswith("\ufffd")


@pytest.mark.parametrize(
    ("result", "text"),
    [
        ({"response": "hi"}, "hi"),
        ({"response": 42}, "42"),
        ({"response": {"a": [1]}}, '{"a":[1]}'),
        ({"response": None, "tool_calls": []}, ""),
        ({"choices": [{"message": {"content": "hi"}}]}, "hi"),
        ({"choices": [{"message": {"content": None}}]}, ""),
        ({"choices": [{"message": {"content": [{"type": "text", "text": "hi"}]}}]}, "hi"),
        ({"choices": [{"text": "hi"}]}, "hi"),
        ({"choices": [{"message": {"content": "hi"}}], "usage": None}, "hi"),
    ],
)
@pytest.mark.parametrize("enveloped", [False, True], ids=["bare", "envelope"])
def test_older_and_odd_answers(result: dict[str, Any], text: str, enveloped: bool) -> None:
    """Answers of older models and odd ones are read, in the envelope and bare; the delta is the whole text."""
    payload = {"result": result, "success": True, "errors": [], "messages": []} if enveloped else result
    deltas, completion = replied(payload)
    assert (completion.text, completion.finish_reason) == (text, "stop")
    assert deltas == ([TextDelta(text)] if text else [])


def test_native_calls() -> None:
    """The older native reply's tool calls are calls."""
    completion = replied({"result": {"response": None, "tool_calls": [{"name": "f", "arguments": {"a": 1}}]}})[1]
    assert [(call.name, call.args) for call in completion.tool_calls] == [("f", {"a": 1})]
    assert completion.finish_reason == "tool_calls"


def test_bytes_that_are_not_utf_8_become_replacement_characters() -> None:
    """One broken byte costs one character, not the answer."""
    assert replied(b'{"response":"a\xffb"}')[1].text == "a\ufffdb"


def test_only_cloudflares_headers_are_kept() -> None:
    """The answer's own `cf-*` headers are there, and no others."""
    headers = {"cf-ray": "ray", "cf-ai-neurons": "1.50", "set-cookie": "x", "content-type": "application/json"}
    assert replied({"response": "hi"}, headers=headers)[1].headers == {"cf-ray": "ray", "cf-ai-neurons": "1.50"}
