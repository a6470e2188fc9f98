"""How the emulator behaves where the service itself varies, and what it accepts."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING, Final, Literal, TypedDict, cast, get_args

from cf_gemma.emulator.backends.common import DIALECTS, Dialect
from cf_gemma.emulator.backends.styles import ToolCallStyle
from cf_gemma.emulator.faults import Fault, Refusal
from cf_gemma.errors import ConfigurationError
from cf_gemma.model import MODEL

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

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
    queue_polls: int
    requests_per_minute: int | None
    daily_neurons: float | None
    capacity: int
    gateway_cache_ttl: float
    clock: Callable[[], float]


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one emulator. Raises ConfigurationError for a dialect or a style that there isn't."""

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
    queue_polls: int = 1
    """How often a queued batch is asked after before its answers may come: first it is `queued`, then `running`."""
    requests_per_minute: int | None = None
    """More are refused (429); the service's own limit is 300. None for no limit."""
    daily_neurons: float | None = None
    """Once they are spent, requests are refused (429, 4006) until 00:00 UTC; free accounts have 10,000."""
    capacity: int = 64
    """Answers that can be under way at once. More wait their turn, or are refused (429, 3040) if they ask for that with
    `options.rejectIfBusy`."""
    gateway_cache_ttl: float = 0.0
    """Seconds for which a gateway keeps an answer, unless `cf-aig-cache-ttl` says otherwise."""
    clock: Callable[[], float] = time.time
    """Unix seconds."""

    def __post_init__(self) -> None:
        _check("dialect", self.dialect, _DIALECTS)
        _check("tool_calls", self.tool_calls, _TOOL_CALLS)

    def random(self, number: int) -> Random:
        """The randomness of the request with this number: the same whatever goes on beside it."""
        return Random() if self.seed is None else Random(f"{self.seed} {number}")  # noqa: S311 - play, no secret

    def heeding(self, headers: Mapping[str, str]) -> Settings:
        """The same, but for what a request asks for with `x-emulator-dialect` or `x-emulator-tool-calls`.

        Raises Refusal (400) for what there isn't.
        """
        dialect = headers.get("x-emulator-dialect", self.dialect)
        tool_calls = headers.get("x-emulator-tool-calls", self.tool_calls)
        try:
            _check("x-emulator-dialect", dialect, _DIALECTS)
            _check("x-emulator-tool-calls", tool_calls, _TOOL_CALLS)
        except ConfigurationError as error:
            raise Refusal(Fault(400, message=str(error))) from None
        return replace(
            self,
            dialect=cast('Literal["S", "V", "random"]', dialect),
            tool_calls=cast('ToolCallStyle | Literal["random"]', tool_calls),
        )

    def draw_dialect(self, random: Random) -> Dialect:
        """The back-end for one request."""
        return DIALECTS[random.choice(("S", "V")) if self.dialect == "random" else self.dialect]

    def draw_style(self, random: Random) -> ToolCallStyle:
        """How to cut the tool calls of one request."""
        return random.choice(_STYLES) if self.tool_calls == "random" else self.tool_calls


def _check(name: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise ConfigurationError(f"{name} must be one of {', '.join(known)}")


_DIALECTS: Final = (*DIALECTS, "random")
_TOOL_CALLS: Final = (*get_args(ToolCallStyle), "random")
_STYLES: Final[tuple[ToolCallStyle, ...]] = ("whole", "fragments", "finaliser")
