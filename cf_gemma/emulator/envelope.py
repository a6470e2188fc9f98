"""Cloudflare's JSON, as it is written, and the envelope of a success."""

from __future__ import annotations

import json
from typing import Any


def dumps(value: Any) -> bytes:
    """JSON as the service writes it: no spaces, UTF-8 left as it is."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def envelope(result: Any) -> dict[str, Any]:
    """A success, wrapped."""
    return {"result": result, "success": True, "errors": [], "messages": []}
