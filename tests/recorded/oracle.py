"""What the emulator answers to LangChain's standard tests, made from each request alone."""

from __future__ import annotations

import json
import re
from typing import Any

from cf_gemma.emulator import Reply, ToolCallSpec


def answer(body: dict[str, Any]) -> Reply:
    """A call where one is forced or asked for, an object where a schema is given, else a sentence."""
    messages = body["messages"]
    if name := _wanted_tool(body, messages):
        parameters = next(tool["function"] for tool in body["tools"] if tool["function"]["name"] == name)["parameters"]
        call = ToolCallSpec(name, sample(parameters, _text(messages[-1])))
        return Reply(tool_calls=[call], reasoning="A tool helps.")
    if (wanted := body.get("response_format", {"type": "text"}))["type"] != "text":
        schema = wanted.get("json_schema", {}).get("schema") or _schema_in(messages)
        return Reply(json.dumps(sample(schema, _text(messages[-1])), ensure_ascii=False))
    return Reply("This is what I have to say: cats sleep a lot.", reasoning="Let me think of something to say.")


def sample(schema: dict[str, Any], text: str) -> Any:
    """A value that fits a JSON schema, with what the text says where it fits."""
    defined = schema.get("$defs", {})
    if "$ref" in schema:
        return sample(defined.get(schema["$ref"].rsplit("/", 1)[-1], {}), text)
    if "anyOf" in schema:
        return sample({**schema["anyOf"][0], "$defs": defined}, text)
    if "enum" in schema:
        return schema["enum"][0]
    match schema.get("type"):
        case "object":
            return {
                name: sample({**part, "$defs": defined}, text) for name, part in schema.get("properties", {}).items()
            }
        case "array":
            return [sample({**schema.get("items", {}), "$defs": defined}, text)]
        case "integer" | "number":
            return int(found[0]) if (found := re.findall(r"\d+", text)) else 1
        case "boolean":
            return True
        case _:
            return quoted[1] if (quoted := re.search(r"'(.+?)'", text)) else "a cat"


def _wanted_tool(body: dict[str, Any], messages: list[dict[str, Any]]) -> str | None:
    names = [tool["function"]["name"] for tool in body.get("tools", [])]
    choice = body.get("tool_choice", "auto")
    if isinstance(choice, dict):
        return choice["function"]["name"]
    if not names or choice == "none" or messages[-1]["role"] != "user":
        return None
    return names[0]


def _schema_in(messages: list[dict[str, Any]]) -> dict[str, Any]:
    """The schema that a prompt spells out, as JSON mode's do."""
    names = re.findall(r"`?(setup|punchline)`?", _text(messages[-1]))
    return {"type": "object", "properties": {name: {"type": "string"} for name in names}}


def _text(message: dict[str, Any]) -> str:
    content = message["content"]
    return content if isinstance(content, str) else " ".join(part.get("text", "") for part in content)
