"""The samples in this folder, decoded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final, NamedTuple

FOLDER: Final = Path(__file__).parent


class Sample(NamedTuple):
    """What one server made of one request."""

    server: str
    """`vllm` or `sglang`."""
    case: str
    request: dict[str, Any]
    reply: bytes
    """The whole reply, as it came."""
    stream: bytes
    """The streamed one, as it came."""

    @property
    def choice(self) -> dict[str, Any]:
        """The only choice of the whole reply."""
        (choice,) = json.loads(self.reply)["choices"]
        return choice

    @property
    def chunks(self) -> list[dict[str, Any]]:
        """The choices of all chunks of the stream that have one."""
        return streamed_choices(self.stream)


def streamed_choices(stream: bytes) -> list[dict[str, Any]]:
    """The choices of all chunks of a stream that have one."""
    data = [event.removeprefix("data: ") for event in stream.decode().split("\n\n") if event.strip()]
    chunks = [json.loads(datum) for datum in data if datum != "[DONE]"]
    return [choice for chunk in chunks for choice in chunk.get("choices") or []]


def load(server: str, case: str) -> Sample:
    """One sample."""
    path = FOLDER / server / case
    request = json.loads(path.with_suffix(".request.json").read_bytes())
    return Sample(
        server, case, request, path.with_suffix(".json").read_bytes(), path.with_suffix(".stream.sse").read_bytes()
    )


SAMPLES: Final = [
    load(path.parent.name, path.name.removesuffix(".request.json")) for path in sorted(FOLDER.glob("*/*.request.json"))
]
