"""The report as JSON, without the token and without the account. Pure."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final, cast

from cf_gemma import __version__
from cf_gemma.model.json_object import as_object

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cf_gemma.cli.doctor.account import Account, Check
    from cf_gemma.cli.doctor.survey import Finding
    from cf_gemma.cli.doctor.witness import Exchange


def to_dict(account: Account, checks: Sequence[Check], findings: Sequence[Finding], date: str) -> dict[str, Any]:
    """Everything that was observed, to be sent around: credentials are replaced wherever they stand."""
    settings = account.settings
    report = {
        "cf_gemma": __version__,
        "date": date,
        "service": settings.host,
        "emulated": account.emulated,
        "cost_usd": round(account.spent, 6),
        "checks": [asdict(check) for check in checks],
        "probes": [
            {
                "questions": list(finding.probe.questions),
                "title": finding.probe.title,
                "observation": finding.observation,
                "problem": finding.problem or None,
                "client": finding.probe.client,
                "exchanges": [_exchange(one) for one in finding.exchanges],
            }
            for finding in findings
        ],
    }
    secrets = [settings.account_id or "", settings.api_token.get_secret_value() if settings.api_token else ""]
    return redacted(report, [secret for secret in secrets if secret])


def is_report(data: bytes) -> bool:
    """Whether a file with these bytes was written by a doctor, of whatever version."""
    try:
        return (as_object(json.loads(data)) or {}).keys() >= {"cf_gemma", "checks", "probes"}
    except (ValueError, RecursionError):
        return False


def redacted(value: Any, secrets: Sequence[str]) -> Any:
    """The same with every secret in it replaced."""
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, "REDACTED")
        return value
    if isinstance(value, dict):
        pairs = cast("dict[str, Any]", value).items()
        return {redacted(name, secrets): redacted(item, secrets) for name, item in pairs}
    return [redacted(item, secrets) for item in cast("list[Any]", value)] if isinstance(value, list) else value


def _exchange(exchange: Exchange) -> dict[str, Any]:
    """Request headers are left out altogether."""
    headers = {name: value for name, value in exchange.headers.items() if name.startswith(_KEPT)}
    return {
        "method": exchange.method,
        "path": exchange.path,
        "sent": _shortened(exchange.sent),
        "status": exchange.status,
        "headers": headers,
        "received": exchange.data.decode(errors="replace")[:_MOST],
        "seconds": round(exchange.seconds, 3),
    }


def _shortened(value: Any) -> Any:
    """Long texts, such as images, cut."""
    if isinstance(value, str):
        return value if len(value) <= _LONGEST else f"{value[:_LONGEST]}… ({len(value)} characters)"
    if isinstance(value, dict):
        return {name: _shortened(item) for name, item in cast("dict[str, Any]", value).items()}
    return [_shortened(item) for item in cast("list[Any]", value)] if isinstance(value, list) else value


_KEPT: Final = ("cf-", "content-type", "retry-after", "x-emulator-")
_MOST: Final = 8_000
_LONGEST: Final = 200
