"""How the emulator behaves where the service itself varies, and what it accepts."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from random import Random
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple, TypedDict, cast, get_args

from cf_gemma.emulator.backends import DIALECTS, Dialect
from cf_gemma.emulator.backends.parsing import Quirk
from cf_gemma.emulator.backends.styles import ToolCallStyle
from cf_gemma.emulator.faults import Fault, Refusal
from cf_gemma.errors import ConfigurationError
from cf_gemma.model.facts import MODEL

ACCOUNT_ID: Final = "e" * 32
API_TOKEN: Final = "emulator-token"  # noqa: S105 - everybody's default, no secret


DialectName = Literal["S", "V", "V-0.22", "V-0.25", "V-0.32", "random"]


class Manner(NamedTuple):
    """How one request is answered."""

    dialect: Dialect
    tool_calls: ToolCallStyle
    quirks: tuple[Quirk, ...]


class Options(TypedDict, total=False):
    """The keyword arguments of `Emulator` and `create_app`: see `Settings`, which has the defaults."""

    host: str
    port: int
    account_id: str
    api_token: str
    dialect: DialectName
    tool_calls: ToolCallStyle | Literal["random"]
    quirks: tuple[Quirk, ...]
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
    """The settings of one emulator. Raises ConfigurationError for a value that can't be."""

    host: str = "127.0.0.1"
    """Address on which `Emulator` listens."""
    port: int = 0
    """Port on which `Emulator` listens; 0 takes a free one."""
    account_id: str = ACCOUNT_ID
    """The only account there is."""
    api_token: str = API_TOKEN
    """The only token that is accepted; `/v1` also takes none."""
    dialect: DialectName = "random"
    """The back-end that answers: S is SGLang, V is vLLM, in any version or in the one behind it. "random" draws one for
    each request, as the service does."""
    tool_calls: ToolCallStyle | Literal["random"] = "random"
    """How streamed tool calls are cut; "random" draws among all but "position"."""
    quirks: tuple[Quirk, ...] = ("grammar", "history")
    """What the back-ends do where a careless client gives wrong answers, see `Quirk`."""
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
        for name, (requirement, fits) in _RULES.items():
            if not fits(getattr(self, name)):
                value = "" if name == "api_token" else f", not {getattr(self, name)!r}"
                raise ConfigurationError(f"{name} must be {requirement}{value}")

    @classmethod
    def of(cls, options: Options) -> Settings:
        """The settings that these options make. Raises ConfigurationError for one that there isn't."""
        unknown = ", ".join(sorted(options.keys() - Options.__annotations__.keys()))
        if unknown:
            raise ConfigurationError(f"the emulator has no option {unknown}; see cf_gemma.emulator.Settings")
        return cls(**options)

    def random(self, number: int) -> Random:
        """The randomness of the request with this number: the same whatever goes on beside it."""
        return Random() if self.seed is None else Random(f"{self.seed} {number}")  # noqa: S311 - play, no secret

    def with_overrides(self, headers: Mapping[str, str]) -> Settings:
        """The same, but for what a request asks for in headers that only the emulator knows.

        Raises Refusal (400) for a value that can't be.
        """
        overrides: dict[str, Any] = {name: headers[header] for header, name in OVERRIDES.items() if header in headers}
        if "quirks" in overrides:
            overrides["quirks"] = tuple(quirk.strip() for quirk in overrides["quirks"].split(","))
        try:
            return replace(self, **overrides)
        except ConfigurationError as error:
            name, _, problem = str(error).partition(" ")
            raise Refusal(Fault(400, message=f"x-emulator-{name.replace('_', '-')} {problem}")) from None

    def draw(self, random: Random) -> Manner:
        """How to answer one request."""
        name = random.choice(("S", "V")) if self.dialect == "random" else self.dialect
        style = random.choice(_STYLES) if self.tool_calls == "random" else self.tool_calls
        return Manner(random.choice(DIALECTS[name]), style, self.quirks)


OVERRIDES: Final = {f"x-emulator-{name.replace('_', '-')}": name for name in ("dialect", "tool_calls", "quirks")}
"""Request headers, and what they set."""

_Rule = tuple[str, Callable[[Any], bool]]


def _one_of(*values: str) -> _Rule:
    return f"one of {', '.join(values)}", lambda value: value in values


def _at_least(least: int, kind: type[int | float], *, optional: bool = False) -> _Rule:
    words = f"{'a whole number' if kind is int else 'a number'} of at least {least}{' or None' if optional else ''}"
    allowed = (int, kind)
    return words, lambda value: (optional and value is None) or (isinstance(value, allowed) and value >= least)


def _are_quirks(value: Any) -> bool:
    return isinstance(value, tuple) and all(quirk in get_args(Quirk) for quirk in cast("tuple[Any, ...]", value))


_TEXT: Final[_Rule] = ("a text", lambda value: isinstance(value, str) and bool(value))
_RULES: Final[Mapping[str, _Rule]] = MappingProxyType(
    {
        "host": _TEXT,
        "port": ("a whole number, 0 to 65535", lambda value: isinstance(value, int) and 0 <= value <= 65_535),
        "account_id": _TEXT,
        "api_token": _TEXT,
        "dialect": _one_of(*DIALECTS, "random"),
        "tool_calls": _one_of(*get_args(ToolCallStyle), "random"),
        "quirks": (f"a tuple of {', '.join(get_args(Quirk))}", _are_quirks),
        "seed": ("a whole number or None", lambda value: isinstance(value, int | None)),
        "models": ("a tuple of texts", lambda value: isinstance(value, tuple)),
        "queue_polls": _at_least(0, int),
        "requests_per_minute": _at_least(1, int, optional=True),
        "daily_neurons": _at_least(0, float, optional=True),
        "capacity": _at_least(1, int),
        "gateway_cache_ttl": _at_least(0, float),
        "clock": ("a function", callable),
    }
)
"""What each setting must be, in words, and whether a value is that."""

_STYLES: Final[tuple[ToolCallStyle, ...]] = ("server", "whole", "fragments", "finaliser")
