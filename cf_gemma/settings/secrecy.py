"""What looks like a secret where none belongs."""

from __future__ import annotations

import re
from typing import Any, Final, cast

from cf_gemma.model.json_object import as_object

_WORD_BEGINS = r"(?:^|[_-]|(?<=[a-z0-9])(?=[A-Z]))"
_SECRET: Final = re.compile(
    _WORD_BEGINS + r"(?i:(?:api|access)[_-]?key|token|secret|password|passwd|authorization|credentials?)$"
)
_OF_THE_MODEL: Final = re.compile(r"(?:bos|eos|pad|unk|sep|cls|mask|start|stop|end)_token$")
_REFERENCE: Final = "#/"
"""What a JSON schema's references begin with."""
_SECRET_HEADER: Final = re.compile(
    r"authorization|cookie|secret|passw|credential|(api|auth|access|private)[-_]?key|(^|[-_])token$|^(x-)?key$",
    re.IGNORECASE,
)
_LEVELS: Final = 8
"""How deep an object is looked through."""


def secret_in(body: Any, levels: int = _LEVELS) -> str | None:
    """The name of a text in there that should be kept out of a request's body, which gateways log; None for none.

    Only texts count: a schema may speak of a `token`, and a body may limit them.
    """
    if isinstance(body, list):
        names = (secret_in(item, levels - 1) for item in cast("list[object]", body) if levels)
        return next((name for name in names if name), None)
    for name, value in (as_object(body) or {}).items():
        if isinstance(value, str):
            if _looks_secret(name) and not value.startswith(_REFERENCE):
                return name
        elif levels and (inner := secret_in(value, levels - 1)):
            return inner
    return None


def is_secret_header(name: str) -> bool:
    """Whether a header of this name should be kept from those who see the arguments of a call."""
    return bool(_SECRET_HEADER.search(name))


def _looks_secret(name: object) -> bool:
    return isinstance(name, str) and bool(_SECRET.search(name)) and not _OF_THE_MODEL.search(name)
