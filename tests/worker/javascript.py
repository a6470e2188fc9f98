"""A fake of the JavaScript that a Worker's Python sees: as far as the binding needs it, as Pyodide's proxies behave."""

from __future__ import annotations

import asyncio
import json
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tests.worker.cases import Answer


class JsException(Exception):
    """An Error that JavaScript threw."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(f"{name}: {message}")
        self.name, self.message = name, message


class JsObject:
    """An object, by its attributes."""

    def __init__(self, properties: Mapping[str, Any]) -> None:
        self.__dict__.update(properties)

    @override
    def __eq__(self, other: object) -> bool:
        return isinstance(other, JsObject) and vars(self) == vars(other)

    __hash__ = None


class Reader:
    """The reader of a ReadableStream."""

    def __init__(self, stream: ReadableStream) -> None:
        self._stream = stream

    async def read(self) -> SimpleNamespace:
        """The next chunk."""
        stream = self._stream
        if stream.cancelled.is_set():
            return SimpleNamespace(done=True)
        if stream.pieces:
            piece = stream.pieces.pop(0)
            return SimpleNamespace(done=False, value=SimpleNamespace(to_bytes=lambda: piece))
        if stream.ending == "cut":
            raise JsException("TypeError", "Network connection lost.")
        if stream.ending == "silent":
            await stream.cancelled.wait()
        return SimpleNamespace(done=True)

    async def cancel(self) -> None:
        """Ends it: what waits for a chunk gets the end."""
        if self._stream.ending == "cut" and not self._stream.pieces:
            raise JsException("TypeError", "Network connection lost.")
        self._stream.cancelled.set()


class ReadableStream:
    """A stream of bytes."""

    def __init__(self, pieces: Sequence[bytes], ending: str = "whole") -> None:
        self.pieces, self.ending = list(pieces), ending
        self.cancelled = asyncio.Event()

    def getReader(self) -> Reader:  # noqa: N802 - JavaScript's name
        """Its reader."""
        return Reader(self)


class Response:
    """A response of `fetch`."""

    def __init__(self, body: ReadableStream | None, status: int, headers: Mapping[str, str]) -> None:
        self.body, self.status = body, status
        self.headers = SimpleNamespace(entries=lambda: [[name, value] for name, value in headers.items()])

    @classmethod
    def new(cls, body: str | ReadableStream) -> Response:
        """A response of one's own."""
        if isinstance(body, str):
            return cls(ReadableStream([body.encode()]), 200, {"content-type": "text/plain;charset=UTF-8"})
        return cls(body, 200, {})


class AbortController:
    """What aborts a signal."""

    def __init__(self) -> None:
        self.signal = SimpleNamespace(aborted=False)

    @classmethod
    def new(cls) -> AbortController:
        """A new one."""
        return cls()

    def abort(self) -> None:
        """Aborts it."""
        self.signal.aborted = True


class Ai:
    """A binding that answers as it is told, and notes what it was asked."""

    def __init__(self, *answers: Answer, gives: Callable[[Answer], Any] | None = None) -> None:
        """`gives` makes what `run` returns, or raises, of an answer; the raw Response by default."""
        self._answers, self._gives = answers, gives or raw
        self.runs: list[tuple[str, Any, Any]] = []
        self.streams: list[ReadableStream] = []

    async def run(self, model: str, inputs: JsObject, options: JsObject) -> Any:
        """Runs a model."""
        answer = self._answers[min(len(self.runs), len(self._answers) - 1)]
        self.runs.append((model, inputs, options))
        if answer.ending == "never begins":
            await asyncio.Event().wait()
        result = self._gives(answer)
        stream = getattr(result, "body", result)
        if isinstance(stream, ReadableStream):
            self.streams.append(stream)
        return result


def raw(answer: Answer) -> Response:
    """The raw response."""
    return Response(ReadableStream(answer.pieces, answer.ending), answer.status, answer.headers)


def modules() -> dict[str, ModuleType]:
    """The modules `js` and `pyodide.ffi`."""
    js, pyodide, ffi = ModuleType("js"), ModuleType("pyodide"), ModuleType("pyodide.ffi")
    js.__dict__.update(
        JSON=SimpleNamespace(parse=_parse, stringify=_stringify),
        Object=SimpleNamespace(assign=lambda target, source: vars(target).update(vars(source))),
        AbortController=AbortController,
        Response=Response,
    )
    ffi.__dict__.update(JsException=JsException)
    return {"js": js, "pyodide": pyodide, "pyodide.ffi": ffi}


def plain(value: Any) -> Any:
    """A value of JavaScript's as Python's."""
    return json.loads(_stringify(value))


def _parse(text: str) -> Any:
    return json.loads(text, object_hook=JsObject)


def _stringify(value: Any) -> str:
    return json.dumps(value, default=vars)
