"""The output's lines: what came of a row, as one JSON object."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from cf_gemma.errors import GemmaError, ReasoningBudgetExceeded

if TYPE_CHECKING:
    from cf_gemma import Completion, Usage
    from cf_gemma.bulk.forms import Record
    from cf_gemma.bulk.rows import BadRow, Row
    from cf_gemma.bulk.schema import JsonFormat


def of_outcome(row: Row, outcome: Completion | GemmaError, cost: float | None = None) -> Record:
    """The line of whatever came of a row that could be sent.

    Args:
        row: The row.
        outcome: Of its last request.
        cost: US dollars of all of its requests; None for what the last one reports.
    """
    record = of_error(row, outcome) if isinstance(outcome, GemmaError) else _of_answer(row, outcome)
    usage = usage_of(outcome)
    if usage is not None:
        record["usage"] = usage.to_dict()
    paid = cost if cost is not None else usage.cost if usage else 0.0
    if usage is not None or paid:
        record["cost"] = round(paid, 10)  # a token costs more than a thousand times that
    return record


def of_error(row: Row | BadRow, error: GemmaError) -> Record:
    """The line of a row that got no answer, with what had arrived of one."""
    record = {**_blank(row), "error": _details(error)}
    if error.partial is not None:
        record["text"], record["reasoning"] = error.partial.text, error.partial.reasoning
    return record


def usage_of(outcome: Completion | GemmaError) -> Usage | None:
    """What a request used, as far as it was reported, perhaps before it failed."""
    completion = outcome.partial if isinstance(outcome, GemmaError) else outcome
    return completion.usage if completion is not None else None


def _of_answer(row: Row, completion: Completion) -> Record:
    """The line of an answer, which is an error's, too, when it isn't what was asked for."""
    record = {
        **_blank(row),
        "text": completion.text,
        "reasoning": completion.reasoning,
        "finish_reason": completion.finish_reason,
    }
    calls = [*completion.tool_calls, *completion.invalid_tool_calls]
    if calls:
        record["tool_calls"] = completion.message["tool_calls"]
    if completion.finish_reason == "length" and not completion.text.strip() and not calls:
        used = "thinking used up max_tokens" if completion.thought_only else "max_tokens was used up"
        message = f"{used} before the answer began: raise max_tokens, or use --no-thinking"
        return {**record, "error": _details(ReasoningBudgetExceeded(message))}
    return _parsed(record, row.format) if row.format is not None and not calls else record


def key(record: Record) -> str:
    """What tells the row: the same as its `key`."""
    return json.dumps(record["line"] if record["id"] is None else record["id"])


def _blank(row: Row | BadRow) -> Record:
    return {
        "id": row.id,
        "line": row.line,
        "text": None,
        "reasoning": None,
        "parsed": None,
        "finish_reason": None,
        "usage": None,
        "cost": None,
        "error": None,
    }


def _parsed(record: Record, wanted: JsonFormat) -> Record:
    try:
        return {**record, "parsed": wanted.read(record["text"])}
    except ValueError as error:
        cut = "; it was cut off by max_tokens" if record["finish_reason"] == "length" else ""
        return {**record, "error": {"type": "InvalidJSON", "message": f"{error}{cut}"}}


def _details(error: GemmaError) -> dict[str, Any]:
    facts = {"status": error.status, "code": error.code, "request_id": error.request_id}
    present = {name: value for name, value in facts.items() if value is not None}
    return {"type": type(error).__name__, "message": error.message, **present}
