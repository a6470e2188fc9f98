"""Tool calls in Gemma's own notation, as its chat template has them: `call:NAME{key:value,…}`. Pure.

Servers turn it into JSON; where one fails to, the notation itself is what arrives. Texts stand between `<|"|>`, keys
are bare, everything else is as in JSON (Google's chat template for Gemma 4, 2026-07-09).
"""

from __future__ import annotations

import re
from typing import Any, Final

QUOTE: Final = '<|"|>'
"""What a text stands between: one token, wherever it appears."""

_DEPTH: Final = 100
"""How deep values may be nested."""

_NAME: Final = re.compile(r"\s*call:([^\s{}<>|]+)\s*(?=\{)")
_KEY: Final = re.compile(r"\s*([^\s:{}\[\],<>]+)\s*:")
_BLANKS: Final = re.compile(r"\s*")
_PLAIN: Final = re.compile(r"\s*([^\s,{}\[\]<>]+)\s*")
_NUMBER: Final = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?")
_WORDS: Final = {"true": True, "false": False, "null": None}


def parse_call(text: str) -> tuple[str, dict[str, Any]]:
    """The name and the arguments of a whole call. Raises ValueError for one that is cut off, or no call."""
    name = _NAME.match(text)
    if name is None:
        raise ValueError("not a call in Gemma's notation")
    args, end = _object(text, name.end(), 0)
    if text[end:].strip():
        raise ValueError("something follows the call's arguments")
    return name[1], args


def name_of(text: str) -> str:
    """The name of a call that may be cut off, "" where it isn't known."""
    name = re.match(r"\s*call:([^\s{}<>|]+)\s*\{", text)
    return name[1] if name else ""


def _value(text: str, at: int, depth: int) -> tuple[Any, int]:
    at = _skip(text, at)
    if text.startswith(QUOTE, at):
        end = text.find(QUOTE, at + len(QUOTE))
        if end < 0:
            raise ValueError("a text is cut off")
        return text[at + len(QUOTE) : end], _skip(text, end + len(QUOTE))
    if text.startswith("{", at):
        return _object(text, at, depth + 1)
    if text.startswith("[", at):
        return _array(text, at, depth + 1)
    plain = _PLAIN.match(text, at)
    if plain is None:
        raise ValueError("a value is missing")
    return _plain(plain[1]), plain.end()


def _plain(word: str) -> Any:
    if word in _WORDS:
        return _WORDS[word]
    number = _NUMBER.fullmatch(word)
    if number is None:
        raise ValueError("a value is neither a text nor a number")
    return float(word) if number[1] or number[2] else int(word)


def _object(text: str, at: int, depth: int) -> tuple[dict[str, Any], int]:
    if depth > _DEPTH:
        raise ValueError("the arguments are nested too deep")
    fields: dict[str, Any] = {}
    at = _skip(text, at + 1)
    while not text.startswith("}", at):
        name, at = _name(text, at)
        fields[name], at = _value(text, at, depth)
        at = _after_comma(text, at, "}")
    return fields, _skip(text, at + 1)


def _name(text: str, at: int) -> tuple[str, int]:
    if text.startswith(QUOTE, at):
        end = text.find(QUOTE, at + len(QUOTE))
        colon = _skip(text, end + len(QUOTE))
        if end < 0 or not text.startswith(":", colon):
            raise ValueError("a key is cut off")
        return text[at + len(QUOTE) : end], colon + 1
    key = _KEY.match(text, at)
    if key is None:
        raise ValueError("a key is missing or cut off")
    return key[1], key.end()


def _array(text: str, at: int, depth: int) -> tuple[list[Any], int]:
    if depth > _DEPTH:
        raise ValueError("the arguments are nested too deep")
    items: list[Any] = []
    at = _skip(text, at + 1)
    while not text.startswith("]", at):
        item, at = _value(text, at, depth)
        items.append(item)
        at = _after_comma(text, at, "]")
    return items, _skip(text, at + 1)


def _after_comma(text: str, at: int, end: str) -> int:
    if text.startswith(",", at):
        return _skip(text, at + 1)
    if text.startswith(end, at):
        return at
    raise ValueError("the arguments are cut off")


def _skip(text: str, at: int) -> int:
    blanks = _BLANKS.match(text, at)
    return blanks.end() if blanks else at
