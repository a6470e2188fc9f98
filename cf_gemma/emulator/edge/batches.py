"""The asynchronous queue: batches are taken in, answered item by item, and polled for.

Submitting, polling and the results of a batch follow Cloudflare's documentation. What no source shows, the body of an
item that failed and the answer to an unknown request id, is in the manner of the service's other errors.
"""

from __future__ import annotations

import logging
import threading
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, cast

from cf_gemma.emulator.edge.validation import check
from cf_gemma.emulator.envelope import envelope
from cf_gemma.emulator.faults import Fault, Refusal
from cf_gemma.model.facts import CONTEXT_WINDOW
from cf_gemma.model.json_object import as_object

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Executor
    from random import Random

    from cf_gemma.emulator.chat import ChatRequest
    from cf_gemma.emulator.edge.call import Call

    Answering = Callable[[ChatRequest, threading.Event], dict[str, Any]]
    """From a request to the `result` that it would have got by itself."""

logger = logging.getLogger("cf_gemma.emulator")

PAYLOAD_LIMIT: Final = 10_000_000
"""Bytes of a batch."""


@dataclass(frozen=True, slots=True)
class Item:
    """One request of a batch: checked, or refused on its own."""

    chat: ChatRequest | Fault
    reference: Any = None


@dataclass(slots=True)
class _Batch:
    random: Random
    polls: int = 0
    responses: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    done: threading.Event = field(default_factory=threading.Event)


class Batches:
    """All batches of one emulator, which keeps them as long as it runs."""

    def __init__(self, executor: Executor, polls: int) -> None:
        self._executor, self._polls = executor, polls
        self._batches: dict[str, _Batch] = {}
        self._cancelled = threading.Event()

    def submit(self, call: Call, model: str, items: Sequence[Item], answer: Answering) -> dict[str, Any]:
        """Takes a batch in; its receipt."""
        request_id = str(uuid.UUID(int=call.random.getrandbits(128), version=4))
        batch = self._batches[request_id] = _Batch(call.random)
        self._executor.submit(self._work, batch, call.request_id, items, answer)
        return envelope({"status": "queued", "request_id": request_id, "model": model})

    def poll(self, request_id: Any) -> dict[str, Any]:
        """What there is of a batch: its state, or its answers in any order. Raises Refusal for an unknown one."""
        batch = self._batches.get(str(request_id))
        if batch is None:
            raise Refusal(Fault(404, message=f"No such request_id: {request_id}"))
        batch.polls += 1
        if batch.polls > self._polls and batch.done.is_set():
            responses = batch.random.sample(batch.responses, len(batch.responses))
            return envelope({"responses": responses, "usage": _usage(responses)})
        state = "queued" if batch.polls == 1 else "running"
        return envelope({"status": state, "request_id": request_id})

    def cancel(self) -> None:
        """Stops working."""
        self._cancelled.set()

    def _work(self, batch: _Batch, request_id: str, items: Sequence[Item], answer: Answering) -> None:
        for number, item in enumerate(items):
            if self._cancelled.is_set():
                return
            response = {"id": number, **self._outcome(item, request_id, answer)}
            if item.reference is not None:
                response["external_reference"] = item.reference
            batch.responses.append(response)
        batch.done.set()

    def _outcome(self, item: Item, request_id: str, answer: Answering) -> dict[str, Any]:
        fault = item.chat
        if not isinstance(fault, Fault):
            try:
                return {"result": answer(fault, self._cancelled), "success": True}
            except Refusal as refusal:
                fault = refusal.fault
            except Exception:  # an engine is anybody's code; what it raises is logged, and a 500
                logger.exception("the engine failed")
                fault = Fault(500)
        return {"success": False, "errors": fault.to_dict(request_id).get("errors", [{"message": fault.words}])}


def read_items(requests: Any, size: int) -> list[Item]:
    """The items of a batch of so many bytes.

    Raises Refusal for what the edge looks at: the size, and the schema of every item. What the model's own server
    objects to is the item's own fault.
    """
    if size > PAYLOAD_LIMIT:
        raise Refusal(Fault.of(3006))
    if not isinstance(requests, list) or not requests:
        raise Refusal(Fault.of(5006, "Type mismatch of '/requests', 'array' not met"))
    return [_item(request) for request in cast("list[Any]", requests)]


def _item(request: Any) -> Item:
    reference = (as_object(request) or {}).get("external_reference")
    try:
        chat = check(request)
    except Refusal as refusal:
        if refusal.fault.code == _SCHEMA:
            raise
        return Item(refusal.fault, reference)
    tokens = len(str(request)) // 4 + chat.max_tokens
    return Item(Fault.overflow(tokens, CONTEXT_WINDOW) if tokens > CONTEXT_WINDOW else chat, reference)


def _usage(responses: Sequence[dict[str, Any]]) -> dict[str, int]:
    used = [response["result"]["usage"] for response in responses if response["success"]]
    return {name: sum(one[name] for one in used) for name in ("prompt_tokens", "completion_tokens", "total_tokens")}


_SCHEMA: Final = 5006
