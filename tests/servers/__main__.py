"""Real servers, made to say known words, through all faces and both frameworks' agents. Prints a table of each.

Usage: python -m tests.servers ENVIRONMENT [CASE …], a folder with a Python that has vLLM and SGLang, and the cases, or
all. With KEEP=FOLDER, the bytes that the servers wrote are kept there. See `make servers`.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tests.faults.faces import FACES, SETTINGS, Said
from tests.servers.agents import AGENTS, ERRANDS, Errand
from tests.servers.raw import asked
from tests.servers.scenarios import SCENARIOS
from tests.servers.server import running

if TYPE_CHECKING:
    from tests.servers.scenario import Scenario
    from tests.servers.server import Server

SERVERS: Final = ("vLLM", "SGLang")
KEEP: Final = Path(os.environ["KEEP"]) if "KEEP" in os.environ else None
WORDS: Final = " ".join(words for case in (*SCENARIOS, *ERRANDS) for words in case.words)
SHOWN: Final = 80
"""Characters of a summary in the table."""

Results = list[tuple[str, bool]]
"""A summary of each answer, and whether it is right."""


def main() -> None:
    """Runs all, and fails where something does not hold."""
    environment, names = Path(sys.argv[1]).resolve(), sys.argv[2:]
    cases = [case for case in (*SCENARIOS, *ERRANDS) if not names or case.name in names]
    logging.disable(logging.WARNING)
    console = Console(width=None if sys.stdout.isatty() else 220)
    begin, everything = time.monotonic(), list[tuple[str, bool]]()
    for name in SERVERS:
        starting = time.monotonic()
        with running(name, environment, WORDS) as server:
            console.print(f"{name} {server.version}: ready in {time.monotonic() - starting:.0f} s")
            everything += _judge(server, name, cases, console)
    right = sum(is_right for _, is_right in everything)
    console.print(f"{right} passed, {len(everything) - right} failed in {time.monotonic() - begin:.0f} s")
    raise SystemExit(right < len(everything))


def _judge(server: Server, name: str, cases: list[Scenario | Errand], console: Console) -> Results:
    """Prints the table of one server."""
    everything: Results = []
    table = Table("case", f"{name}, whole", f"{name}, streamed", "what we make of it", "right", show_lines=True)
    for case in [case for case in cases if name in case.servers]:
        theirs, results = ["", ""], _errand(server, case) if isinstance(case, Errand) else _scenario(server, name, case)
        if not isinstance(case, Errand):
            theirs = [_summary(answer) for answer in asked(server, case, KEEP and KEEP / name)]
        everything += results
        count = sum(is_right for _, is_right in results)
        table.add_row(case.name, *map(_short, theirs), _ours(results), f"{count}/{len(results)}")
    console.print(table)
    return everything


def _settings(server: Server, *, streamed: bool) -> dict[str, Any]:
    own = {"account_id": None, "base_url": server.url, "endpoint": "chat_completions"}
    return {**SETTINGS, **own, "wire_streaming": streamed}


def _scenario(server: Server, name: str, scenario: Scenario) -> Results:
    results: Results = []
    outcomes = [outcome for outcome in scenario.outcomes if outcome.by in (None, name)]
    for face in [FACES[name]() for name in scenario.faces]:
        for streamed in (False, True):
            face.begin(**_settings(server, streamed=streamed))
            for options in scenario.requests:
                server.say(scenario.words)
                try:
                    got = face.ask(stream=streamed, pieces=[], prompt=scenario.prompt, **options)
                except Exception as error:  # noqa: BLE001 - it is what the table is to show
                    got = error
                results.append((_summary(got), any(outcome.is_met(got) for outcome in outcomes)))
        face.close()
    return results


def _errand(server: Server, errand: Errand) -> Results:
    results: Results = []
    for run in AGENTS:
        for streamed in (False, True):
            server.say(errand.words)
            try:
                text, executed = run(**_settings(server, streamed=streamed))
            except Exception as error:  # noqa: BLE001 - it is what the table is to show
                results.append((_summary(error), False))
            else:
                is_right = text == errand.text and sorted(executed, key=str) == sorted(errand.executed, key=str)
                results.append((_summary(Said(text, calls=[("get_weather", args) for args in executed])), is_right))
    return results


def _ours(results: Results) -> Text:
    """Each different summary once, what is wrong in red."""
    lines = [Text(_short(summary), style="" if right else "bold red") for summary, right in dict.fromkeys(results)]
    return Text("\n").join(lines[:4])


def _summary(got: Said | Exception) -> str:
    if isinstance(got, Exception):
        return f"{type(got).__name__}: {got}"
    parts = [f"thought {got.reasoning!r}" if got.reasoning else "", repr(got.text) if got.text else ""]
    parts += [f"{name} {arguments}" for name, arguments in got.calls]
    parts += [f"{got.invalid} invalid" if got.invalid else "", f"({got.reason})" if got.reason else ""]
    return " ".join(filter(None, parts)) or "nothing"


def _short(summary: str) -> str:
    return summary if len(summary) <= SHOWN else f"{summary[: SHOWN - 20]} … {summary[-16:]}"


if __name__ == "__main__":
    main()
