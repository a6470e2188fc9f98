"""`cf-gemma ask`: one question, its answer on the standard output. For pipes and scripts."""

from __future__ import annotations

import json
import sys
from pathlib import Path  # noqa: TC003 - typer reads the annotations at run time
from typing import TYPE_CHECKING, Annotated, Any

import typer

import cf_gemma
from cf_gemma.cli.options import ModelOptions, with_model_options
from cf_gemma.cli.schema import read_schema
from cf_gemma.cli.text import dollars, message_of, printable
from cf_gemma.errors import ConfigurationError, GemmaError, InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

HELP = """\
What is piped in stands in front of the question as its context; without a question, it is the question.

Exit codes: 0 a whole answer; 1 the service failed, or the answer isn't the JSON that was asked for; 2 refused before
any request; 3 cut off by --max-tokens; 130 stopped by Ctrl-C.

Examples:

    cf-gemma ask "Why is the sky blue?"

    cat report.txt | cf-gemma ask "Summarise this in three sentences."

    cf-gemma ask "What is in this picture?" --image photo.jpg

    cf-gemma ask "Who wrote Emma?" --schema author.json | jq .name
"""

CUT_OFF = 3


@with_model_options
def ask(
    question: Annotated[str | None, typer.Argument(help="What to ask.")] = None,
    image: Annotated[list[Path] | None, typer.Option(help="An image to look at; may be repeated.")] = None,
    json_schema: Annotated[
        Path | None, typer.Option("--schema", "--json-schema", help="A JSON Schema; the answer is one line of JSON.")
    ] = None,
    reasoning: Annotated[bool, typer.Option("--reasoning", help="Show the reasoning, on the standard error.")] = False,
    usage: Annotated[bool, typer.Option("--usage", help="Show tokens and cost, on the standard error.")] = False,
    *,
    options: ModelOptions,
) -> None:
    """See HELP."""
    schema = read_schema(json_schema)
    text = _question(question)
    try:
        messages = _messages(text, image or [], options.system)
        with options.client() as arguments, cf_gemma.Gemma(**arguments, **options.parameters) as gemma:
            if schema is None:
                completion = _streamed(gemma, messages, reasoning=reasoning)
            else:
                completion = _json(gemma, messages, schema)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except (GemmaError, ImportError) as error:
        typer.echo(f"cf-gemma ask: {message_of(error)}", err=True)
        refused = isinstance(error, ConfigurationError | InvalidRequest | ImportError)
        raise typer.Exit(2 if refused else 1) from error
    if usage and completion.usage is not None:
        used = completion.usage
        typer.echo(f"{used.prompt_tokens} tokens in, {used.completion_tokens} out, {dollars(used.cost)}", err=True)
    if completion.finish_reason == "length":
        remedy = (
            _local_limit(completion, options.max_tokens)
            if options.local
            else "raise --max-tokens, or use --no-thinking"
        )
        typer.echo(f"cf-gemma ask: cut off: {remedy}", err=True)
        raise typer.Exit(CUT_OFF)


def _local_limit(completion: cf_gemma.Completion, max_tokens: int | None) -> str:
    """What cut an answer of --local, and what to do where something can be done."""
    from cf_gemma.emulator.engines.model_file import STAND_IN_TOKENS

    made = completion.usage.completion_tokens if completion.usage else 0
    if max_tokens is not None and made >= max_tokens:
        return "raise --max-tokens"
    if made == STAND_IN_TOKENS:
        return f"the local stand-in stops at {STAND_IN_TOKENS} tokens"
    return "the local model's context is full"


def _question(question: str | None) -> str:
    """The question, behind what was piped in."""
    piped = "" if sys.stdin is None or sys.stdin.isatty() else sys.stdin.read().strip()
    text = "\n\n".join(part for part in (piped, question) if part)
    if not text:
        raise typer.BadParameter("there is no question: pass one, or pipe one in")
    return text


def _messages(text: str, images: Sequence[Path], system: str | None) -> list[dict[str, Any]]:
    parts = [picture(path) for path in images]
    content = [*parts, {"type": "text", "text": text}] if parts else text
    front = [{"role": "system", "content": system}] if system else []
    return [*front, {"role": "user", "content": content}]


def picture(path: Path) -> dict[str, Any]:
    """An image in a file, as a part of a message. Raises InvalidRequest for what isn't one."""
    return cf_gemma.image_part(cf_gemma.image_file(path.expanduser(), str(path)))


def _streamed(gemma: cf_gemma.Gemma, messages: list[dict[str, Any]], *, reasoning: bool) -> cf_gemma.Completion:
    # Through a pipe the text goes as it is.
    shown = printable if sys.stdout.isatty() else str
    for item in gemma.stream(messages):
        match item:
            case cf_gemma.TextDelta():
                typer.echo(shown(item.text), nl=False)
            case cf_gemma.ReasoningDelta() if reasoning:
                typer.secho(printable(item.text), nl=False, dim=True, err=True)
            case cf_gemma.Completion():
                typer.echo()
                return item
            case _:
                pass
    raise AssertionError("a stream ends with a Completion")


def _json(gemma: cf_gemma.Gemma, messages: list[dict[str, Any]], schema: dict[str, Any]) -> cf_gemma.Completion:
    from cf_gemma.bulk.schema import JsonFormat

    wanted = JsonFormat(schema)
    completion = gemma.chat(messages, **wanted.options)
    try:
        try:
            value = wanted.read(completion.text)
        except ValueError:
            if completion.finish_reason == "length":
                raise
            completion = gemma.chat(messages, **wanted.options)
            value = wanted.read(completion.text)
    except ValueError as error:
        typer.echo(f"cf-gemma ask: {error}: {completion.text}", err=True)
        raise typer.Exit(CUT_OFF if completion.finish_reason == "length" else 1) from None
    typer.echo(json.dumps(value, ensure_ascii=False))
    return completion
