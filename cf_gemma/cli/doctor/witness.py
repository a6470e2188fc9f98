"""An HTTP client that keeps what goes over it, for probes that look at the wire."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from typing_extensions import override

from cf_gemma.model.json_object import as_object
from cf_gemma.transport.http import ByteStream, HttpClient

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(slots=True)
class Exchange:
    """A request and what came back."""

    method: str
    path: str
    sent: Any
    """The JSON body; None when there was none."""
    status: int = 0
    """0 when no answer came."""
    headers: dict[str, str] = field(default_factory=dict[str, str])
    """Of the response, lower case."""
    data: bytearray = field(default_factory=bytearray)
    """The body as far as it was read."""
    first_byte: float | None = None
    """Seconds to the first byte of the body."""
    seconds: float = 0.0
    """To the last."""

    @property
    def taken(self) -> bool:
        """Whether the service accepted the request."""
        return 200 <= self.status < 300

    @property
    def streamed(self) -> bool:
        """Whether the answer is an event stream."""
        return self.headers.get("content-type", "").startswith("text/event-stream")

    @property
    def lines(self) -> list[str]:
        """The lines of an event stream, empty ones left out; of anything else, none."""
        text = self.data.decode(errors="replace")
        return [line for line in text.splitlines() if line] if self.streamed else []

    @property
    def events(self) -> list[dict[str, Any]]:
        """The JSON objects of an event stream."""
        return [event for line in self.lines if (event := _decoded(line.removeprefix("data:"))) is not None]

    @property
    def body(self) -> dict[str, Any]:
        """The JSON object of a whole answer; {} for anything else."""
        return _decoded(self.data.decode(errors="replace")) or {}

    @property
    def completion(self) -> dict[str, Any]:
        """The body without its envelope."""
        return as_object(self.body.get("result", self.body)) or {}

    @property
    def choice(self) -> dict[str, Any]:
        """The first choice of a whole answer; {} when there is none."""
        choices = objects(self.completion.get("choices"))
        return choices[0] if choices else {}

    @property
    def usage(self) -> dict[str, Any]:
        """The last `usage`, {} for none."""
        usages = [usage for event in self.events if (usage := as_object(event.get("usage")))]
        return usages[-1] if usages else as_object(self.completion.get("usage")) or {}

    @property
    def refusal(self) -> dict[str, Any]:
        """The first error of a body; {} when there is none."""
        errors = self.body.get("errors") or self.body.get("error")
        return next(iter(objects(errors)), None) or as_object(errors) or {}


class Witness(HttpClient):
    """Keeps every exchange of a client that uses it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.exchanges: list[Exchange] = []

    @override
    def send(self, request: Any, **options: Any) -> Any:
        exchange = Exchange(request.method, request.url.raw_path.decode(), _decoded(request.content.decode()))
        self.exchanges.append(exchange)
        began = time.monotonic()
        response = super().send(request, **options)
        exchange.status, exchange.headers = response.status_code, dict(response.headers)
        if response.is_stream_consumed:
            exchange.data += response.content
            exchange.first_byte = exchange.seconds = time.monotonic() - began
        else:
            response.stream = _Kept(response.stream, exchange, began)
        return response


def objects(value: Any) -> list[dict[str, Any]]:
    """The objects in a list; [] for what is none."""
    items = cast("list[Any]", value) if isinstance(value, list) else []
    return [entry for item in items if (entry := as_object(item)) is not None]


class _Kept(ByteStream):
    """The body of a response, kept as it goes by."""

    def __init__(self, body: Any, exchange: Exchange, began: float) -> None:
        self._body, self._exchange, self._began = body, exchange, began

    @override
    def __iter__(self) -> Iterator[bytes]:
        exchange = self._exchange
        for chunk in self._body:
            exchange.seconds = time.monotonic() - self._began
            exchange.first_byte = exchange.seconds if exchange.first_byte is None else exchange.first_byte
            exchange.data += chunk
            yield chunk

    @override
    def close(self) -> None:
        self._body.close()


def _decoded(text: str) -> dict[str, Any] | None:
    try:
        return as_object(json.loads(text))
    except ValueError:
        return None
