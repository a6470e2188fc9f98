"""What the client costs, beside raw httpx, the least that each framework allows, and other packages.

    python -m benchmarks [--quick] [--rows stream-sync,plain-call] [--rounds 15] [--tree before=PATH] [--json out.json]

The figures are processor time as ratios in one run. See docs/speed.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path

from benchmarks import commands
from benchmarks.measurement import Contestant, Costs, Crew, contestants, measured
from benchmarks.processes import Server
from benchmarks.rows import ROWS, Row
from benchmarks.table import table
from benchmarks.targets import PEERS

ROUNDS = 20
QUICK_ROUNDS = 3


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [row.name for row in ROWS]
    parser.add_argument("--rows", type=lambda text: text.split(","), default=names, help=", ".join(names))
    parser.add_argument("--rounds", type=int, help=f"{ROUNDS}, or {QUICK_ROUNDS} with --quick")
    parser.add_argument("--quick", action="store_true", help="fewer rounds: two minutes in all")
    parser.add_argument("--tree", type=_tree, action="append", default=[], help="another tree to measure: LABEL=PATH")
    parser.add_argument("--without-peers", action="store_true")
    parser.add_argument("--best", action="store_true", help="a second table of best rounds, steadier on a busy machine")
    parser.add_argument("--json", type=Path, help="where to write each figure of each round")
    options = parser.parse_args()
    options.rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    return options


def _tree(text: str) -> tuple[str, Path]:
    label, _, path = text.rpartition("=")
    return label or Path(path).name, Path(path).resolve()


def main() -> None:
    """Measures, and prints."""
    options = arguments()
    trees = dict(options.tree)
    everybody = [one for one in contestants(trees) if not (options.without_peers and one.target in PEERS)]
    results: list[Costs] = []
    with Server() as server, Crew(server.root) as crew:
        for row in ROWS:
            if row.name in options.rows:
                begun = time.monotonic()
                results.append(_measured(row, crew, everybody, options.rounds))
                print(f"{row.title}: {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
    print(table(results, list(trees)))
    if options.best:
        print("\nEach one's best round:\n")
        print(table([replace(costs, best=True) for costs in results], list(trees)))
    if options.json:
        options.json.write_text(json.dumps([_figures(costs) for costs in results], indent=1))


def _measured(row: Row, crew: Crew, everybody: list[Contestant], rounds: int) -> Costs:
    match row.measure:
        case "calls":
            return measured(row, crew, everybody, rounds)
        case "imports":
            return commands.imports(row, everybody, rounds)
        case "help":
            return commands.help_page(row, everybody, rounds)
        case "bulk":
            return commands.bulk(row, everybody, rounds, crew.root)


def _figures(costs: Costs) -> dict[str, object]:
    return {"row": costs.row.name, "rounds": costs.rounds, "memory": costs.memory, "lost": costs.lost}


if __name__ == "__main__":
    main()
