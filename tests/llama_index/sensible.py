"""A model that answers from the request alone, as a sensible one would: it knows LlamaIndex's prompts, and no test.

All it can do is read: its answer is the sentence of the request that has most of the question's words. So what a
component makes of its answers shows what reached the model, and that the answers came back in the form it reads.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import jsonschema

from cf_gemma.emulator import Reply, ToolCallSpec

if TYPE_CHECKING:
    from collections.abc import Callable

Json = dict[str, Any]

THOUGHT = "First I think about it."
"""Its reasoning, whatever it answers. No component may take it for the answer."""

QUESTION = "What causes tides?"
FACTS = {
    "tides": "Tides are caused by the gravity of the Moon and of the Sun.",
    "bread": "Bread rises because yeast turns sugar into carbon dioxide.",
    "glass": "Glass is made by melting sand with soda and lime.",
}
"""What the tests' documents say. The model doesn't know it."""

SEEN = "The picture shows the sea."
"""What it sees in every image."""


def sensible(body: Json) -> Reply:
    """A tool call where one is due, JSON where the request has a schema, else text."""
    reading = Reading(body)
    tool = tool_due(body, reading)
    if tool:
        return Reply(reasoning=THOUGHT, tool_calls=[ToolCallSpec(tool["name"], filled(tool["parameters"], reading))])
    if "response_format" in body:
        schema = body["response_format"]["json_schema"]["schema"]
        return Reply(json.dumps(filled(schema, reading)), reasoning=THOUGHT)
    say = next((say for sign, say in HABITS if re.search(sign, reading.text)), Reading.answer)
    return Reply(say(reading), reasoning=THOUGHT)


class Reading:
    """A request, read: its text, the last question in it, and what can be said of that."""

    def __init__(self, body: Json) -> None:
        self.messages = messages = body["messages"]
        self.tools = [tool["function"] for tool in body.get("tools", [])]
        self.text = "\n".join(seen(message) for message in messages)
        self.last = seen(messages[-1])
        self.wish = next(seen(message) for message in reversed(messages) if message["role"] == "user")
        self.question = next(iter(re.findall(r"[A-Z][^.?!:\n]*\?", self.text)[::-1]), "")

    def answer(self) -> str:
        """The sentence that has most of the question's words; else what a tool has just told."""
        best = max(re.findall(r"[A-Z][^.?!:\n|]*\.", self.text), key=self.fit, default="")
        if self.fit(best):
            return best
        return f"The result is {self.last}." if self.messages[-1]["role"] == "tool" else "I do not know."

    def fit(self, text: str) -> int:
        """How many words of the question are in the text."""
        return len(words(self.question) & words(text))

    def choice(self, listed: str) -> int:
        """The number of what fits the question best; `listed` finds number and text."""
        return int(max(re.findall(listed, self.text), key=lambda match: self.fit(match[1]))[0])

    def last_of(self, sign: str) -> Any:
        """What the sign's groups find in the text, the last time: before it stand the prompt's own examples."""
        return re.findall(sign, self.text, re.DOTALL)[-1]

    @property
    def caused(self) -> list[tuple[str, str]]:
        """What is said to be caused, and by what."""
        return re.findall(r"(\w+) are caused by the gravity of the (\w+)", self.text)

    @property
    def numbers(self) -> list[int]:
        """The numbers in what the user wishes."""
        return [int(number) for number in re.findall(r"\d+", self.wish)]

    @property
    def topics(self) -> list[str]:
        """The words that say what the text is about: a fact's subject, and the longer words behind it."""
        fact = next(iter(re.findall(r"[A-Z]\w+ (?:are|is|rises) [^.\n]*\.", self.text)), "Nothing.")
        return list(dict.fromkeys(re.findall(r"\w{5,}", fact)))


def tool_due(body: Json, reading: Reading) -> Json | None:
    """The tool to call: the one that is forced, else the one whose name or purpose is in what is asked."""
    tools, choice = reading.tools, body.get("tool_choice")
    if isinstance(choice, dict):
        return next(tool for tool in tools if tool["name"] == choice["function"]["name"])
    if not tools or choice == "none" or body["messages"][-1]["role"] == "tool":
        return None
    fitting = (
        tool
        for tool in tools
        if tool["name"] in reading.wish.lower()
        or reading.fit(tool["description"])
        or len(words(tool["description"]) & words(reading.last)) > 2
    )
    return next(fitting, tools[0] if choice == "required" else None)


def filled(schema: Json, reading: Reading) -> Any:
    """A value of the schema, which it is held to, as the service holds its answers."""
    value = fill(schema, reading, schema)
    jsonschema.validate(value, schema)
    return value


def fill(schema: Json, reading: Reading, root: Json, name: str = "") -> Any:
    """A value of a part of the schema, by the field's name or by the parts of that part."""
    if name in FIELDS:
        return FIELDS[name](reading)
    if "$ref" in schema:
        return fill(root["$defs"][schema["$ref"].rpartition("/")[2]], reading, root)
    if schema["type"] == "array":
        return [fill(schema["items"], reading, root)]
    return {key: fill(field, reading, root, key) for key, field in schema["properties"].items()}


def seen(message: Json) -> str:
    """A message's text, and what its images show."""
    content = message["content"]
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    return "\n".join(part.get("text", SEEN) for part in parts)


def words(text: str) -> set[str]:
    """The words that carry a meaning, without their endings."""
    return {word[:4] for word in re.findall(r"\w{4,}", text.lower())} - {"what", "does", "that", "this", "with"}


FIELDS: dict[str, Callable[[Reading], Any]] = {
    "answer": Reading.answer,
    "query_satisfied": lambda reading: reading.fit(reading.answer()) > 0,
    "index": lambda reading: reading.choice(r"\((\d+)\) ([^\n]*)"),
    "reason": lambda _: "It fits best.",
    "document_number": lambda reading: reading.choice(r"Document (\d+):\n([^\n]*)"),
    "relevance": lambda _: 9,
    "passing": lambda reading: reading.fit(reading.last_of(r"Response: ([^\n]*)")) > 0,
    "feedback": lambda _: "To the point.",
    "a": lambda reading: reading.numbers[0],
    "b": lambda reading: reading.numbers[1],
    "to_agent": lambda reading: re.findall(r"\w+(?=': )", reading.tools[0]["description"])[-1],
    "causes": lambda reading: re.findall(r"the (\w+)", reading.answer()),
    "topic": lambda reading: reading.answer().split()[0],
    "triplets": lambda reading: [
        {
            "subject": {"type": "BODY", "name": cause},
            "relation": {"type": "CAUSES"},
            "object": {"type": "EVENT", "name": event},
        }
        for event, cause in reading.caused
    ],
}
"""How it fills a field that has this name."""


def _called_in_text(reading: Reading) -> str:
    """What an agent that is driven by text says next."""
    if reading.last.startswith("Observation"):
        return f"Thought: I can answer without using any more tools.\nAnswer: The result is {reading.last[13:]}."
    args = {"a": reading.numbers[0], "b": reading.numbers[1]}
    return f"Thought: I need to use a tool.\nAction: add\nAction Input: {json.dumps(args)}"


def _coded(reading: Reading) -> str:
    """What an agent that writes programs says next."""
    if reading.last.startswith("Result of executing"):
        return f"The result is {reading.last.split()[-1]}."
    return "Let me run this.\n<execute>\nprint(add({}, {}))\n</execute>".format(*reading.numbers)


def _yes_or_no(reading: Reading) -> str:
    """Whether what is said stands somewhere else, too: in the context, or in a picture."""
    return "YES" if reading.text.count(reading.last_of(r"(?:Information|Response): ([^\n]*)")) > 1 else "NO"


def _verdict(reading: Reading) -> str:
    answers = re.findall(r"Answer\]\n(.*?)\n\[The End of Assistant", reading.text, re.DOTALL)
    return f"One is better. [[{'A' if reading.fit(answers[0]) > reading.fit(answers[1]) else 'B'}]]"


def _object_in_text(reading: Reading) -> str:
    # Core doubles the braces after the prompt was formatted, so a model sees them doubled.
    schema = json.loads(reading.last_of(r"schema to follow:\n(.*?)\n").replace("{{", "{").replace("}}", "}"))
    return f"```json\n{json.dumps(filled(schema, reading))}\n```"


def _sub_questions(reading: Reading) -> str:
    tools = json.loads(reading.last_of(r"<Tools>\n```json\n(.*?)```"))
    items = [{"sub_question": f"What is said of {name}?", "tool_name": name} for name in tools]
    return f"```json\n{json.dumps({'items': items})}\n```"


def _triplets(reading: Reading) -> str:
    return "\n".join(f"({cause}, causes, {event})" for event, cause in reading.caused)


def _typed_triplets(reading: Reading) -> str:
    kinds = {"head_type": "BODY", "relation": "CAUSES", "tail_type": "EVENT"}
    return json.dumps([{"head": cause, "tail": event, **kinds} for event, cause in reading.caused])


def _ranking(reading: Reading) -> str:
    first = reading.choice(r"\[(\d)\] (\w[^\n]*)")
    return " > ".join(f"[{number}]" for number in sorted((1, 2, 3), key=lambda number: number != first))


HABITS: tuple[tuple[str, Callable[[Reading], str]], ...] = (
    ("Action Input", _called_in_text),
    ("<execute>", _coded),
    ("YES", _yes_or_no),
    (r"\[RESULT\]", lambda reading: f"Good.\n[RESULT] {4 if 'document sources' in reading.text else 2}"),
    ("only the score", lambda _: "4.5\nIt says the same as the reference."),
    (r"\[\[A\]\]", _verdict),
    ("JSON schema to follow", _object_in_text),
    ("ONLY JSON", lambda reading: json.dumps([{"choice": FIELDS["index"](reading), "reason": "It fits best."}])),
    ("sub-questions", _sub_questions),
    ("Relevance: 7", lambda reading: f"Doc: {FIELDS['document_number'](reading)}, Relevance: 9"),
    ("ANSWER: <number", lambda reading: f"ANSWER: {FIELDS['index'](reading)}, which fits best."),
    ("RankGPT", _ranking),
    ("multiple search queries", lambda reading: f"{reading.question}\nWhat is gravity?"),
    ("[Ss]tandalone question|New question", lambda reading: reading.question),
    (r"separated by '\^'", lambda reading: "^".join(word.title() for word in re.findall(r"\w{5,}", reading.question))),
    ("'head_type'", _typed_triplets),
    ("Triplets", _triplets),
    ("<facts>", lambda reading: f"<facts>\n<fact>{reading.last_of('I live in [A-Z][a-z]+')}</fact>\n</facts>"),
    ("candidate titles", lambda reading: reading.text.partition(".")[0]),
    ("Give a title", lambda reading: f"On {reading.topics[0]}"),
    ("Keywords:", lambda reading: ", ".join(reading.topics)),
    (r"generate \d+ questions", lambda reading: f"1. What about {reading.topics[0]}?"),
    ("situate this chunk|[Ss]ummar|SUMMARY", lambda reading: f"This is about {reading.topics[0]}."),
    ("SQLQuery: $", lambda _: "SELECT text FROM facts WHERE text LIKE '%ides%'"),
    ("JSONPath:", lambda _: "JSONPath: $.tides"),
    ("Cypher", lambda _: "MATCH (n) RETURN n"),
    ("Structured Request:", lambda _: '```json\n{"query": "tides", "filters": [], "top_k": 1}\n```'),
)
"""What it says where the text has this sign; else it answers the question."""
