"""`cf-gemma doctor`: whether credentials work, and what the service does where nobody has written it down."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from cf_gemma.cli.options import Local, check_credentials, local_emulator
from cf_gemma.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Generator

    from cf_gemma.cli.doctor.examination import Examination, Finding

HELP = """\
The questions are those of docs/fidelity.md. It costs a fraction of a cent, says how much first, and asks. What it saw
goes to a JSON report without credentials, which takes the place of an earlier report, but not of any other file.

Exit codes: 0 all is well, and the client copes with all that came; 1 something isn't, or credentials are missing; 2 an
option was refused.

Examples:

    cf-gemma doctor

    cf-gemma doctor --yes --output report.json

    cf-gemma doctor --local
"""


def doctor(
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask before anything is paid for.")] = False,
    output: Annotated[Path, typer.Option(dir_okay=False, writable=True, help="Where to write the report.")] = Path(
        "cf-gemma-doctor.json"
    ),
    account: Annotated[str | None, typer.Option(help="Default: CLOUDFLARE_ACCOUNT_ID.")] = None,
    token: Annotated[str | None, typer.Option(help="Default: CLOUDFLARE_API_TOKEN.")] = None,
    base_url: Annotated[str | None, typer.Option(help="Where the service is; an emulator's, to try this out.")] = None,
    patience: Annotated[float, typer.Option(min=0, help="Seconds to wait for a batch.")] = 120.0,
    local: Local = False,
) -> None:
    """See HELP."""
    console = Console(highlight=False)
    given = {"account_id": account, "api_token": token, "base_url": base_url}
    if local and any(given.values()):
        raise typer.BadParameter("--local starts an emulator of its own: leave out --account, --token and --base-url")
    _check_place(output)
    try:
        with _target(given, local=local) as arguments, _examination(arguments, patience) as examination:
            well = _examined(console, examination, yes=yes or local, output=output)
    except (ConfigurationError, ImportError, OSError) as error:
        console.print(f"cf-gemma doctor: {error}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from error
    raise typer.Exit(0 if well else 1)


def _check_place(output: Path) -> None:
    from cf_gemma.cli.doctor.report import is_report

    if not (output.parent.is_dir() and os.access(output.parent, os.W_OK)):
        raise typer.BadParameter(f"{output} can't be written: {output.parent} is no folder that can be written to")
    if output.is_file() and not is_report(output.read_bytes()):
        raise typer.BadParameter(f"{output} is there, and no report of the doctor's: pass --output with another name")


@contextmanager
def _target(given: dict[str, str | None], *, local: bool) -> Generator[dict[str, Any], None, None]:
    if local:
        with local_emulator() as arguments:
            yield arguments
        return
    check_credentials(given["account_id"], given["api_token"], instead="pass --account and --token, or --local")
    yield given


@contextmanager
def _examination(arguments: dict[str, Any], patience: float) -> Generator[Examination, None, None]:
    from cf_gemma.cli.doctor.examination import Examination
    from cf_gemma.cli.doctor.witness import Witness

    with Witness() as witness:
        yield Examination(witness, arguments, patience)


def _examined(console: Console, examination: Examination, *, yes: bool, output: Path) -> bool:
    """Does it all; whether the checks went well and the client coped with everything."""
    from cf_gemma.cli.doctor.examination import most_cost
    from cf_gemma.cli.doctor.probes import PROBES

    requests, cost = most_cost(PROBES)
    console.print(
        f"{requests + 3} small requests to {examination.settings.host}, for ${cost:.4f} at most.", markup=False
    )
    if not yes:
        typer.confirm("Go ahead?", abort=True)
    checks = examination.check()
    for name, well, seen in checks:
        console.print(f"{'well' if well else 'ILL':>4}  {name}: {seen}", markup=False, soft_wrap=True)
    findings: list[Finding] = []
    if all(well for _, well, _ in checks):
        for probe in PROBES:
            with console.status(probe.title):
                findings.append(examination.probe(probe))
        console.print(_table(findings))
    _conclude(console, examination, checks, findings, output)
    return bool(findings) and not any(finding.trouble for finding in findings)


def _table(findings: list[Finding]) -> Table:
    table = Table(show_lines=True, title="Open questions (docs/fidelity.md)")
    for heading in ("no.", "what was asked", "what was seen", "does the client cope?"):
        table.add_column(heading, overflow="fold")
    for finding in findings:
        numbers = ", ".join(map(str, finding.probe.questions))
        copes = f"NO: {finding.trouble}" if finding.trouble else f"yes: {finding.probe.client}"
        table.add_row(*map(_plain, (numbers, finding.probe.title, finding.seen, copes)))
    return table


def _plain(text: str) -> Any:
    from rich.text import Text

    return Text(text)


def _conclude(
    console: Console,
    examination: Examination,
    checks: list[tuple[str, bool, str]],
    findings: list[Finding],
    output: Path,
) -> None:
    from cf_gemma.cli.doctor import report

    emulated = any("x-emulator-engine" in exchange.headers for exchange in examination.witness.exchanges)
    console.print(f"It cost ${examination.spent():.6f}.", markup=False)
    if emulated:
        console.print("An emulator answered: nothing of this settles anything about the service.", style="yellow")
    date = datetime.now(UTC).isoformat(timespec="seconds")
    found = report.to_dict(
        checks, findings, examination.settings, emulated=emulated, date=date, cost=examination.spent()
    )
    output.write_text(json.dumps(found, ensure_ascii=False, indent=2) + "\n", "utf-8")
    console.print(f"The report is in {output.absolute()}.", markup=False, soft_wrap=True)
