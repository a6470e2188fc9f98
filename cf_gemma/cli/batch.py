"""`cf-gemma batch`: a file of prompts in, a file of answers out; the work is done by `cf_gemma.bulk`."""

from __future__ import annotations

import shutil
import sys
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cf_gemma.cli.options import ModelOptions, with_model_options
from cf_gemma.cli.schema import read_schema
from cf_gemma.cli.text import dollars
from cf_gemma.errors import GemmaError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from cf_gemma import AsyncGemma
    from cf_gemma.bulk import Bulk

    Each = Callable[[dict[str, Any]], None] | None

HELP = """\
The input is a file of JSON lines, or, by its name, CSV or Parquet (extra "parquet"); the output likewise. - is a pipe.

A row has a "prompt" or "messages", and may have an "id" (else it is the line's number), an "image" (a path, or a list
of them, from where the input is), a "schema" (a JSON Schema to answer in), and options such as "temperature".

What comes out has "id", "line", "text", "reasoning", "parsed" (with a schema), "finish_reason", "usage", "cost" (US
dollars) and "error", in the order in which the answers come. The output is what a run that was stopped, or killed,
goes on from: nothing is lost, and what is written isn't paid again.

A wrong token, a used-up quota, a model that isn't there, or a service that can't be reached ends the run: rows that
weren't answered for it are not in the output, and --resume does them.

Exit codes: 0 every row has an answer; 1 some rows failed; 2 refused before any request; 3 stopped early, by --max-cost
or by trouble that every other row would meet, too; 130 stopped by Ctrl-C, after what was under way.

Examples:

    cf-gemma batch questions.jsonl -o answers.jsonl

    cf-gemma batch questions.jsonl -o answers.jsonl --resume

    cf-gemma batch invoices.jsonl -o invoices.out.jsonl --schema invoice.json --max-cost 2.50

    cf-gemma batch nightly.jsonl -o nightly.out.jsonl --mode queue

    cf-gemma batch questions.jsonl -o answers.jsonl --retry-failed

    cf-gemma batch reviews.csv -o moods.parquet --template "Mood of this review, in a word: {review}" --dry-run

    cat questions.jsonl | cf-gemma batch - -o - | jq .text
"""


class Mode(StrEnum):
    """How rows reach the model."""

    live = "live"
    queue = "queue"


@with_model_options
def batch(
    source: Annotated[Path, typer.Argument(metavar="INPUT")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUTPUT")],
    mode: Annotated[
        Mode, typer.Option(help="live: a request a row; queue: the service's queue, which answers when it has room.")
    ] = Mode.live,
    concurrency: Annotated[
        int | None, typer.Option(min=1, max=256, help="Requests (default 16), or chunks of the queue (4), at once.")
    ] = None,
    rpm: Annotated[int, typer.Option(min=0, help="Requests a minute; the service allows 300. 0: no limit.")] = 300,
    max_cost: Annotated[
        float | None, typer.Option(min=0, help="US dollars, for the whole output; stops before it is spent.")
    ] = None,
    schema: Annotated[Path | None, typer.Option(help="A JSON Schema that every row is answered in.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an output that exists.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Start again with an output that exists.")] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Run only the rows that have an error in the output.")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="A bad line stops everything before it begins.")] = False,
    template: Annotated[
        str | None, typer.Option(help='A prompt with a row\'s values in it: "Translate into {language}: {text}"')
    ] = None,
    ordered: Annotated[
        bool, typer.Option("--ordered", help="Put the output into the input's order at the end.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count rows and estimate tokens and cost; nothing is sent.")
    ] = False,
    *,
    options: ModelOptions,
) -> None:
    """See HELP."""
    existing = _existing(resume=resume, overwrite=overwrite, retry_failed=retry_failed)
    wanted = read_schema(schema)
    # Here, so that help doesn't load all that does the work.
    from cf_gemma import AsyncGemma
    from cf_gemma.bulk import Bulk
    from cf_gemma.cli.progress import watched

    try:
        with _paths(source, output) as (rows, answers, each), options.client() as arguments:
            job = Bulk(
                rows,
                answers,
                mode=mode.value,
                existing=existing,
                schema=wanted,
                system=options.system,
                concurrency=concurrency,
                rpm=rpm,
                max_cost=max_cost,
                strict=strict,
                template=template,
                ordered=ordered,
            )
            gemma = AsyncGemma(**arguments, **options.parameters)
            code = _estimate(job, gemma) if dry_run else watched(job, gemma, each)
    except (GemmaError, ImportError, OSError) as error:
        _complain(error)
        raise typer.Exit(2) from error
    raise typer.Exit(code)


@contextmanager
def _paths(source: Path, output: Path) -> Generator[tuple[Path, Path, Each], None, None]:
    """The files of a job, and what to do with each answer. Behind a pipe (`-`) there is a temporary file."""
    from cf_gemma.bulk.forms import encoded

    def show(record: dict[str, Any]) -> None:
        sys.stdout.buffer.write(encoded(record))
        sys.stdout.buffer.flush()

    piped = str(output) == "-"
    with TemporaryDirectory(prefix="cf-gemma-") as folder:
        if str(source) == "-":
            source = Path(folder, "in.jsonl")
            with source.open("wb") as file:
                shutil.copyfileobj(sys.stdin.buffer, file)
        yield source, Path(folder, "out.jsonl") if piped else output, show if piped else None


def _estimate(job: Bulk, gemma: AsyncGemma) -> int:
    """Shows what a job would cost. Returns the exit code."""
    about = job.estimate(gemma)
    bad = f" ({about.bad:,} of them can't be sent; --strict names them)" if about.bad else ""
    typer.echo(
        f"{about.rows:,} rows{bad}, about {about.prompt_tokens:,} tokens of prompts: {dollars(about.prompt_cost)}"
    )
    typer.echo(
        f"Answers add up to {about.max_tokens:,} tokens at their longest: {dollars(about.highest_cost)} in all; "
        "for less, lower --max-tokens, or stop at --max-cost"
    )
    return int(about.bad > 0)


def _existing(*, resume: bool, overwrite: bool, retry_failed: bool) -> Any:
    flags = {"resume": resume, "overwrite": overwrite, "retry_failed": retry_failed}
    chosen = [name for name, passed in flags.items() if passed]
    if len(chosen) > 1:
        raise typer.BadParameter("--resume, --overwrite and --retry-failed exclude each other")
    return chosen[0] if chosen else "refuse"


def _complain(error: Exception) -> None:
    """The error, in terms of the command's own options."""
    from cf_gemma.bulk import BadLines, OutputExists, QueueHoldsRows

    match error:
        case BadLines():
            for row in error.rows[:20]:
                typer.echo(f"line {row.line}: {row.error.message}", err=True)
            text = f"{len(error.rows):,} bad lines; nothing was sent (--strict)"
        case OutputExists():
            text = f"{error.path} exists: pass --resume to continue it, or --overwrite to start again"
        case QueueHoldsRows():
            text = (
                f"{error.path} says that the queue has rows of this output, which would be paid for twice: "
                "pass --mode queue to continue with them, or --overwrite to start again"
            )
        case _:
            text = str(error)
    typer.echo(f"cf-gemma batch: {text}", err=True)
