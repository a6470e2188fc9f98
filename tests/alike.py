"""What makes two objects of Pydantic the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import BaseModel


def alike(one: BaseModel, other: BaseModel) -> bool:
    """Whether two are the same in all that an instance has: fields, which of them were set, extra, private."""
    names = ("__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__")
    same = type(one) is type(other) and all(getattr(one, name) == getattr(other, name) for name in names)
    return same and vars(one) == vars(other)


def bare(fact: Any) -> Any:
    """A message's metadata without the lists in which a stream of LangChain's has numbers with a fraction."""
    if isinstance(fact, dict):
        return {name: bare(one) for name, one in fact.items()}
    return fact[0] if isinstance(fact, list) and [type(one) for one in fact] == [float] else fact
