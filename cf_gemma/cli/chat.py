"""`cf-gemma chat`: a conversation on the terminal."""

from __future__ import annotations

import contextlib
import json
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
from cf_gemma.cli.text import dollars, message_of, printable
from cf_gemma.errors import GemmaError

if TYPE_CHECKING:
    from collections.abc import Callable

HELP = """\
Ctrl-C stops an answer and not the conversation; Ctrl-D, or /exit, ends it. /help lists what else there is. A paste of
several lines is one message; a line that ends with \\ goes on in the next one.

When messages are piped in, one a line, the answers alone are on the standard output and everything else on the standard
error, and the exit code is 1 if there was one that failed.

Examples:

    cf-gemma chat

    cf-gemma chat --no-thinking --system "You are a pirate."

    cf-gemma chat --local

    cf-gemma chat --no-thinking < questions.txt > answers.txt
"""

COMMANDS = """\
/image PATH    goes along with the next message
/system TEXT   sets the system message; without a text, shows it
/model NAME    changes the model; without a name, shows it
/fold          hides reasoning while it is made, or shows it again
/thought       shows the last reasoning
/save FILE     writes the conversation to a new file, as JSON
/clear         begins anew
/help          shows this list
/exit          ends, as Ctrl-D does"""


@with_model_options
def chat(
    fold: Annotated[bool, typer.Option("--fold", help="Don't show reasoning; /thought does, afterwards.")] = False,
    plain: Annotated[bool, typer.Option("--plain", help="Show answers as they come, and don't draw Markdown.")] = False,
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
            # One machine for the whole conversation, because its prompt cache has the earlier turns.
            cf_gemma.Gemma(**arguments, session_affinity=uuid.uuid4().hex, **options.parameters) as gemma,
        ):
            conversation = Conversation(gemma, console, aside, system=options.system, fold=fold, plain=plain)
            conversation.run()
    except (GemmaError, ImportError) as error:
        typer.echo(f"cf-gemma chat: {message_of(error)}", err=True)
        raise typer.Exit(2) from error
    if piped and conversation.failed:
        raise typer.Exit(1)


class Conversation:
    """Reads the user's messages and shows the model's.

    Args:
        gemma: Who answers.
        console: Where the answers go.
        aside: Where everything else goes: `console` itself, or another one when that shall have answers only.
        system: A system message in front.
        fold: Don't show reasoning until it is asked for.
        plain: Don't draw Markdown.
    """

    def __init__(
        self,
        gemma: cf_gemma.Gemma,
        console: Console,
        aside: Console,
        *,
        system: str | None = None,
        fold: bool = False,
        plain: bool = False,
    ) -> None:
        self._gemma, self._console, self._aside, self._fold = gemma, console, aside, fold
        self._apart = aside is not console
        self._drawn = console.is_terminal and not plain
        self.failed = 0
        """Answers that broke off, or never came, because of an error."""
        self._system, self._model = system, str(gemma.options.get("model") or _default_model())
        self._messages: list[dict[str, Any]] = []
        self._images: list[dict[str, Any]] = []
        self._reasoning = ""
        self._tokens, self._cost = 0, 0.0
        self._commands: dict[str, Callable[[str], None]] = {
            "/image": self._attach,
            "/system": self._set_system,
            "/model": self._set_model,
            "/fold": self._turn_fold,
            "/thought": self._show_thought,
            "/save": self._save,
            "/clear": self._clear,
            "/help": lambda _: self._note(COMMANDS),
        }

    def run(self) -> None:
        """Until the user leaves."""
        if not self._apart:
            _edit_lines()
        self._greet()
        while True:
            try:
                message = self._input().strip()
            except EOFError:
                return
            except KeyboardInterrupt:
                self._note("\nCtrl-D leaves.")
                continue
            if message == "/exit":
                return
            if message.startswith("/"):
                self._command(*message.partition(" "))
            elif message:
                self._turn(message)

    def _greet(self) -> None:
        if self._console.is_terminal and not self._apart:
            self._note(f"{self._model} at {_place(self._gemma.settings.host)}")
            self._note("Ctrl-C stops an answer, Ctrl-D leaves, /help lists commands.")

    def _input(self) -> str:
        if self._apart:
            self._aside.print("> ", end="")
            return input()
        lines = [input("> ")]
        while lines[-1].endswith("\\"):
            lines[-1] = lines[-1][:-1]
            lines.append(input("… "))
        return "\n".join(lines)

    def _command(self, name: str, _: str, rest: str) -> None:
        if command := self._commands.get(name):
            command(rest.strip())
        else:
            self._note(f"There is no {name}.\n{COMMANDS}")

    def _turn(self, message: str) -> None:
        from cf_gemma.cli.screen import silent_keyboard

        content = [*self._images, {"type": "text", "text": message}] if self._images else message
        turns = [*self._messages, {"role": "user", "content": content}]
        received: list[str] = []
        try:
            with silent_keyboard():
                answer = self._show_answer(turns, received)
        except KeyboardInterrupt:
            self._note("\n(stopped)")
        except GemmaError as error:
            self.failed += 1
            self._complain(f"\n{message_of(error)}")
        else:
            self._messages = [*turns, answer.message]
            self._images = []
            self._show_usage(answer)
            return
        if self._apart and received:
            self._console.print()  # the next answer begins on a line of its own
        # Half an answer stays part of the conversation; a question without an answer doesn't.
        if received:
            self._messages = [*turns, {"role": "assistant", "content": "".join(received)}]
            self._images = []

    def _show_answer(self, turns: list[dict[str, Any]], received: list[str]) -> cf_gemma.Completion:
        from cf_gemma.cli.screen import DrawnMarkdown, PlainText, Waiting

        self._reasoning = ""
        screen = DrawnMarkdown(self._console) if self._drawn else PlainText(self._console)
        front = [{"role": "system", "content": self._system}] if self._system else []
        items = self._gemma.stream([*front, *turns], model=self._model)
        with Waiting(self._aside) as waiting, closing(items), screen:
            for item in items:
                waiting.stop()
                match item:
                    case cf_gemma.ReasoningDelta():
                        self._think(item.text)
                    case cf_gemma.TextDelta():
                        if self._reasoning and not received:
                            self._aside.print("\n")
                        received.append(item.text)
                        screen.feed(item.text)
                    case cf_gemma.Completion():
                        screen.end()
                        if self._apart and self._reasoning and not received:
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

    def _show_usage(self, answer: cf_gemma.Completion) -> None:
        facts: list[str] = []
        if answer.finish_reason == "length":
            facts.append("cut off by --max-tokens")
        if answer.usage is not None:
            used = answer.usage
            self._tokens += used.total_tokens
            self._cost += used.cost
            cached = f" ({used.cached_tokens} cached)" if used.cached_tokens else ""
            facts.append(f"{used.prompt_tokens} tokens in{cached}, {used.completion_tokens} out, {dollars(used.cost)}")
            facts.append(f"in all {self._tokens} tokens, {dollars(self._cost)}")
        self._note("; ".join(facts))

    def _attach(self, path: str) -> None:
        try:
            self._images.append(picture(Path(path)))
        except GemmaError as error:
            self._complain(message_of(error))
        else:
            self._note(f"{path} goes along with the next message.")

    def _set_system(self, text: str) -> None:
        self._system = text or self._system
        self._note(f"System message: {self._system or 'none'}")

    def _set_model(self, name: str) -> None:
        self._model = name or self._model
        self._note(f"Model: {self._model}")

    def _turn_fold(self, _: str) -> None:
        self._fold = not self._fold
        self._note("Reasoning is hidden; /thought shows it." if self._fold else "Reasoning is shown.")

    def _show_thought(self, _: str) -> None:
        self._note(printable(self._reasoning) or "There was none.")

    def _save(self, name: str) -> None:
        front = [{"role": "system", "content": self._system}] if self._system else []
        try:
            with Path(name).expanduser().open("x", encoding="utf-8") as file:
                json.dump([*front, *self._messages], file, ensure_ascii=False, indent=2)
        except OSError as error:
            self._complain(f"{name or 'a file without a name'} can't be written: {error.strerror}")
        else:
            self._note(f"{len(self._messages)} messages are in {name}.")

    def _clear(self, _: str) -> None:
        self._messages, self._images, self._reasoning = [], [], ""
        self._note("A new conversation.")

    def _note(self, text: str) -> None:
        self._aside.print(text, style="dim", markup=False, soft_wrap=not self._aside.is_terminal)

    def _complain(self, text: str) -> None:
        self._aside.print(text, style="red", markup=False, soft_wrap=not self._aside.is_terminal)


def _edit_lines() -> None:
    """Makes input() editable where there is a readline, and a paste of several lines one input."""
    with contextlib.suppress(ImportError):
        import readline

        readline.parse_and_bind("set enable-bracketed-paste on")


def _default_model() -> str:
    from cf_gemma import MODEL

    return MODEL


def _place(host: str) -> str:
    name = host.rpartition(":")[0] or host
    local = name.strip("[]") in ("localhost", "::1") or name.startswith("127.")
    return f"{host}, a server on this machine and not Cloudflare" if local else host
