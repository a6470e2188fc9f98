"""What looks like a secret where none belongs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from cf_gemma.jsonobject import as_object

if TYPE_CHECKING:
    from collections.abc import Mapping

_WORD_BEGINS = r"(?:^|[_-]|(?<=[a-z0-9])(?=[A-Z]))"
_SECRET: Final = re.compile(
    _WORD_BEGINS + r"(?i:(?:api|access)[_-]?key|token|secret|password|passwd|authorization|credentials?)$"
)
_LEVELS: Final = 8
"""How deep an object is looked through."""


def secret_in(body: Mapping[str, Any], levels: int = _LEVELS) -> str | None:
    """The name of a text in there that should be kept out of a request's body, which gateways log; None for none.

    Only texts count: a schema may speak of a `token`, and a body may limit them.
    """
    for name, value in body.items():
        if isinstance(value, str) and _SECRET.search(str(name)):
            return name
        inner = as_object(value) if levels else None
        if inner is not None and (found := secret_in(inner, levels - 1)):
            return found
    return None
