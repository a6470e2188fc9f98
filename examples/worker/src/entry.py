"""Gemma's answer to `?q=…`, to the browser as it comes: server-sent events, written by LangChain's chunks."""

from __future__ import annotations

import json
from asyncio import create_task
from contextlib import aclosing, suppress
from typing import Any
from urllib.parse import parse_qs, urlsplit

from js import TextEncoder, TransformStream
from langchain_core.messages import HumanMessage
from pyodide.ffi import JsException, create_proxy
from workers import Response, WorkerEntrypoint

from langchain_cf_gemma import ChatCloudflareGemma
from langchain_cf_gemma.errors import GemmaError


class Default(WorkerEntrypoint):
    """The Worker. `env.AI` is the binding that wrangler.toml names."""

    async def fetch(self, request: Any) -> Any:
        """The response: its body is written while the browser reads it."""
        question = parse_qs(urlsplit(request.url).query).get("q", ["Why is the sky blue?"])[0]
        model = ChatCloudflareGemma(binding=self.env.AI, max_tokens=2048)
        stream = TransformStream.new()
        # The runtime goes on with this after the response has begun, and ends it with the request.
        self.ctx.waitUntil(create_proxy(create_task(write(model, question, stream.writable.getWriter()))))
        return Response(stream.readable, headers={"content-type": "text/event-stream", "cache-control": "no-store"})


async def write(model: ChatCloudflareGemma, question: str, writer: Any) -> None:
    """Writes the answer's events: `reasoning`, `text`, and `done` or `error` last."""
    with suppress(JsException):  # the browser has left, and with it goes the model's stream
        try:
            async with aclosing(model.astream([HumanMessage(question)])) as chunks:
                async for chunk in chunks:
                    if reasoning := chunk.additional_kwargs.get("reasoning_content"):
                        await writer.write(event("reasoning", reasoning))
                    if chunk.text:
                        await writer.write(event("text", chunk.text))
                    if chunk.usage_metadata:
                        await writer.write(event("done", chunk.usage_metadata["total_tokens"]))
        except GemmaError as error:
            await writer.write(event("error", str(error)))
        await writer.close()


def event(name: str, data: object) -> Any:
    """One server-sent event, in bytes."""
    return TextEncoder.new().encode(f"event: {name}\ndata: {json.dumps(data)}\n\n")
