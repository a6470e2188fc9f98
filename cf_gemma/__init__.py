"""Gemma 4 on Cloudflare Workers AI, without a framework: `Gemma`, `AsyncGemma`, and what they return."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from cf_gemma.settings.version import __version__

if TYPE_CHECKING:
    from cf_gemma.client.budget import Budget, Spent
    from cf_gemma.client.gemma import AsyncGemma, Gemma
    from cf_gemma.errors import GemmaError
    from cf_gemma.model.completion import (
        Choice,
        Completion,
        Delta,
        InvalidToolCall,
        ReasoningDelta,
        TextDelta,
        ToolCall,
        ToolCallDelta,
        Usage,
    )
    from cf_gemma.model.facts import CONTEXT_WINDOW, MAX_TOKENS, MAX_TOKENS_THINKING, MODEL, PRICE
    from cf_gemma.request.images import image_file, image_part
    from cf_gemma.request.parameters import Options
    from cf_gemma.settings.defaults import QUEUE_TIMEOUT
    from cf_gemma.settings.gateway import Gateway

__all__ = [
    "CONTEXT_WINDOW",
    "MAX_TOKENS",
    "MAX_TOKENS_THINKING",
    "MODEL",
    "PRICE",
    "QUEUE_TIMEOUT",
    "AsyncGemma",
    "Budget",
    "Choice",
    "Completion",
    "Delta",
    "Gateway",
    "Gemma",
    "GemmaError",
    "InvalidToolCall",
    "Options",
    "ReasoningDelta",
    "Spent",
    "TextDelta",
    "ToolCall",
    "ToolCallDelta",
    "Usage",
    "__version__",
    "image_file",
    "image_part",
]

if not TYPE_CHECKING:  # so that type checkers and editors go by the imports above
    _HOMES = (
        *("model.facts", "model.completion", "errors", "request.parameters", "request.images"),
        *("client.gemma", "client.budget", "settings.defaults", "settings.gateway"),
    )

    def __getattr__(name: str) -> object:
        """Loads a public name, or a module, when it is first asked for: the command's help needs none."""
        if name in __all__:
            for home in _HOMES:
                if name in (names := vars(import_module(f"{__name__}.{home}"))):
                    globals()[name] = names[name]
                    return names[name]
        if not name.startswith("_"):
            try:
                return import_module(f"{__name__}.{name}")
            except ModuleNotFoundError as error:
                if error.name != f"{__name__}.{name}":
                    raise
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
