"""What exchanges show, each in a phrase. Pure."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from cf_gemma import MODEL, PRICE
from cf_gemma.cli.doctor.witness import objects
from cf_gemma.model.json_object import as_object

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cf_gemma.cli.doctor.witness import Exchange


def stream_shape(exchanges: Sequence[Exchange]) -> str:
    """What kind of stream it is: ids, padding, usage, finish frames, tail, end marks."""
    stream = exchanges[-1]
    if not stream.streamed:
        return outcome(stream)
    events = stream.events
    chunks = [event for event in events if "choices" in event]
    ended = [1 for chunk in chunks for choice in chunk["choices"] if choice.get("finish_reason")]
    facts = [
        f"id {_masked(str(chunks[0].get('id', '')))}" if chunks else "no chunks",
        "padding p" if any("p" in chunk for chunk in chunks) else "no padding",
        _usage_manner(events),
        f"{len(ended)} finish frame(s)",
        "chunk without choices" if any(not chunk["choices"] for chunk in chunks) else "no chunk without choices",
        "native tail" if any("response" in event for event in events) else "no native tail",
        f"[DONE] x{sum('[DONE]' in line for line in stream.lines)}",
        f"model {chunks[0].get('model')}" if chunks else "",
    ]
    return ", ".join(filter(None, facts))


def tool_calls(exchanges: Sequence[Exchange]) -> str:
    """How a streamed call is cut."""
    pieces = [
        call
        for event in exchanges[-1].events
        for choice in objects(event.get("choices"))
        for call in objects((as_object(choice.get("delta")) or {}).get("tool_calls"))
    ]
    if not pieces:
        return f"no call came ({outcome(exchanges[-1])})"
    functions = [as_object(piece.get("function")) or {} for piece in pieces]
    arguments = {type(function["arguments"]).__name__ for function in functions if "arguments" in function}
    ids = sorted({_masked(str(piece["id"])) for piece in pieces if piece.get("id")})
    indexes = sorted({str(piece.get("index")) for piece in pieces})
    last = functions[-1]
    finaliser = len(pieces) > 1 and not last.get("name") and not last.get("arguments")
    return (
        f"{len(pieces)} delta(s), id {', '.join(ids) or 'none'}, index {', '.join(indexes)}, arguments as "
        f"{', '.join(sorted(arguments)) or 'nothing'}, {'a' if finaliser else 'no'} null finaliser"
    )


def usage_of_stream(exchanges: Sequence[Exchange]) -> str:
    """Whether usage came."""
    stream = exchanges[-1]
    return _usage_manner(stream.events) if stream.streamed else outcome(stream)


def retry_after(exchanges: Sequence[Exchange]) -> str:
    """What came with 429 and 503."""
    refused = [exchange for exchange in exchanges if exchange.status in (429, 503)]
    if not refused:
        return "nothing was refused, so nothing was seen"
    waits = [f"{outcome(one)}, Retry-After {one.headers.get('retry-after', 'none')}" for one in refused]
    return "; ".join(dict.fromkeys(waits))


def refusals(exchanges: Sequence[Exchange]) -> str:
    """Status, code and words of each."""
    return "; ".join(map(outcome, exchanges))


def acceptance(exchanges: Sequence[Exchange]) -> str:
    """Whether it was taken, and what was made of it."""
    return "; ".join(f"{outcome(one)}{_quoted(_content(one))}" for one in exchanges)


def batch(exchanges: Sequence[Exchange]) -> str:
    """The reported states, the answers' shapes, and what an unknown id brings."""
    results = [exchange.completion for exchange in exchanges[:-1]]
    states = [str(result["status"]) for result in results if "status" in result]
    items = objects(results[-1].get("responses")) if results else []
    shapes = [
        f"{item.get('external_reference')}: success {item.get('success')}, keys {','.join(sorted(item))}"
        + (f", result {','.join(list(item['result'])[:4])}" if isinstance(item.get("result"), dict) else "")
        for item in items
    ]
    items_seen = "; ".join([*shapes, f"unknown id: {outcome(exchanges[-1])}"])
    return f"states {', '.join(dict.fromkeys(states)) or 'none'}; {items_seen}"


def sameness(exchanges: Sequence[Exchange]) -> str:
    """Whether the answers are the same."""
    if not all(exchange.taken for exchange in exchanges):
        return refusals(exchanges)
    same = len({str(_content(exchange)) for exchange in exchanges}) == 1
    return f"accepted; two answers at temperature 2 were {'equal: it works' if same else 'different: no effect'}"


def reasoning(exchanges: Sequence[Exchange]) -> str:
    """How much was thought at each effort."""
    return "; ".join(f"{one.sent['reasoning_effort']}: {outcome(one)}{_thought(one)}" for one in exchanges)


def length(exchanges: Sequence[Exchange]) -> str:
    """How long an answer without a limit became."""
    answer = exchanges[-1]
    if not answer.taken:
        return outcome(answer)
    return f"{answer.usage.get('completion_tokens')} tokens, finish reason {answer.choice.get('finish_reason')}"


def catalogue(exchanges: Sequence[Exchange]) -> str:
    """What the lists of models answer."""
    listed, search = exchanges
    models = objects(search.body.get("result"))
    properties = [entry for model in models for entry in objects(model.get("properties"))]
    kinds = Counter(type(entry.get("value")).__name__ for entry in properties)
    types = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    return f"/v1/models: {outcome(listed)}; search: {len(models)} found, property values {types or 'none'}"


def cached_price(exchanges: Sequence[Exchange]) -> str:
    """What a cached token cost, of the price of one that isn't."""
    usage = exchanges[-1].usage
    cached: int = (as_object(usage.get("prompt_tokens_details")) or {}).get("cached_tokens") or 0
    if not cached or usage.get("neurons") is None:
        return f"{cached} cached tokens, neurons {usage.get('neurons')}: not settled"
    cost = usage["neurons"] * PRICE.neurons / 1_000
    saved = PRICE.cost(usage["prompt_tokens"], usage["completion_tokens"]) - cost
    share = 1 - saved / PRICE.cost(cached, 0)
    return f"{cached} of {usage['prompt_tokens']} tokens cached, each at {share:.0%} of the price"


def prompt_tokens(exchanges: Sequence[Exchange]) -> str:
    """Whether the setting changed what the model read."""
    if not all(exchange.taken for exchange in exchanges):
        return refusals(exchanges)
    kept, cleared = (exchange.usage.get("prompt_tokens") for exchange in exchanges)
    verdict = "no effect" if kept == cleared else "it decides whether earlier reasoning is read"
    return f"{kept} prompt tokens with false, {cleared} with true: {verdict}"


def content_type(exchanges: Sequence[Exchange]) -> str:
    """Of what JSON type the text is."""
    return "; ".join(f"{outcome(one)}, content {type(_content(one)).__name__}" for one in exchanges)


def stream_errors(exchanges: Sequence[Exchange]) -> str:
    """Error events of streams that had begun."""
    events = [event for exchange in exchanges for event in exchange.events if event.keys() & {"error", "errors"}]
    return "; ".join(f"keys {','.join(event)}" for event in events) or "none came"


def other_lines(exchanges: Sequence[Exchange]) -> str:
    """Lines of streams that aren't data."""
    lines = [line for exchange in exchanges for line in exchange.lines if not line.startswith("data:")]
    return "; ".join(dict.fromkeys(line[:40] for line in lines)) or "none came"


def back_ends(exchanges: Sequence[Exchange]) -> str:
    """How often each manner of writing was seen."""
    seen = Counter(manner for exchange in exchanges if (manner := _back_end(exchange)))
    return ", ".join(f"{name} x{count}" for name, count in sorted(seen.items())) or "none answered"


def outcome(exchange: Exchange) -> str:
    """The status, with code and message of a refusal."""
    if not exchange.status:
        return "no answer came"
    if exchange.taken:
        return str(exchange.status)
    refusal = exchange.refusal
    words = str(refusal.get("message", ""))[:160]
    return " ".join(filter(None, [str(exchange.status), f"code {refusal.get('code')}", _quoted(words).strip(" ,")]))


def _usage_manner(events: Sequence[dict[str, Any]]) -> str:
    usages = [event["usage"] for event in events if event.get("usage") and "choices" in event]
    if len(usages) < 2:
        return ("no usage", "usage once")[len(usages)]
    return "usage in increments" if usages[-1].get("prompt_tokens") == 0 else "usage cumulative"


def _back_end(exchange: Exchange) -> str:
    """S writes `matched_stop` or sorted keys, V spells out `token_ids`; anything else is nobody's we know."""
    choices = [choice for event in exchange.events for choice in objects(event.get("choices"))] or [exchange.choice]
    keys = {key for choice in choices for key in choice}
    if not keys:
        return ""
    if keys & {"token_ids", "stop_reason"}:
        return "V"
    return "S" if "matched_stop" in keys or next(iter(choices[0])) in ("delta", "finish_reason") else "another"


def _message(exchange: Exchange) -> dict[str, Any]:
    return as_object(exchange.choice.get("message")) or {}


def _content(exchange: Exchange) -> Any:
    return _message(exchange).get("content")


def _thought(exchange: Exchange) -> str:
    message = _message(exchange)
    text = str(message.get("reasoning_content") or message.get("reasoning") or "")
    return f", {len(text)} characters of reasoning" if exchange.taken else ""


def _quoted(text: Any) -> str:
    return f', "{" ".join(str(text).split())[:160]}"' if text else ""


def _masked(identifier: str) -> str:
    """The manner of an id: what stands before its digits, and their number."""
    if identifier == MODEL:
        return identifier
    head, dash, tail = identifier.rpartition("-") if "-" in identifier else identifier.rpartition("_")
    return f"{head}{identifier[len(head) : len(head) + len(dash)]}…({len(tail)})"
