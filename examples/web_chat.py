"""A chat in the browser, at http://127.0.0.1:8000: words as they come, the reasoning folded, each tool shown."""

import json
from collections import defaultdict
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, StreamingResponse
from starlette.routing import Route

from cf_gemma import AsyncGemma, Completion, GemmaError, ReasoningDelta, TextDelta

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"name": "get_weather", "description": "The weather in a city", "parameters": CITY}
gemma = AsyncGemma(tools=[{"type": "function", "function": WEATHER}])
conversations: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)


def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"Sunny in {city}, 24 degrees"


def event(kind: str, text: str) -> str:
    """A server-sent event: a piece of text, and what it is a piece of."""
    return f"data: {json.dumps([kind, text])}\n\n"


async def events(messages: list[dict[str, Any]]) -> AsyncGenerator[str]:
    """The answer. The model is asked again until it calls no tool; when the browser goes, its request is cancelled."""
    try:
        while messages[-1]["role"] != "assistant":
            async for item in gemma.stream(messages):
                if isinstance(item, ReasoningDelta | TextDelta):
                    yield event("text" if isinstance(item, TextDelta) else "reasoning", item.text)
                elif isinstance(item, Completion):
                    messages.append(item.message)
                    for call in item.tool_calls:
                        messages.append({"role": "tool", "tool_call_id": call.id, "content": get_weather(**call.args)})
                        yield event("call", f"{call.name} {call.arguments}\n→ {messages[-1]['content']}")
    except GemmaError as error:
        yield event("error", str(error))


async def answer(request: Request) -> StreamingResponse:
    """Takes a question and the id of its conversation."""
    body = await request.json()
    conversations[body["thread"]].append({"role": "user", "content": body["question"]})
    return StreamingResponse(events(conversations[body["thread"]]), media_type="text/event-stream")


page = Route("/", FileResponse(Path(__file__).with_suffix(".html")))
app = Starlette(routes=[page, Route("/answer", answer, methods=["POST"])])
if __name__ == "__main__":
    uvicorn.run(app, port=8000, log_level="warning")
