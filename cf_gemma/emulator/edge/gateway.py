"""AI Gateway in front of the model: its headers, and a cache of whole answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cf_gemma.emulator.backends.rendering import DONE
from cf_gemma.emulator.delivery.answer import Head, Part

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Hashable, Iterable, Mapping

    from cf_gemma.emulator.edge.call import Call


@dataclass(frozen=True, slots=True)
class _Kept:
    until: float
    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Visit:
    """One request's way through a gateway."""

    headers: Mapping[str, str]
    """What the gateway adds to the answer's."""
    hit: tuple[Part, ...] | None = None
    """The answer, when the cache has it."""
    keep: Callable[[str, bytes], None] | None = None
    """Takes an answer, its content type first, into the cache, where one is wanted."""

    def caching(self, parts: Iterable[Part]) -> Generator[Part]:
        """The same parts. A whole answer is kept before its end goes out, so that the next request finds it."""
        head, body = Head(0, {}), list[bytes]()
        for part in parts:
            if isinstance(part, Head):
                head = part
            elif self.keep is not None:
                body.append(part)
                if part == DONE or "content-length" in head.headers:
                    self.keep(head.headers["content-type"], b"".join(body))
            yield part


class Gateway:
    """All gateways of one emulator: any name will do, and each has a cache of its own.

    An answer is kept for the seconds of `cf-aig-cache-ttl`, else for those of the settings, under `cf-aig-cache-key`,
    else under the path and the body. `cf-aig-skip-cache: true` neither reads nor keeps.
    """

    def __init__(self, ttl: float, clock: Callable[[], float]) -> None:
        self._ttl, self._clock = ttl, clock
        self._cache: dict[Hashable, _Kept] = {}

    def visit(self, call: Call, headers: Mapping[str, str], path: str, model: str, raw: bytes) -> Visit:
        """What the gateway makes of a request; nothing of one that names none."""
        name = headers.get("cf-aig-gateway-id")
        if name is None:
            return Visit({})
        added = {
            "cf-aig-log-id": _ulid(call),
            "cf-aig-event-id": _ulid(call),
            "cf-aig-step": "0",
            "cf-aig-model": model,
            "cf-aig-provider": "workers-ai",
            "cf-aig-cache-status": "MISS",
        }
        seconds = headers.get("cf-aig-cache-ttl", "")
        ttl = float(seconds) if seconds.isdecimal() else self._ttl
        if ttl <= 0 or headers.get("cf-aig-skip-cache") == "true":
            return Visit(added)
        key = (name, headers.get("cf-aig-cache-key") or (path, raw))
        kept = self._cache.get(key)
        if kept is not None and kept.until > self._clock():
            hit = {"cf-ray": call.ray, **added, "cf-aig-cache-status": "HIT", "content-type": kept.content_type}
            return Visit(added, (Head(200, {**hit, "content-length": str(len(kept.body))}), kept.body))

        def keep(content_type: str, body: bytes) -> None:
            self._cache[key] = _Kept(self._clock() + ttl, content_type, body)

        return Visit(added, keep=keep)


def _ulid(call: Call) -> str:
    return "".join(call.random.choices(_CROCKFORD, k=26))


_CROCKFORD: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
