"""What an answer's headers say. Pure."""

from __future__ import annotations

import math
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def request_id(headers: Mapping[str, str]) -> str | None:
    """The id to quote to Cloudflare: `cf-ai-req-id`, else `cf-ray`."""
    return headers.get("cf-ai-req-id") or headers.get("cf-ray")


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds that the answer asks to wait, from `retry-after-ms` or `retry-after` (seconds or an HTTP date).

    None when it doesn't ask, or asks for nothing that can be waited for. `now` is Unix time.
    """
    waits = (_milliseconds(headers.get("retry-after-ms")), _seconds(headers.get("retry-after"), now))
    return next((wait for wait in waits if wait is not None and math.isfinite(wait) and wait > 0), None)


def _milliseconds(text: str | None) -> float | None:
    number = _number(text)
    return None if number is None else number / 1000


def _seconds(text: str | None, now: float) -> float | None:
    number = _number(text)
    if number is not None or text is None:
        return number
    try:
        moment = parsedate_to_datetime(text)
        # Without a zone, HTTP means GMT and not where this machine stands.
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now
    except (TypeError, ValueError, OverflowError, OSError, IndexError):
        return None


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text is not None else None
    except ValueError:
        return None
