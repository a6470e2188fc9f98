"""What the model is made to say, and what must come of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from cf_gemma.errors import BadRequest, ContextOverflow, NotFound, ToolChoiceNotHonoured
from tests.servers.scenario import Outcome, Scenario

SPELT: Final = "\0"
"""Between two letters of a marker that the model writes in letters, not as the one token that it is."""
END: Final = "<|tool_response>"
"""Ends a turn with calls."""


def scenario(name: str, words: str | tuple[str, ...], *outcomes: Outcome, **others: Any) -> Scenario:
    """A scenario."""
    return Scenario(name, (words,) if isinstance(words, str) else words, outcomes, **others)


def function(name: str, *required: str, **properties: dict[str, Any]) -> dict[str, Any]:
    """A tool."""
    parameters = {"type": "object", "properties": properties, "required": [*required]}
    return {"type": "function", "function": {"name": name, "description": f"Does {name}.", "parameters": parameters}}


def notation(name: str, arguments: str) -> str:
    """A call as Gemma writes it; its quotes are `'` here."""
    return f"<|tool_call>call:{name}{{{arguments}}}<tool_call|>".replace("'", '<|"|>')


def thought(text: str) -> str:
    """A thought in its channel."""
    return f"<|channel>thought\n{text}<channel|>"


TEXT: Final = {"type": "string"}
MAYBE: Final = {"anyOf": [TEXT, {"type": "null"}]}
COUNT: Final = {"type": "integer"}
PERSON: Final = {"type": "object", "properties": {"name": TEXT, "age": {"type": "number"}, "vip": {"type": "boolean"}}}
TAGS: Final = {"type": "array", "items": TEXT}
TOOLS: Final = [
    function("get_weather", "city", city=TEXT, days=COUNT),
    function("search", "query", query=TEXT, limit=COUNT),
    function("now"),
    function("book", "note", "who", note=TEXT, nothing=MAYBE, tags=TAGS, who=PERSON, x={"type": "number"}),
]
SCHEMA: Final = {"type": "object", "properties": {"name": TEXT, "age": COUNT}, "required": ["name", "age"]}
AS_PERSON: Final = {"type": "json_schema", "json_schema": {"name": "person", "strict": True, "schema": SCHEMA}}
NONSENSE: Final = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "nonsense"}}}
GET_WEATHER: Final = {"type": "function", "function": {"name": "get_weather"}}

PLAIN: Final[dict[str, Any]] = {"tools": TOOLS}
THINKING: Final[dict[str, Any]] = {"thinking": True}
BOTH: Final = {**PLAIN, **THINKING}
REQUIRED: Final = {**PLAIN, "tool_choice": "required"}
NAMED: Final = {**PLAIN, "tool_choice": GET_WEATHER}

SUNNY: Final = "It is sunny in Paris."
LONG: Final = " ".join(f"Day {day} is sunny." for day in range(30))
HM: Final = "The user wants the weather.\nStep 1: call it."
IN_JSON: Final = '{"name": "Zoë", "age": 3}'
NOTE: Final = 'He said "hi"\n\\ {a:1} é😀'
PARIS: Final = ("get_weather", {"city": "Paris", "days": 3})
ROME: Final = ("get_weather", {"city": "Rome"})
SOUTH: Final = ("get_weather", {"city": "Paris in the south of France", "days": 3})
ZOE: Final = {"age": -1.5, "name": "Zoë", "vip": True}
BOOKED: Final = ("book", {"note": NOTE, "nothing": None, "tags": ["a,b", "c"], "who": ZOE, "x": 1000.0})
NOW: Final = ("now", {})
SAY_PARIS: Final = notation("get_weather", "city:'Paris',days:3")
SAY_ROME: Final = notation("get_weather", "city:'Rome'")
SAY_SOUTH: Final = notation("get_weather", "city:'Paris in the south of France',days:3")
SAY_BOOK: Final = notation(
    "book", f"note:'{NOTE}',nothing:null,tags:['a,b','c'],who:{{age:-1.5,name:'Zoë',vip:true}},x:1e3"
)
OF_MARKERS: Final = f"<|chan{SPELT}nel> opens a thought, <|tool{SPELT}_call> a call."
ABOUT_MARKERS: Final = "What do <|channel> and <|tool_call> mean?"
ASKED: Final = {"id": "a", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}
BEHIND_RESULT: Final = [
    {"role": "user", "content": "What is the weather in Paris?"},
    {"role": "assistant", "content": "", "tool_calls": [ASKED]},
    {"role": "tool", "tool_call_id": "a", "content": "sunny"},
]

SUNSHINE: Final = Outcome(SUNNY)
SAID_AS_THOUGHT: Final = Outcome(SUNNY, reasoning=SUNNY)
"""The server files all of it under reasoning, so that it is the text, too."""
AS_THOUGHT_OF_SGLANG: Final = replace(SAID_AS_THOUGHT, by="SGLang")
BROKEN: Final = Outcome(invalid=1)
NOT_CALLED: Final = Outcome(error=ToolChoiceNotHonoured)
NOTHING: Final = Outcome()
DROPPED: Final = Outcome(by="vLLM")
"""It drops what was said, so that nobody can have it."""

LEFT_AS_TEXT: Final = Outcome(SAY_PARIS, by="SGLang")
"""Without tools that may be called, a call in Gemma's notation is text."""

TEXTS: Final = (
    scenario("text", SUNNY, Outcome(SUNNY, reason="stop")),
    scenario("text in many bytes", "Zoë 😀 ok\n\n\tdone", Outcome("Zoë 😀 ok\n\n\tdone")),
    scenario("long text", LONG, Outcome(LONG)),
    scenario("text, cut", SUNNY, Outcome("It is sunny", reason="length"), limits=(3,)),
    scenario("text, to a stop text", SUNNY, Outcome("It is sunny", reason="stop"), options={"stop": [" in"]}),
    scenario("log-probabilities", "Zoë 😀 ok", Outcome("Zoë 😀 ok"), options={"logprobs": True, "top_logprobs": 2}),
    scenario("nothing, then text", ("<turn|>", SUNNY), SUNSHINE),
    scenario("nothing at all", "<turn|>", NOTHING),
    scenario("stray markers", "Hello<|turn><|think|> there<tool_response|>.", Outcome("Hello there.")),
    scenario(
        "markers in letters",
        OF_MARKERS,
        Outcome(OF_MARKERS.replace(SPELT, "")),
        Outcome(" opens a thought,", "opens a thought,", by="vLLM"),  # the parsers of whole answers read letters
        Outcome(OF_MARKERS.replace(SPELT, ""), OF_MARKERS.replace(SPELT, ""), by="SGLang"),
        prompt=ABOUT_MARKERS,
    ),
    scenario("two answers", (SUNNY, LONG), SUNSHINE, options={"n": 2}, faces=("Gemma", "AsyncGemma")),
)

THOUGHTS: Final = (
    scenario("thought, text", thought(HM) + SUNNY, Outcome(SUNNY, HM), options=THINKING),
    scenario("thinking on, no thought", SUNNY, SUNSHINE, AS_THOUGHT_OF_SGLANG, options=THINKING),
    scenario("thinking off, thought", thought(HM) + SUNNY, Outcome(SUNNY, HM)),
    scenario("empty thought", thought("") + SUNNY, SUNSHINE, options=THINKING),
    scenario("thought alone", thought(SUNNY), SAID_AS_THOUGHT, options=THINKING),
    scenario("thought without an end", f"<|channel>thought\n{SUNNY}", SAID_AS_THOUGHT, options=THINKING),
    scenario(
        "thought, cut", thought(SUNNY), Outcome("", "It is sunny", reason="length"), options=THINKING, limits=(6,)
    ),
    scenario(
        "two thoughts",
        f"{thought('One.')}Hello. {thought('Two.')}{SUNNY}",
        Outcome(f"Hello. {SUNNY}", "One.Two."),
        Outcome(
            f"Hello. {SUNNY}", "One.thought\nTwo.", by="vLLM"
        ),  # the whole answer keeps the name of the second channel
        options=THINKING,
    ),
    scenario("result: text", SUNNY, SUNSHINE, prompt=BEHIND_RESULT, options=PLAIN),
    scenario("result: text in the channel", SUNNY, SUNSHINE, SAID_AS_THOUGHT, prompt=BEHIND_RESULT, options=BOTH),
    scenario(
        "result: end of channel", f"{HM}<channel|>{SUNNY}", Outcome(SUNNY, HM), prompt=BEHIND_RESULT, options=BOTH
    ),
    scenario("result: own channel", thought(HM) + SUNNY, Outcome(SUNNY, HM), prompt=BEHIND_RESULT, options=BOTH),
    scenario(
        "result: thought, call",
        f"{HM}<channel|>{SAY_ROME}{END}",
        Outcome("", HM, (ROME,)),
        prompt=BEHIND_RESULT,
        options=BOTH,
    ),
    scenario(
        "result: call in the channel",
        HM + SAY_ROME + END,
        Outcome("", HM, (ROME,)),
        Outcome(HM, "", (ROME,), by="vLLM"),  # the whole answer has the thought as text
        prompt=BEHIND_RESULT,
        options=BOTH,
    ),
)

CALLS: Final = (
    scenario("call", SAY_PARIS + END, Outcome(calls=(PARIS,), reason="tool_calls"), options=PLAIN),
    scenario("thought, call", thought(HM) + SAY_PARIS + END, Outcome("", HM, (PARIS,)), options=BOTH),
    scenario("call in a thought", f"<|channel>thought\n{HM}{SAY_PARIS}{END}", Outcome("", HM, (PARIS,)), options=BOTH),
    scenario("text, call", SUNNY + SAY_PARIS + END, Outcome(SUNNY, "", (PARIS,)), options=PLAIN),
    scenario(
        "call, text",
        SAY_PARIS + SUNNY,
        Outcome(SUNNY, "", (PARIS,)),
        Outcome(calls=(PARIS,)),  # whole answers drop text behind calls
        options=PLAIN,
    ),
    scenario("two calls", SAY_PARIS + SAY_ROME + END, Outcome(calls=(PARIS, ROME)), options=PLAIN),
    scenario("nested arguments", SAY_BOOK + END, Outcome(calls=(BOOKED,)), options=PLAIN),
    scenario("no arguments", notation("now", "") + END, Outcome(calls=(NOW,)), options=PLAIN),
    scenario(
        "long argument",
        notation("search", f"query:'{LONG}'") + END,
        Outcome(calls=(("search", {"query": LONG}),)),
        options=PLAIN,
    ),
    scenario(
        "unknown tool", notation("fly", "to:'Rome'") + END, Outcome(calls=(("fly", {"to": "Rome"}),)), options=PLAIN
    ),
    scenario("blank before the name", SAY_ROME.replace("call:", "call: ") + END, Outcome(calls=(ROME,)), options=PLAIN),
    scenario("text beside tools", SUNNY, SUNSHINE, options=PLAIN),
    scenario(
        "call without an end", SAY_PARIS.removesuffix("<tool_call|>") + END, Outcome(calls=(PARIS,)), options=PLAIN
    ),
    scenario("call, no tools", SAY_PARIS + END, DROPPED, LEFT_AS_TEXT),
    scenario(
        "call, tool_choice none",
        SAY_PARIS + END,
        DROPPED,
        LEFT_AS_TEXT,
        options={**PLAIN, "tool_choice": "none"},
    ),
    scenario("required: call", SAY_PARIS + END, Outcome(calls=(PARIS,)), options=REQUIRED),
    scenario("required: text", SUNNY, NOT_CALLED, options=REQUIRED),
    scenario(
        "required: text, then call", (SUNNY, SAY_PARIS + END), Outcome(calls=(PARIS,)), NOT_CALLED, options=REQUIRED
    ),
    scenario("named: call", SAY_PARIS + END, Outcome(calls=(PARIS,)), options=NAMED),
    scenario("named: other call", notation("now", "") + END, NOT_CALLED, options=NAMED),
    scenario("named: text", SUNNY, NOT_CALLED, options=NAMED),
)

SPOILT: Final = (
    scenario(
        "cut in the name",
        SAY_SOUTH,
        BROKEN,
        Outcome(reason="length", by="SGLang"),  # a stream has nothing of it
        options=PLAIN,
        limits=(4,),
    ),
    scenario("cut in a text", SAY_SOUTH, BROKEN, options=PLAIN, limits=(15,)),
    scenario(
        "cut anywhere",
        SAY_SOUTH + END,
        BROKEN,
        Outcome(reason="length"),
        Outcome(calls=(SOUTH,)),
        options=PLAIN,
        limits=tuple(range(1, 28)),
        faces=("Gemma",),
    ),
    scenario("cut by a stop text", SAY_SOUTH, BROKEN, options={**PLAIN, "stop": [" south"]}),
    scenario(
        "second call cut",
        SAY_PARIS + SAY_SOUTH,
        Outcome(calls=(PARIS,), invalid=1),
        Outcome(invalid=1, by="SGLang"),  # the whole answer ends with the first call, so that it may be cut, too
        options=PLAIN,
        limits=(35,),
    ),
    scenario(
        "no opening quote",
        notation("search", "query:weather in Tokyo'") + END,
        Outcome(calls=(("search", {"query": "weather in Tokyo"}),)),
        replace(BROKEN, by="SGLang"),  # a stream has nothing of the arguments
        options=PLAIN,
    ),
    scenario(
        "no opening quote, comma", notation("search", "query:Paris, France',limit:5") + END, BROKEN, options=PLAIN
    ),
    scenario("quote within a text", notation("search", "query:'a'b',limit:5") + END, BROKEN, options=PLAIN),
    scenario("no colon", notation("search", "query'Paris',limit:5") + END, BROKEN, options=PLAIN),
    scenario(
        "no name",
        "<|tool_call>get_weather{city:'Paris'}<tool_call|>".replace("'", '<|"|>') + END,
        BROKEN,
        options=PLAIN,
    ),
    scenario(
        "call within a call",
        notation("search", f"query:{notation('now', '')},limit:5") + END,
        BROKEN,
        Outcome(",limit:5}", invalid=1, by="vLLM"),  # a stream has the rest as text
        options=PLAIN,
    ),
    scenario("JSON in a call", notation("get_weather", '"city": "Paris", "days": 3') + END, BROKEN, options=PLAIN),
    scenario(
        "broken, then whole",
        (notation("search", "query'Paris',limit:5") + END, SAY_PARIS + END),
        Outcome(calls=(PARIS,)),
        BROKEN,
        options=PLAIN,
    ),
)

OBJECTS: Final = (
    scenario("object by a schema", IN_JSON, Outcome(IN_JSON), options={"response_format": AS_PERSON}),
    scenario("any object", IN_JSON, Outcome(IN_JSON), options={"response_format": {"type": "json_object"}}),
    scenario(
        "object, cut", IN_JSON, Outcome('{"name"', reason="length"), options={"response_format": AS_PERSON}, limits=(4,)
    ),
    scenario(
        "tools and a schema: call",
        SAY_PARIS + END,
        Outcome(calls=(PARIS,)),
        options={**PLAIN, "response_format": AS_PERSON},
    ),
    scenario("tools and a schema: object", IN_JSON, Outcome(IN_JSON), options={**PLAIN, "response_format": AS_PERSON}),
)

ERRORS: Final = (
    scenario("prompt too long", SUNNY, Outcome(error=ContextOverflow), prompt="sunny " * 9_000),
    scenario("max_tokens over the window", SUNNY, Outcome(error=ContextOverflow), limits=(9_000,)),
    scenario("unknown model", SUNNY, Outcome(error=NotFound), options={"model": "nobody/nothing"}, servers=("vLLM",)),
    scenario(
        "schema that can't be",
        SUNNY,
        Outcome(error=BadRequest),
        options={"response_format": NONSENSE},
        servers=("vLLM",),
    ),
)

SCENARIOS: Final = TEXTS + THOUGHTS + CALLS + SPOILT + OBJECTS + ERRORS
