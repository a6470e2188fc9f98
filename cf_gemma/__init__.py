"""Gemma 4 on Cloudflare Workers AI, without a framework: `Gemma`, `AsyncGemma`, and what they say."""

from __future__ import annotations

from cf_gemma.client import AsyncGemma, Gemma
from cf_gemma.completion import (
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
from cf_gemma.errors import GemmaError
from cf_gemma.options import Options
from cf_gemma.version import __version__

__all__ = [
    "AsyncGemma",
    "Choice",
    "Completion",
    "Delta",
    "Gemma",
    "GemmaError",
    "InvalidToolCall",
    "Options",
    "ReasoningDelta",
    "TextDelta",
    "ToolCall",
    "ToolCallDelta",
    "Usage",
    "__version__",
]
