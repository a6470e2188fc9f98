"""Images on their way to the service."""

from __future__ import annotations

import base64
import json
import struct
import threading
import zlib
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from cf_gemma.request import images
from langchain_cf_gemma import ChatCloudflareGemma
from langchain_cf_gemma.errors import UnsupportedContent

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.langchain.conftest import Emulate


def png(side: int) -> str:
    """A grey square, as base64 text."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    rows = chunk(b"IDAT", zlib.compress((b"\0" + b"\x80" * side) * side))
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + head + rows + chunk(b"IEND", b"")).decode()


SQUARE = png(16)
DATA_URL = f"data:image/png;base64,{SQUARE}"
SENT = {"type": "image_url", "image_url": {"url": DATA_URL}}
FORMS: dict[str, dict[str, Any]] = {
    "v1": {"type": "image", "base64": SQUARE, "mime_type": "image/png"},
    "v0": {"type": "image", "source_type": "base64", "data": SQUARE, "mime_type": "image/png"},
    "chat completions": {"type": "image_url", "image_url": {"url": DATA_URL}},
    "Anthropic": {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": SQUARE}},
    "bytes": {"type": "image", "base64": base64.b64decode(SQUARE), "mime_type": "image/png"},
    "wrong type": {"type": "image", "base64": SQUARE, "mime_type": "image/jpeg"},
}


@pytest.mark.parametrize("image", FORMS.values(), ids=FORMS)
async def test_image(emulate: Emulate, image: dict[str, Any]) -> None:
    """An image in any form reaches the service as a data URL that names its true type."""
    emulated = emulate(["Grey."] * 2)
    asked = HumanMessage([{"type": "text", "text": "What colour?"}, image])
    emulated.model.invoke([asked])
    await emulated.model.ainvoke([asked])
    for request in emulated.requests:
        (turn,) = request.json["messages"]
        assert turn == {"role": "user", "content": [{"type": "text", "text": "What colour?"}, SENT]}


@pytest.mark.parametrize("form", [str, base64.b64decode], ids=["base64", "bytes"])
async def test_scaling_blocks_no_loop(
    emulate: Emulate, form: Callable[[str], bytes | str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large image is scaled down by another thread than the event loop's, whose other tasks run meanwhile."""
    emulated = emulate(["Grey."])
    large = png(2000)
    threads: list[threading.Thread] = []

    def scaled(*arguments: Any) -> str:
        threads.append(threading.current_thread())
        return scale(*arguments)

    images._made.cache_clear()  # what was scaled before is remembered
    scale = images._scaled
    monkeypatch.setattr(images, "_scaled", scaled)
    image = {"type": "image", "base64": form(large), "mime_type": "image/png"}
    assert (await emulated.model.ainvoke([HumanMessage([image])])).text == "Grey."
    assert len(threads) == 1
    assert threads[0] is not threading.current_thread()
    assert large not in str(emulated.body)


async def test_image_in_a_tool_result(emulate: Emulate) -> None:
    """Images in tool results follow in a user turn after all the results."""
    emulated = emulate(["Grey."])
    calls = [{"name": "look", "args": {}, "id": id_} for id_ in ("a", "b")]
    emulated.model.invoke(
        [
            HumanMessage("Look!"),
            AIMessage("", tool_calls=calls),
            ToolMessage([{"type": "text", "text": "Here."}, FORMS["v1"]], tool_call_id="a", name="look"),
            ToolMessage("Nothing.", tool_call_id="b"),
        ]
    )
    _, _, first, second, shown = emulated.body["messages"]
    assert (first["role"], second["role"], shown["role"]) == ("tool", "tool", "user")
    assert first["content"] == "Here."
    assert SENT in shown["content"]


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream", "astream"])
async def test_image_on_the_web(way: str) -> None:
    """With `inline_image_urls` an image on the web is fetched, and reaches the service as a data URL."""
    sent: list[dict[str, Any]] = []

    def web(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(200, content=base64.b64decode(SQUARE))
        sent.append(json.loads(request.content))
        choices = [{"index": 0, "message": {"role": "assistant", "content": "Grey."}, "finish_reason": "stop"}]
        return httpx.Response(200, json={"result": {"choices": choices}, "success": True})

    transport = httpx.MockTransport(web)
    with httpx.Client(transport=transport) as client:
        async with httpx.AsyncClient(transport=transport) as async_client:
            model = ChatCloudflareGemma(
                account_id="acct",
                api_token="token",
                inline_image_urls=True,
                http_client=client,
                http_async_client=async_client,
            )
            asked = [HumanMessage([{"type": "image", "url": "https://93.184.215.14/grey.png"}])]
            if way.endswith("invoke"):
                text = (await model.ainvoke(asked) if way == "ainvoke" else model.invoke(asked)).text
            elif way == "stream":
                text = "".join(chunk.text for chunk in model.stream(asked))
            else:
                text = "".join([chunk.text async for chunk in model.astream(asked)])
    assert text == "Grey."
    assert sent[0]["messages"] == [{"role": "user", "content": [SENT]}]


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ({"type": "image", "url": "https://example.com/cat.png"}, "URL"),
        ({"type": "image_url", "image_url": "http://127.0.0.1/cat.png"}, "URL"),
        ({"type": "image", "base64": png(8), "mime_type": "image/png"}, "10 px"),
        ({"type": "image", "base64": "AAAA", "mime_type": "image/png"}, "not a PNG"),
        ({"type": "file", "base64": "AAAA", "mime_type": "application/pdf"}, "file"),
        ({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}, "audio"),
    ],
    ids=["address", "short address", "too small", "no image", "pdf", "audio"],
)
async def test_refused(emulate: Emulate, image: dict[str, Any], message: str) -> None:
    """What the service doesn't take is refused before anything is sent, with the reason."""
    emulated = emulate(["Grey."])
    with pytest.raises(UnsupportedContent, match=message):
        emulated.model.invoke([HumanMessage([image])])
    assert emulated.requests == []
