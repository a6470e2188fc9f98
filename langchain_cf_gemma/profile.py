"""What the model can do, in LangChain's words: `model.profile`."""

from __future__ import annotations

from typing import Any, Final

from cf_gemma import CONTEXT_WINDOW, MAX_TOKENS_THINKING, MODEL

PROFILES: Final[dict[str, dict[str, Any]]] = {
    MODEL: {
        "name": "Gemma 4 26B A4B IT",
        "release_date": "2026-04-02",
        "open_weights": True,
        "max_input_tokens": CONTEXT_WINDOW,
        "max_output_tokens": MAX_TOKENS_THINKING,
        "text_inputs": True,
        "image_inputs": True,
        "pdf_inputs": False,
        "audio_inputs": False,
        "video_inputs": False,
        "image_tool_message": True,
        "pdf_tool_message": False,
        "text_outputs": True,
        "image_outputs": False,
        "audio_outputs": False,
        "video_outputs": False,
        "reasoning_output": True,
        "tool_calling": True,
        "tool_choice": True,
        "tool_call_streaming": True,
        "structured_output": True,
        "attachment": True,
        "temperature": True,
    }
}
"""Profiles by model id, without `image_url_inputs`, which is the caller's choice.

Sources: the model's catalogue entry in cloudflare-docs and models.dev, both read 2026-11.
"""
