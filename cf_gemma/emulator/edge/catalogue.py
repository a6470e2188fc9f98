"""What the account's other endpoints answer: the model catalogue, the token's state. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from cf_gemma.emulator.envelope import envelope
from cf_gemma.emulator.faults import Fault, Refusal
from cf_gemma.model.facts import CONTEXT_WINDOW, PRICE
from cf_gemma.request.published import MESSAGES, OPTIONS, PROMPT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def search(query: Mapping[str, str], models: Sequence[str]) -> dict[str, Any]:
    """`/ai/models/search`: the models whose name holds the searched text, all on the first page."""
    matching = [entry(model) for model in models if query.get("search", "").lower() in model.lower()]
    listed = matching if query.get("page", "1") == "1" else []
    info = {"count": len(listed), "page": 1, "per_page": len(matching), "total_count": len(matching)}
    return {**envelope(listed), "result_info": info}


def schema(query: Mapping[str, str], models: Sequence[str]) -> dict[str, Any]:
    """`/ai/models/schema`: what a model takes. Raises Refusal (5007) for one that doesn't exist."""
    model = query.get("model", "")
    if model not in models:
        raise Refusal(Fault.of(5007, f"No such model {model} or task"))
    forms = [replace(form, fields={**form.fields, **OPTIONS.fields}).to_json_schema() for form in (PROMPT, MESSAGES)]
    return envelope({"input": {"type": "object", "oneOf": forms}, "output": {"type": "object"}})


def token(_query: Mapping[str, str], _models: Sequence[str]) -> dict[str, Any]:
    """`/tokens/verify`: the token is active, or it would have been refused."""
    message = {"code": 10000, "message": "This API Token is valid and active", "type": None}
    return {**envelope({"id": "0" * 32, "status": "active"}), "messages": [message]}


def entry(model: str) -> dict[str, Any]:
    """A model as the catalogue lists it."""
    return {
        "id": "328adb49-4a7d-43e3-a2d5-802ae8100fe7",
        "source": 1,
        "name": model,
        "description": "An emulator's stand-in for this model.",
        "task": {"id": "c329a1f9-323d-4e91-b2aa-582dd4188d34", "name": "Text Generation", "description": ""},
        "created_at": "2026-04-02 15:05:22.642",
        "tags": [],
        "properties": [{"property_id": name, "value": value} for name, value in _PROPERTIES.items()],
    }


_PROPERTIES: Final = {
    "context_window": str(CONTEXT_WINDOW),
    "price": [
        {"unit": "per M input tokens", "price": PRICE.prompt, "currency": "USD"},
        {"unit": "per M output tokens", "price": PRICE.completion, "currency": "USD"},
    ],
    "async_queue": "true",
    "function_calling": "true",
    "reasoning": "true",
    "vision": "true",
    "terms": "https://ai.google.dev/gemma/docs/gemma_4_license",
}
