"""`cf-gemma chat`: a conversation on the terminal."""

from __future__ import annotations

import contextlib
import importlib
import sys
import uuid
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

import cf_gemma
from cf_gemma.cli.ask import picture
from cf_gemma.cli.options import ModelOptions, with_model_options
from cf_gemma.cli.text import printable
from cf_gemma.errors import GemmaError

if TYPE_CHECKING:
    from collections.abc import Callable

HELP = """\
Ctrl-C stops an answer and not the conversation; Ctrl-D, or /exit, ends it. /help lists what else there is.

When what is said is piped in, the answers alone are on the standard output and everything else on the standard error,
and the exit code is 1 if there was one that failed.

Examples:

    cf-gemma chat

    cf-gemma chat --no-thinking --system "You are a pirate."

    cf-gemma chat --local

    cf-gemma chat --no-thinking < questions.txt > answers.txt
"""

COMMANDS = """\
/image PATH   goes along with the next message
/fold         hides reasoning while it is made, or shows it again
/thought      shows the last reasoning
/clear        begins anew
/exit         ends, as Ctrl-D does"""


@with_model_options
def chat(
    fold: Annotated[bool, typer.Option("--fold", help="Don't show reasoning; /thought does, afterwards.")] = False,
    *,
    options: ModelOptions,
) -> None:
    """See HELP."""
    console = Console(highlight=False)
    piped = sys.stdin is not None and not sys.stdin.isatty()
    aside = Console(highlight=False, stderr=True) if piped else console
    try:
        with (
            options.client() as arguments,
            # One machine for the whole conversation: what was said is in its prompt cache.
            cf_gemma.Gemma(**arguments, session_affinity=uuid.uuid4().hex, **options.parameters) as gemma,
        ):
            conversation = Conversation(gemma, console, aside, system=options.system, fold=fold)
            conversation.run()
    except (GemmaError, ImportError) as error:
        typer.echo(f"cf-gemma chat: {error}", err=True)
        raise typer.Exit(2) from error
    if piped and conversation.failed:
        raise typer.Exit(1)


class Conversation:
    """Reads what the user says and shows what the model does.

    Args:
        gemma: Who answers.
        console: Where the answers go.
        aside: Where everything else goes: `console` itself, or another one when that shall have answers only.
        system: A system message in front.
        fold: Don't show reasoning until it is asked for.
    """

    def __init__(
        self, gemma: cf_gemma.Gemma, console: Console, aside: Console, *, system: str | None = None, fold: bool = False
    ) -> None:
        self._gemma, self._console, self._aside, self._fold = gemma, console, aside, fold
        self._apart = aside is not console
        self.failed = 0
        """Answers that weren't given, or not to their end, because of an error."""
        self._front = [{"role": "system", "content": system}] if system else []
        self._messages: list[dict[str, Any]] = [*self._front]
        self._images: list[dict[str, Any]] = []
        self._reasoning = ""
        self._tokens, self._cost = 0, 0.0
        self._commands: dict[str, Callable[[str], None]] = {
            "/image": self._attach,
            "/fold": self._turn_fold,
            "/thought": self._show_thought,
            "/clear": self._clear,
            "/help": lambda _: self._note(COMMANDS),
        }

    def run(self) -> None:
        """Until the user leaves."""
        with contextlib.suppress(ImportError):
            importlib.import_module("readline")  # where there is one, it makes input() editable
        if self._console.is_terminal and not self._apart:
            self._note("Ctrl-C stops an answer, Ctrl-D leaves, /help lists commands.")
        while True:
            try:
                said = self._input().strip()
            except EOFError:
                return
            except KeyboardInterrupt:
                self._note("\nCtrl-D leaves.")
                continue
            if said == "/exit":
                return
            if said.startswith("/"):
                self._command(*said.partition(" "))
            elif said:
                self._turn(said)

    def _input(self) -> str:
        if not self._apart:
            return input("> ")
        self._aside.print("> ", end="")
        return input()

    def _command(self, name: str, _: str, rest: str) -> None:
        if command := self._commands.get(name):
            command(rest.strip())
        else:
            self._note(f"There is no {name}.\n{COMMANDS}")

    def _turn(self, said: str) -> None:
        content = [*self._images, {"type": "text", "text": said}] if self._images else said
        asked = [*self._messages, {"role": "user", "content": content}]
        heard: list[str] = []
        try:
            answer = self._listen(asked, heard)
        except KeyboardInterrupt:
            self._note("\n(stopped)")
        except GemmaError as error:
            self.failed += 1
            self._complain(f"\n{error}")
        else:
            self._messages = [*asked, answer.message]
            self._images = []
            self._tell_usage(answer)
            return
        if self._apart and heard:
            self._console.print()  # the next answer begins on a line of its own
        # What was heard stays part of the conversation; a question without an answer doesn't.
        if heard:
            self._messages = [*asked, {"role": "assistant", "content": "".join(heard)}]
            self._images = []

    def _listen(self, messages: list[dict[str, Any]], heard: list[str]) -> cf_gemma.Completion:
        self._reasoning = ""
        with closing(self._gemma.stream(messages)) as items:
            for item in items:
                match item:
                    case cf_gemma.ReasoningDelta():
                        self._think(item.text)
                    case cf_gemma.TextDelta():
                        if self._reasoning and not heard:
                            self._aside.print("\n")
                        heard.append(item.text)
                        self._console.out(printable(item.text), end="", highlight=False)
                    case cf_gemma.Completion():
                        self._console.print()
                        if self._apart and self._reasoning and not heard:
                            self._aside.print()
                        return item
                    case _:
                        pass
        raise AssertionError("a stream ends with a Completion")

    def _think(self, text: str) -> None:
        if not self._reasoning and self._fold:
            self._aside.print("thinking…", style="dim", end="")
        self._reasoning += text
        if not self._fold:
            self._aside.out(printable(text), style="dim", end="", highlight=False)

    def _tell_usage(self, answer: cf_gemma.Completion) -> None:
        facts: list[str] = []
        if answer.finish_reason == "length":
            facts.append("cut off by max_tokens")
        if answer.usage is not None:
            used = answer.usage
            self._tokens += used.total_tokens
            self._cost += used.cost
            cached = f" ({used.cached_tokens} cached)" if used.cached_tokens else ""
            facts.append(f"{used.prompt_tokens} tokens in{cached}, {used.completion_tokens} out, ${used.cost:.6f}")
            facts.append(f"in all {self._tokens} tokens, ${self._cost:.6f}")
        self._note("; ".join(facts))

    def _attach(self, path: str) -> None:
        try:
            self._images.append(picture(Path(path)))
        except GemmaError as error:
            self._complain(str(error))
        else:
            self._note(f"{path} goes along with the next message.")

    def _turn_fold(self, _: str) -> None:
        self._fold = not self._fold
        self._note("Reasoning is hidden; /thought shows it." if self._fold else "Reasoning is shown.")

    def _show_thought(self, _: str) -> None:
        self._note(printable(self._reasoning) or "There was none.")

    def _clear(self, _: str) -> None:
        self._messages, self._images, self._reasoning = [*self._front], [], ""
        self._note("A new conversation.")

    def _note(self, text: str) -> None:
        self._aside.print(text, style="dim", markup=False, soft_wrap=True)

    def _complain(self, text: str) -> None:
        self._aside.print(text, style="red", markup=False, soft_wrap=True)
