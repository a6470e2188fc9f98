"""Gemma's own notation of a tool call, which reaches the client where a server's parser fails. Pure."""

from __future__ import annotations

import json
from typing import Any, Final, cast

from pydantic_core import from_json

QUOTE: Final = '<|"|>'
"""The token that Gemma puts around a text."""


def write_call(name: str, arguments: str) -> str:
    """A whole call. `arguments` is a JSON object."""
    return f"<|tool_call>call:{name}{_write(from_json(arguments))}<tool_call|>"


def write_cut_call(name: str, arguments: str) -> str:
    """A call that ends in its arguments. `arguments` is the beginning of a JSON object."""
    return f"<|tool_call>call:{name}{_without_closers(_write(_begun(arguments)))}"


def close(arguments: str) -> str:
    """The beginning of a JSON object, closed as well as it can be."""
    return json.dumps(_begun(arguments), ensure_ascii=False)


def has_stray_quote(arguments: str) -> bool:
    """Whether the quote token is within arguments, as a parser leaves it when the model forgets its partner."""
    return json.dumps(QUOTE)[1:-1] in arguments


def is_whole(arguments: str) -> bool:
    """Whether it is JSON to its end."""
    try:
        from_json(arguments)
    except ValueError:
        return False
    return True


def _begun(arguments: str) -> Any:
    return from_json(arguments or "{}", allow_partial="trailing-strings")


def _write(value: Any) -> str:
    if isinstance(value, str):
        return f"{QUOTE}{value}{QUOTE}"
    if isinstance(value, dict):
        pairs = cast("dict[str, Any]", value).items()
        return f"{{{','.join(f'{key}:{_write(item)}' for key, item in pairs)}}}"
    if isinstance(value, list):
        return f"[{','.join(map(_write, cast('list[Any]', value)))}]"
    return json.dumps(value)


def _without_closers(text: str) -> str:
    end = len(text)
    while closer := next((one for one in (QUOTE, "]", "}") if text.endswith(one, 0, end)), ""):
        end -= len(closer)
    return text[:end]
