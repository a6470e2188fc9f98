"""The prompt caches of the machines behind the service: what a session's last request began with is cheap."""

from __future__ import annotations

import json
from dataclasses import replace
from os.path import commonprefix
from typing import TYPE_CHECKING, Final

from cf_gemma.emulator.engines.protocol import Event, Opening

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cf_gemma.emulator.chat import ChatRequest


class PromptCaches:
    """Remembers the last prompt of each `x-session-affinity`."""

    def __init__(self) -> None:
        self._prompts: dict[str, str] = {}

    def heeded(self, session: str | None, chat: ChatRequest, events: Iterator[Event]) -> Iterator[Event]:
        """The same events; the opening says how many prompt tokens were cached, unless the engine itself knows."""
        if session is None:
            yield from events
            return
        prompt = json.dumps([chat.tools, *chat.messages])
        share = len(commonprefix([self._prompts.pop(session, ""), prompt])) / len(prompt)  # noqa: RUF071 - no paths
        self._prompts[session] = prompt
        if len(self._prompts) > _MOST:
            del self._prompts[next(iter(self._prompts))]
        for event in events:
            if isinstance(event, Opening) and not event.cached_tokens:
                tokens = min(int(event.prompt_tokens * share), event.prompt_tokens - 1)
                yield replace(event, cached_tokens=max(0, tokens // BLOCK * BLOCK))
            else:
                yield event


BLOCK: Final = 64
"""Tokens; published counts of cached tokens are multiples of it."""

_MOST: Final = 256
