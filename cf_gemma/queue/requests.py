"""What the asynchronous queue is asked, as HTTP requests: items in parts that fit, and questions after them. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from pydantic_core import to_json

from cf_gemma.errors import ConfigurationError, InvalidRequest
from cf_gemma.model.facts import MODEL
from cf_gemma.model.json_object import as_object
from cf_gemma.request.http_request import HttpRequest, build
from cf_gemma.request.parameters import merged

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from cf_gemma.settings.resolved import Settings

    BatchRequest = str | Sequence[Mapping[str, Any]] | Mapping[str, Any]
    """One item: a text, a list of messages, or a dict of `messages` (or `prompt`), options and `external_reference`."""

PART_BYTES: Final = 10_000_000
"""Bytes that a request to the queue may have at most (Cloudflare's batch documentation, 2026-11)."""

PART_ITEMS: Final = 1_000
"""Items in a part. Our limit: the answers of a part come in one body."""

_HEAD, _TAIL = b'{"requests":[', b"]}"
_OF_THE_WHOLE: Final = ("model", "extra_headers")
"""Options that can't differ from item to item: they are the HTTP request's."""


class Item(NamedTuple):
    """One request of a batch."""

    reference: str
    messages: str | Sequence[Mapping[str, Any]] | None
    prompt: str | None
    options: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Part:
    """Items that fit into one HTTP request."""

    references: tuple[str, ...]
    request: HttpRequest


def items(requests: Sequence[BatchRequest]) -> list[Item]:
    """The items of a batch. Raises InvalidRequest, with the place, for one that isn't one."""
    if isinstance(requests, str) or not requests:
        raise InvalidRequest("requests must be a list of one request or more")
    checked = [_item(request, place) for place, request in enumerate(requests)]
    seen: set[str] = set()
    for place, item in enumerate(checked):
        if item.reference in seen:
            raise InvalidRequest(f"requests[{place}]: external_reference {item.reference!r} is taken already")
        seen.add(item.reference)
    return checked


def parts(settings: Settings, parameters: Mapping[str, Any], batch: Sequence[Item]) -> list[Part]:
    """The batch in as few HTTP requests as the limits allow.

    Args:
        settings: Where they go; always to the run endpoint, which alone has a queue.
        parameters: Checked parameters of all items, see `parameters.merged`.
        batch: The items.

    Raises:
        InvalidRequest: An item can't be sent, or is too large by itself. Names its place.
        ConfigurationError: There is no account.
    """
    settings = _of_run(settings)
    built = [_built(settings, parameters, item, place) for place, item in enumerate(batch)]
    made: list[Part] = []
    start = 0
    for end in _ends([len(request.body) for request in built]):
        body = _HEAD + b",".join(request.body for request in built[start:end]) + _TAIL
        references = tuple(item.reference for item in batch[start:end])
        # Handed over twice, it would be paid for twice.
        made.append(Part(references, replace(_queued(built[start], body), idempotent=False)))
        start = end
    return made


def poll_request(settings: Settings, request_id: str, model: str = MODEL) -> HttpRequest:
    """The question after a part."""
    settings = _of_run(settings)
    question = HttpRequest(settings.url(model), settings.headers, b"", stream=False)
    return _queued(question, to_json({"request_id": request_id}))


def _item(request: BatchRequest, place: int) -> Item:
    fields = as_object(request)
    if fields is None:
        return Item(str(place), cast("str | Sequence[Mapping[str, Any]]", request), None, {})
    options = dict(fields)
    messages, prompt = options.pop("messages", None), options.pop("prompt", None)
    reference = options.pop("external_reference", None)
    if reference is not None and not isinstance(reference, str):
        raise InvalidRequest(f"requests[{place}]: external_reference must be a text")
    for name in _OF_THE_WHOLE:
        if name in options:
            raise InvalidRequest(f"requests[{place}]: {name} is of the whole batch; pass it to submit()")
    return Item(str(place) if reference is None else reference, messages, prompt, options)


def _built(settings: Settings, parameters: Mapping[str, Any], item: Item, place: int) -> HttpRequest:
    try:
        options = merged(parameters, item.options)
        options["extra_body"] = {**options.get("extra_body", {}), "external_reference": item.reference}
        request = build(settings, item.messages, options, prompt=item.prompt, stream=False)
    except InvalidRequest as error:
        raise type(error)(f"requests[{place}]: {error.message}") from error
    if len(_HEAD) + len(request.body) + len(_TAIL) > PART_BYTES:
        raise InvalidRequest(f"requests[{place}] has {len(request.body):,} bytes; the queue takes {PART_BYTES:,}")
    return request


def _ends(sizes: Sequence[int]) -> Iterator[int]:
    """Where each part ends."""
    size, start = len(_HEAD) + len(_TAIL), 0
    total = size
    for place, length in enumerate(sizes):
        # A comma comes between two items.
        added = length + (place > start)
        if total + added > PART_BYTES or place - start >= PART_ITEMS:
            yield place
            start, total, added = place, size, length
        total += added
    yield len(sizes)


def _queued(request: HttpRequest, body: bytes) -> HttpRequest:
    return replace(request, url=f"{request.url}?queueRequest=true", body=body, requires_call=False)


def _of_run(settings: Settings) -> Settings:
    if settings.own_server:
        raise ConfigurationError("the queue is Cloudflare's: it needs account_id")
    return replace(settings, endpoint="run")
