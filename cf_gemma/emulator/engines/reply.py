"""What a script says."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from cf_gemma.emulator.faults import Fault

if TYPE_CHECKING:
    from collections.abc import Mapping

Text = str | Sequence[str]
"""A text; or its pieces, each of which is one token, and one delta, as it is."""


@dataclass(frozen=True, slots=True)
class ToolCallSpec:
    """A tool call to make: `ToolCallSpec("add", {"a": 1, "b": 2})`."""

    name: str
    args: Mapping[str, Any] | str = field(default_factory=dict[str, Any])
    """The arguments; a str goes out as it is, valid JSON or not."""
    id: str | None = None
    """None mints one in the manner of the back-end that answers."""

    @property
    def arguments(self) -> str:
        """The arguments as JSON text, spaced as the back-ends space it."""
        return self.args if isinstance(self.args, str) else json.dumps(self.args, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer. `Reply("Hello!")` is enough; so is the bare string, wherever a Reply is asked for."""

    text: Text = ""
    reasoning: Text = ""
    """Dropped when the request switches thinking off."""
    tool_calls: Sequence[ToolCallSpec] = ()
    finish_reason: str | None = None
    """None finds it: `length` when `max_tokens` cut the answer, `tool_calls` when there are any, else `stop`."""
    usage: tuple[int, int] | None = None
    """Prompt and completion tokens to report; None counts them."""
    chunk: int = 1
    """Tokens in a delta."""
    error: Fault | None = None
    """Ends the answer after what was said of it; with nothing said, it is a plain HTTP error."""
    delay: float = 0.0
    """Seconds before the answer begins."""
    gap: float = 0.0
    """Seconds behind each of its deltas."""


Script = Reply | str | Fault
"""What is said at one turn."""

Replies = Script | Sequence[Script] | Callable[[dict[str, Any]], Script]
"""What is said at every turn: always the same, a list in order, or what a function of the request's JSON body gives."""


def tokens(text: Text) -> list[str]:
    """The tokens of a text: its words, each with the white space before it; or the pieces as they are."""
    return _WORD.findall(text) if isinstance(text, str) else list(text)


_WORD: Final = re.compile(r"\s*\S+|\s+")
