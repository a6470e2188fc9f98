"""How the emulator behaves where the service itself varies, and what it accepts."""

from __future__ import annotations

import time
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Final, Literal, TypedDict

from cf_gemma.emulator.dialects import DIALECTS, Dialect
from cf_gemma.model import MODEL

if TYPE_CHECKING:
    from collections.abc import Callable

    from cf_gemma.emulator.tool_call_styles import ToolCallStyle

ACCOUNT_ID: Final = "e" * 32
API_TOKEN: Final = "emulator-token"  # noqa: S105 - everybody's default, no secret


class Options(TypedDict, total=False):
    """The keyword arguments of `Emulator` and `create_app`: see `Settings`, which has the defaults."""

    account_id: str
    api_token: str
    dialect: Literal["S", "V", "random"]
    tool_calls: ToolCallStyle | Literal["random"]
    compat_tail: bool
    seed: int | None
    models: tuple[str, ...]
    clock: Callable[[], float]


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one emulator."""

    account_id: str = ACCOUNT_ID
    """The only account there is."""
    api_token: str = API_TOKEN
    """The only token that is accepted; `/v1` also takes none."""
    dialect: Literal["S", "V", "random"] = "random"
    """The back-end that answers; "random" draws one for each request, as the service does."""
    tool_calls: ToolCallStyle | Literal["random"] = "random"
    """How streamed tool calls are cut; "random" draws among all but "position"."""
    compat_tail: bool = False
    """Whether streams of the chat-completions route, too, end with the native event. No published capture tells."""
    seed: int | None = 0
    """Of everything that is drawn: back-end, style, ids, padding. None draws differently in every run."""
    models: tuple[str, ...] = (MODEL,)
    """The models that exist; `/v1` takes any."""
    clock: Callable[[], float] = time.time
    """Unix seconds."""

    def random(self, number: int) -> Random:
        """The randomness of the request with this number: the same whatever goes on beside it."""
        return Random() if self.seed is None else Random(f"{self.seed} {number}")  # noqa: S311 - play, no secret

    def draw_dialect(self, random: Random) -> Dialect:
        """The back-end for one request."""
        return DIALECTS[random.choice(("S", "V")) if self.dialect == "random" else self.dialect]

    def draw_style(self, random: Random) -> ToolCallStyle:
        """How to cut the tool calls of one request."""
        return random.choice(_STYLES) if self.tool_calls == "random" else self.tool_calls


_STYLES: Final[tuple[ToolCallStyle, ...]] = ("whole", "fragments", "finaliser")
