"""What the emulator answers to stock tests and to documentation, made from each request alone."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from cf_gemma.emulator import Reply, ToolCallSpec

WORDS: Final = {
    "setup": "Why did the cat sit on the computer?",
    "punchline": "To keep an eye on the mouse.",
    "story": "Once upon a time there was a cat. It slept a lot, and when it was awake, it thought of sleeping.",
    "haiku": "Soft paws in the night\nA moon hangs over the roofs\nSomebody is fed\n\nGrey cat on a wall\nThe "
    "morning walks around it\nNeither of them speaks",
    "image": "It shows a red square.",
    "hello": "Hello! How can I help you?",
    "how are you": "I'm fine, thank you. How can I help you?",
    "": "That is a good question, and I have no better answer than this one.",
}
"""What to say where these words are heard, or a field has this name; the first that fits."""


def answer(body: dict[str, Any]) -> Reply:
    """A call where one is forced or would help, an object where one is wanted, else some sentences."""
    messages = body["messages"]
    if tool := _wanted_tool(body):
        call = ToolCallSpec(tool["name"], Sampler(messages).sample(tool.get("parameters", {})))
        return Reply(tool_calls=[call], reasoning="A tool helps.")
    wanted = body.get("response_format", {"type": "text"})
    if wanted["type"] != "text":
        schema = wanted.get("json_schema", {}).get("schema") or _schema_in(_text(messages[-1]))
        return Reply(json.dumps(Sampler(messages).sample(schema), ensure_ascii=False))
    return Reply(_sentences(messages[-1]), reasoning="Let me think of something to say.")


class Sampler:
    """Makes values that fit a JSON schema, from what the last message says."""

    def __init__(self, messages: list[dict[str, Any]]) -> None:
        self._said = _text(messages[-1])
        self._numbers = iter(re.findall(r"\d+", self._said))

    def sample(self, schema: dict[str, Any], name: str = "") -> Any:
        """A value for the field of this name."""
        match self._resolved(schema, name):
            case {"enum": [first, *_]}:
                return first
            case {"type": "object"} as kind:
                defined = {"$defs": kind.get("$defs", {})}
                return {field: self.sample(part | defined, field) for field, part in kind.get("properties", {}).items()}
            case {"type": "array"} as kind:
                return [self.sample(kind.get("items", {}) | {"$defs": kind.get("$defs", {})}, name)]
            case {"type": "integer" | "number"}:
                return int(next(self._numbers, 1))
            case {"type": "boolean"}:
                return True
            case {"type": "null"}:
                return None
            case _:
                return self._phrase(name)

    def _resolved(self, schema: dict[str, Any], name: str) -> dict[str, Any]:
        """The schema behind a reference, and of several the one that fits: null when there is to be "no <name>"."""
        defined = schema.get("$defs", {})
        if "$ref" in schema:
            schema = defined[schema["$ref"].rpartition("/")[2]]
        if "anyOf" in schema:
            none = f"no {name}" in self._said
            schema = next(kind for kind in schema["anyOf"] if (kind.get("type") == "null") is none)
        return schema | {"$defs": defined}

    def _phrase(self, name: str) -> str:
        """A name that the message puts in quotes, a proper name in it, or what the field's name suggests."""
        if name in WORDS:
            return WORDS[name]
        quoted = re.search(r"'(.+?)'", self._said)
        if quoted:
            return quoted[1]
        proper = re.search(r"^[A-Z]\w+(?= is \d)|(?<=\w )[A-Z]\w+(?: [A-Z]\w+)*(?:, [A-Z]{2})?", self._said)
        return proper[0] if proper else name


def _wanted_tool(body: dict[str, Any]) -> dict[str, Any] | None:
    """The function to call: the one that is forced; the first, where there is a choice and no result has come."""
    functions = {tool["function"]["name"]: tool["function"] for tool in body.get("tools", [])}
    choice = body.get("tool_choice", "auto")
    if isinstance(choice, dict):
        return functions[choice["function"]["name"]]
    answered = any(message["role"] == "tool" for message in body["messages"])
    return None if choice == "none" or answered or not functions else next(iter(functions.values()))


def _schema_in(text: str) -> dict[str, Any]:
    """The schema that a prompt describes, as JSON mode's do: the names that stand in quotes."""
    return {"type": "object", "properties": {name: {"type": "string"} for name in re.findall(r"'(\w+)'", text)}}


def _sentences(message: dict[str, Any]) -> str:
    if message["role"] == "tool":
        return f"The tool says: {_text(message)}"
    return next(words for cue, words in WORDS.items() if cue in _text(message).lower())


def _text(message: dict[str, Any]) -> str:
    content = message["content"]
    if isinstance(content, str):
        return content
    return " ".join(part.get("text", "image") for part in content)
