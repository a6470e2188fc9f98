"""A local stand-in for Workers AI: the same routes, envelopes, streams and errors, over an engine of your choice.

    from cf_gemma.emulator import Emulator

    with Emulator(["Hello!"]) as emulator:
        model = ChatCloudflareGemma(
            account_id=emulator.account_id, api_token=emulator.api_token, base_url=emulator.base_url
        )
        assert model.invoke("Hi").content == "Hello!"
        assert emulator.requests[0].json["messages"] == [{"role": "user", "content": "Hi"}]

Needs `pip install 'cf-gemma[testing]'`, and for a model of your own `'cf-gemma[local]'`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cf_gemma.emulator.app import create_app
    from cf_gemma.emulator.edge.call import RecordedRequest
    from cf_gemma.emulator.edge.settings import Settings
    from cf_gemma.emulator.engines.llama import LlamaEngine
    from cf_gemma.emulator.engines.protocol import Engine
    from cf_gemma.emulator.engines.reply import Reply, ToolCallSpec
    from cf_gemma.emulator.engines.scripted import ScriptedEngine
    from cf_gemma.emulator.faults import CUT, Fault
    from cf_gemma.emulator.server import Emulator

__all__ = [
    "CUT",
    "Emulator",
    "Engine",
    "Fault",
    "LlamaEngine",
    "RecordedRequest",
    "Reply",
    "ScriptedEngine",
    "Settings",
    "ToolCallSpec",
    "create_app",
]

_HOMES = {
    "app": ("create_app",),
    "edge.call": ("RecordedRequest",),
    "engines.protocol": ("Engine",),
    "engines.llama": ("LlamaEngine",),
    "engines.reply": ("Reply", "ToolCallSpec"),
    "engines.scripted": ("ScriptedEngine",),
    "faults": ("CUT", "Fault"),
    "server": ("Emulator",),
    "edge.settings": ("Settings",),
}


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    """Imports on first use, so that no script pays for a language model, and no engine for a web server."""
    home = next((module for module, names in _HOMES.items() if name in names), None)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(importlib.import_module(f"{__name__}.{home}"), name)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in ("starlette", "uvicorn"):
            raise
        raise ImportError(f"the emulator needs {missing}: pip install 'cf-gemma[testing]'") from None
