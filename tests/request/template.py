"""What the model reads of a request: Google's chat template for Gemma 4, in its five revisions, read from TRL's wheel.

The Makefile downloads the wheel; it is never installed.
"""

from __future__ import annotations

import json
import sys
import zipfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jinja2 import Template

REVISIONS: Final = ("gemma4_v2", "gemma4_v3", "gemma4", "gemma4_v4", "gemma4_v5")
"""From the model's release to 2026-07-09."""
CURRENT: Final = REVISIONS[-1]


def rendered(body: Mapping[str, Any], revision: str = CURRENT) -> str:
    """The prompt that a server makes of a request's body. Raises what the template raises."""
    options = body.get("chat_template_kwargs") or {}
    return _template(revision).render(
        messages=[_decoded(message) for message in body["messages"]],
        tools=body.get("tools"),
        add_generation_prompt=True,
        bos_token="",
        **{"enable_thinking": False, **options},
    )


def flaws(body: Mapping[str, Any]) -> list[str]:
    """Why the model can't read a request as it was meant; nothing for one without messages, which isn't printed."""
    if not isinstance(body.get("messages"), list):
        return []
    try:
        prompt = rendered(body)
    except (TypeError, ValueError, TemplateError) as error:
        return [f"the template refuses it: {error}"]
    checks = {
        "a parameter without a type": 'type:<|"|><|"|>' in prompt,
        "a tool's answer that never ends": prompt.count("<|tool_response>") > prompt.count("<tool_response|>"),
    }
    return [flaw for flaw, is_there in checks.items() if is_there]


def source(revision: str = CURRENT) -> str:
    """The template itself."""
    return _wheel()[revision]


def declaration(prompt: str, name: str) -> str:
    """What the prompt says of one tool."""
    begin = prompt.index(f"<|tool>declaration:{name}{{")
    return prompt[begin : prompt.index("<tool|>", begin)]


@cache
def _template(revision: str) -> Template:
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.globals["raise_exception"] = _refuse
    return environment.from_string(source(revision))


@cache
def _wheel() -> dict[str, str]:
    wheels = sorted((Path(sys.prefix) / "templates").glob("trl-*.whl"))
    if not wheels:
        raise FileNotFoundError("Google's chat template is missing: make test downloads it")
    with zipfile.ZipFile(wheels[-1]) as wheel:
        return {name: wheel.read(f"trl/chat_templates/{name}.jinja").decode() for name in REVISIONS}


def _refuse(message: str) -> None:
    raise ValueError(message)


def _decoded(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message as servers hand it to the template: arguments are objects, images have one name."""
    turn = dict(message)
    if turn.get("tool_calls"):
        turn["tool_calls"] = [_decoded_call(call) for call in turn["tool_calls"]]
    if isinstance(turn.get("content"), list):
        turn["content"] = [{"type": "image"} if part["type"] == "image_url" else part for part in turn["content"]]
    return turn


def _decoded_call(call: Mapping[str, Any]) -> dict[str, Any]:
    return {**call, "function": {**call["function"], "arguments": json.loads(call["function"]["arguments"])}}
