"""`cf-gemma doctor`: whether token and model work, and, with --survey, what the service does where no document says."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path  # noqa: TC003 - typer reads the annotations at run time
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from cf_gemma.cli.options import AccountId, BaseUrl, Local, Token, check_credentials, local_emulator
from cf_gemma.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Generator

    from cf_gemma.cli.doctor.account import Account, Check
    from cf_gemma.cli.doctor.survey import Finding

HELP = """\
Three requests show whether the token is accepted, the model is there, and an answer streams.

With --survey it also asks the questions of docs/fidelity.md, which costs a fraction of a cent: it says how much first,
and asks. With --output everything goes to a JSON report without credentials, which replaces an earlier report, but no
other file.

Exit codes: 0 all is well, and the client can handle all that came; 1 something isn't, or credentials are missing; 2 an
option was refused.

Examples:

    cf-gemma doctor

    cf-gemma doctor --survey --yes --output report.json

    cf-gemma doctor --local
"""

TIMEOUT = 5.0
"""Seconds without a byte before a check has failed; the survey's longer answers may take as long as a client's."""


def doctor(
    survey: Annotated[bool, typer.Option("--survey", help="Ask all that is open about the service.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask before the survey is paid for.")] = False,
    output: Annotated[
        Path | None, typer.Option(dir_okay=False, writable=True, help="Write a report to this file.")
    ] = None,
    account: AccountId = None,
    token: Token = None,
    base_url: BaseUrl = None,
    patience: Annotated[float, typer.Option(min=0, help="Seconds that the survey waits for a batch.")] = 120.0,
    local: Local = False,
) -> None:
    """See HELP."""
    console = Console(highlight=False)
    credentials = {"account_id": account, "api_token": token, "base_url": base_url}
    if local and any(credentials.values()):
        raise typer.BadParameter("--local starts an emulator of its own: leave out --account, --token and --base-url")
    if output is not None:
        _check_place(output)
    try:
        with _arguments(credentials, local=local) as arguments:
            passed = _examine(console, arguments, output, survey=survey, confirm=not (yes or local), patience=patience)
    except (ConfigurationError, ImportError, OSError) as error:
        console.print(f"cf-gemma doctor: {error}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from error
    raise typer.Exit(0 if passed else 1)


def _check_place(output: Path) -> None:
    from cf_gemma.cli.doctor.report import is_report

    if not (output.parent.is_dir() and os.access(output.parent, os.W_OK)):
        raise typer.BadParameter(f"{output} can't be written: {output.parent} is no folder that can be written to")
    if output.is_file() and not is_report(output.read_bytes()):
        raise typer.BadParameter(f"{output} exists and is not a report of the doctor: pass another name")


@contextmanager
def _arguments(credentials: dict[str, str | None], *, local: bool) -> Generator[dict[str, Any], None, None]:
    if local:
        with local_emulator() as arguments:
            yield arguments
        return
    instead = "pass --account and --token, or --local"
    check_credentials(credentials["account_id"], credentials["api_token"], instead=instead)
    yield credentials


def _examine(
    console: Console, arguments: dict[str, Any], output: Path | None, *, survey: bool, confirm: bool, patience: float
) -> bool:
    """Whether all checks passed and the client could handle everything."""
    from cf_gemma.cli.doctor.account import Account
    from cf_gemma.settings.defaults import TIMEOUT as PATIENT

    findings: list[Finding] = []
    with Account(arguments, PATIENT if survey else TIMEOUT) as account:
        if survey and confirm:
            _confirm(console, account.settings.host)
        checks: list[Check] = []
        for check in account.checks():
            checks.append(check)
            mark = _mark(console, passed=check.passed)
            console.print(f"{mark} {check.name}: {check.detail}", markup=False, soft_wrap=True)
        passed = all(check.passed for check in checks)
        if survey and passed:
            findings = _survey(console, account, patience)
        if account.emulated:
            console.print("An emulator answered: this shows nothing about the service.", style="yellow")
        if output is not None:
            _write_report(account, checks, findings, output)
            console.print(f"The report is in {output.absolute()}.", markup=False, soft_wrap=True)
    return passed and not any(finding.problem for finding in findings)


def _mark(console: Console, *, passed: bool) -> str:
    if console.encoding.startswith("utf"):
        return "✓" if passed else "✗"
    return "ok  " if passed else "FAIL"


def _confirm(console: Console, host: str) -> None:
    from cf_gemma.cli.doctor.probes import PROBES
    from cf_gemma.cli.doctor.survey import highest_cost

    requests, cost = highest_cost(PROBES)
    console.print(f"{requests + 3} small requests to {host}, for ${cost:.4f} at most.", markup=False)
    typer.confirm("Go ahead?", abort=True)


def _survey(console: Console, account: Account, patience: float) -> list[Finding]:
    from cf_gemma.cli.doctor.probes import PROBES
    from cf_gemma.cli.doctor.survey import examine

    findings: list[Finding] = []
    for probe in PROBES:
        with console.status(probe.title):
            findings.append(examine(account, probe, patience))
    console.print(_table(findings))
    console.print(f"It cost ${account.spent:.6f}.", markup=False)
    return findings


def _table(findings: list[Finding]) -> Table:
    from rich.text import Text

    table = Table(show_lines=True, title="Open questions (docs/fidelity.md)")
    for heading in ("no.", "question", "observation", "handled by the client?"):
        table.add_column(heading, overflow="fold")
    for finding in findings:
        numbers = ", ".join(map(str, finding.probe.questions))
        handled = f"NO: {finding.problem}" if finding.problem else f"yes: {finding.probe.client}"
        table.add_row(*map(Text, (numbers, finding.probe.title, finding.observation, handled)))
    return table


def _write_report(account: Account, checks: list[Check], findings: list[Finding], output: Path) -> None:
    from cf_gemma.cli.doctor import report

    date = datetime.now(UTC).isoformat(timespec="seconds")
    content = report.to_dict(account, checks, findings, date)
    output.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", "utf-8")
