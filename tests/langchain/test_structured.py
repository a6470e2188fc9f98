"""Structured output: three methods, every kind of schema, whole and streamed, and what isn't whole."""

from __future__ import annotations

import json
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any, TypedDict

import pytest
from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from pydantic import BaseModel, Field
from pydantic.v1 import BaseModel as BaseModelV1

from cf_gemma import errors
from cf_gemma.emulator import Fault, Reply, ToolCallSpec
from langchain_cf_gemma import ChatCloudflareGemma
from langchain_cf_gemma.errors import GemmaError, IncompleteOutput, QuotaExhausted
from langchain_cf_gemma.tools import to_tools

if TYPE_CHECKING:
    from tests.langchain.conftest import Emulate, Emulated

METHODS = ("json_schema", "function_calling", "json_mode")
JOKE = {"setup": "Why did the cat sit on the socket?", "punchline": "It heard the emulator."}


class Joke(BaseModel):
    """A joke."""

    setup: str
    punchline: str
    rating: int | None = Field(default=None, ge=1)


class JokeV1(BaseModelV1):
    """A joke."""

    setup: str
    punchline: str


class JokeDict(TypedDict):
    """A joke."""

    setup: str
    punchline: str


JOKE_SCHEMA = {
    "title": "Joke",
    "description": "A joke.",
    "type": "object",
    "properties": {"setup": {"type": "string"}, "punchline": {"type": "string"}},
    "required": ["setup", "punchline"],
}
SCHEMAS: dict[str, Any] = {"pydantic": Joke, "pydantic v1": JokeV1, "typeddict": JokeDict, "json schema": JOKE_SCHEMA}


def reply(method: str, arguments: Any = JOKE, **facts: Any) -> Reply:
    """An answer in the form that the method asks for."""
    if method == "function_calling":
        return Reply(tool_calls=[ToolCallSpec("Joke", arguments)], **facts)
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return Reply([text[i : i + 7] for i in range(0, len(text), 7)], **facts)


def as_dict(joke: Any) -> dict[str, Any]:
    """The joke without what wasn't said."""
    if isinstance(joke, Joke):
        return joke.model_dump(exclude_none=True)
    return joke.dict() if isinstance(joke, JokeV1) else joke


def named(schema: Any, method: str) -> Any:
    """The answer's tool bears the schema's own name."""
    name = {JokeV1: "JokeV1", JokeDict: "JokeDict"}.get(schema, "Joke") if isinstance(schema, type) else "Joke"
    if method != "function_calling":
        return reply(method)
    return Reply(tool_calls=[ToolCallSpec(name, JOKE)])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
async def test_whole_and_streamed(emulate: Emulate, schema: Any, method: Any) -> None:
    """Every method gives an object of the schema, a class's own or else a dict; streams end with the same object."""
    emulated = emulate([named(schema, method)] * 4)
    structured = emulated.model.with_structured_output(schema, method=method)
    jokes = [structured.invoke("A joke!"), await structured.ainvoke("A joke!")]
    jokes += [list(structured.stream("A joke!"))[-1], [part async for part in structured.astream("A joke!")][-1]]
    expected = schema if isinstance(schema, type) and issubclass(schema, BaseModel | BaseModelV1) else dict
    for joke in jokes:
        assert isinstance(joke, expected)
        assert as_dict(joke) == JOKE


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("schema", [JOKE_SCHEMA, JokeDict], ids=["json schema", "typeddict"])
async def test_partial_objects(emulate: Emulate, schema: Any, method: Any) -> None:
    """A stream shows the object as it grows."""
    emulated = emulate([named(schema, method)], tool_calls="fragments")
    parts = list(emulated.model.with_structured_output(schema, method=method).stream("A joke!"))
    assert len(parts) > 2
    assert any(part.keys() == {"setup"} for part in parts)
    assert parts[-1] == JOKE


@pytest.mark.parametrize("method", METHODS)
async def test_request(emulate: Emulate, method: Any) -> None:
    """What is sent: the schema as format or as forced tool, and thinking off, unless it was asked for."""
    emulated = emulate([reply(method)] * 3)
    emulated.model.with_structured_output(Joke, method=method).invoke("A joke!")
    body = emulated.body
    assert body["chat_template_kwargs"]["enable_thinking"] is False
    if method == "function_calling":
        assert body["tool_choice"] == {"type": "function", "function": {"name": "Joke"}}
        assert body["parallel_tool_calls"] is False
        assert "response_format" not in body
    elif method == "json_schema":
        wanted = body["response_format"]["json_schema"]
        assert wanted["name"] == "Joke"
        assert wanted["schema"]["required"] == ["setup", "punchline"]
        assert "strict" not in wanted
    else:
        assert body["response_format"] == {"type": "json_object"}
    emulated.model.with_structured_output(Joke, method=method, thinking=True).invoke("A joke!")
    assert emulated.body["chat_template_kwargs"]["enable_thinking"] is True
    emulated.model.thinking = True
    emulated.model.with_structured_output(Joke, method=method).invoke("A joke!")
    assert emulated.body["chat_template_kwargs"]["enable_thinking"] is True


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
async def test_strict(emulate: Emulate, method: Any) -> None:
    """`strict` goes out with the schema, which is then closed to other fields."""
    emulated = emulate([reply(method)])
    emulated.model.with_structured_output(Joke, method=method, strict=True).invoke("A joke!")
    body = emulated.body
    if method == "json_schema":
        wanted = body["response_format"]["json_schema"]
        schema = wanted["schema"]
    else:
        wanted = body["tools"][0]["function"]
        schema = wanted["parameters"]
    assert wanted["strict"] is True
    assert schema["additionalProperties"] is False


async def test_fenced_answer(emulate: Emulate) -> None:
    """JSON in a Markdown fence is taken for what it is, and the message holds it without the fence."""
    fenced = f"```json\n{json.dumps(JOKE)}\n```"
    emulated = emulate([Reply(fenced), Reply(fenced)])
    structured = emulated.model.with_structured_output(Joke, include_raw=True)
    answer = structured.invoke("A joke!")
    assert as_dict(answer["parsed"]) == json.loads(answer["raw"].content) == JOKE
    assert as_dict(list(emulated.model.with_structured_output(Joke).stream("A joke!"))[-1]) == JOKE


@pytest.mark.parametrize("method", METHODS)
async def test_include_raw(emulate: Emulate, method: Any) -> None:
    """`include_raw` gives the message beside the object, and the error instead of raising it."""
    emulated = emulate([reply(method), reply(method, '{"setup": "Why', finish_reason="length")])
    structured = emulated.model.with_structured_output(Joke, method=method, include_raw=True)
    good = structured.invoke("A joke!")
    assert isinstance(good["raw"], AIMessage)
    assert as_dict(good["parsed"]) == JOKE
    assert good["parsing_error"] is None
    bad = structured.invoke("A joke!")
    assert isinstance(bad["raw"], AIMessage)
    assert bad["parsed"] is None
    assert isinstance(bad["parsing_error"], IncompleteOutput)


def consume(emulated: Emulated, method: Any, way: str) -> None:
    """Asks for a joke, whole or streamed."""
    structured = emulated.model.with_structured_output(JOKE_SCHEMA, method=method, thinking=True)
    _ = structured.invoke("A joke!") if way == "invoke" else list(structured.stream("A joke!"))


@pytest.mark.parametrize("way", ["invoke", "stream"])
@pytest.mark.parametrize("method", METHODS)
async def test_cut_answer(emulate: Emulate, method: Any, way: str) -> None:
    """An answer that `max_tokens` cut off raises, whole or streamed, and says after how many tokens."""
    emulated = emulate([reply(method, '{"setup": "Why', finish_reason="length", usage=(10, 321))])
    with pytest.raises(OutputParserException, match=r"cut off at max_tokens \(321 tokens\)"):
        consume(emulated, method, way)


CUTS = [
    '{"setup": "Why", "punchline": "It hea',
    '```json\n{"setup": "Why", "punchline": "It hea',
    '{"setup": "Why", "punchline": "It is ```{}```',
    '{"setup": "Why", "punchline": "It heard."',
    '{"setup": "Why", "punchline": "It\nheard.\\',
]


@pytest.mark.parametrize("way", ["invoke", "stream"])
@pytest.mark.parametrize("method", ["json_schema", "json_mode"])
@pytest.mark.parametrize("schema", [Joke, JOKE_SCHEMA], ids=["pydantic", "json schema"])
async def test_answer_that_breaks_off(emulate: Emulate, schema: Any, method: Any, way: str) -> None:
    """JSON that breaks off is never mended and passed for whole, whatever the service says of how it ended."""
    answers = [(cut, reason) for cut in CUTS for reason in ("stop", "content_filter", "length")]
    emulated = emulate([Reply([cut[:9], cut[9:20], cut[20:]], finish_reason=reason) for cut, reason in answers])
    structured = emulated.model.with_structured_output(schema, method=method)
    for cut, reason in answers:
        shown: list[Any] = []
        with pytest.raises(IncompleteOutput) as caught:
            shown += [structured.invoke("A joke!")] if way == "invoke" else structured.stream("A joke!")
        assert caught.value.partial is not None
        assert cut.endswith(caught.value.partial.text)
        assert caught.value.partial.finish_reason == reason


async def test_answer_that_a_stop_text_cuts(emulate: Emulate) -> None:
    """A stop text of the caller's within the JSON is an error that says so; partial objects came before it."""
    text = json.dumps(JOKE)
    emulated = emulate([Reply(text[:60].split()), Reply(text[:60])], stop=["emulator"])
    structured = emulated.model.with_structured_output(JOKE_SCHEMA)
    shown: list[Any] = []
    with pytest.raises(IncompleteOutput, match="stop text"):
        shown.extend(structured.stream("A joke!"))
    assert shown
    with pytest.raises(IncompleteOutput, match="stop text"):
        structured.invoke("A joke!")


@pytest.mark.parametrize(
    "written",
    ["{}", "```json\n{}\n```", "```\n{}\n```", "Sure!\n```json\n{}\n```", "{}\nHope you like it :)", "\n {}"],
)
async def test_courtesies_around_an_answer(emulate: Emulate, written: str) -> None:
    """A whole object is taken for whole, with a fence or a courtesy around it, too."""
    emulated = emulate([written.replace("{}", json.dumps(JOKE))] * 2)
    structured = emulated.model.with_structured_output(JOKE_SCHEMA)
    assert structured.invoke("A joke!") == list(structured.stream("A joke!"))[-1] == JOKE


async def test_line_break_within_a_text(emulate: Emulate) -> None:
    """A line break that the model didn't escape cuts nothing off."""
    structured = emulate(['{"setup": "Why\n?", "punchline": "Hm."}']).model.with_structured_output(JOKE_SCHEMA)
    assert structured.invoke("A joke!") == {"setup": "Why\n?", "punchline": "Hm."}


async def test_answer_that_is_no_json(emulate: Emulate) -> None:
    """An answer that isn't JSON at all wasn't cut off: it is LangChain's parser that says what it is."""
    emulated = emulate(["I can't think of one.", '{"setup": 1]]'])
    structured = emulated.model.with_structured_output(Joke)
    for _ in range(2):
        with pytest.raises(OutputParserException) as caught:
            structured.invoke("A joke!")
        assert not isinstance(caught.value, IncompleteOutput)


@pytest.mark.parametrize("way", ["invoke", "stream", "include_raw"])
@pytest.mark.parametrize("method", METHODS)
async def test_error_holds_what_had_arrived(emulate: Emulate, method: Any, way: str) -> None:
    """The errors of structured output hold the answer so far, its usage, and the id to quote to Cloudflare."""
    cut = reply(method, '{"setup": "Why', finish_reason="length", usage=(10, 321))
    spent = Reply("", reasoning="Hm, so", finish_reason="length", usage=(10, 321))
    emulated = emulate([cut, spent])
    for kind in (IncompleteOutput, errors.ReasoningBudgetExceeded):
        if way == "include_raw":
            structured = emulated.model.with_structured_output(Joke, method=method, thinking=True, include_raw=True)
            error = structured.invoke("A joke!")["parsing_error"]
        else:
            with pytest.raises(kind) as caught:
                consume(emulated, method, way)
            error = caught.value
        assert isinstance(error, kind)
        assert isinstance(error, GemmaError)
        partial, message = error.partial, error.partial_message
        assert partial is not None
        assert partial.usage is not None
        assert message is not None
        assert partial.usage.completion_tokens == 321
        assert error.request_id == partial.request_id == message.response_metadata["request_id"]
        assert error.request_id in str(error)
        if kind is IncompleteOutput and method == "function_calling":
            assert partial.invalid_tool_calls[0].arguments.startswith('{"setup": "Why')
        else:
            assert (partial.text, partial.reasoning) in {('{"setup": "Why', ""), ("", "Hm, so")}


class Named(BaseModel):
    """A joke under a name that can't be sent."""

    model_config = {"title": "My Joke (v2)" + "!" * 60}
    setup: str
    punchline: str


@pytest.mark.parametrize("schema", [Named, Named.model_json_schema()], ids=["pydantic", "json schema"])
@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
async def test_odd_title(emulate: Emulate, schema: Any, method: Any) -> None:
    """A title that can't be sent as a name is changed on the wire, and the answer to it understood."""
    name = ("My_Joke__v2_" + "_" * 60)[:64]
    answer = Reply(tool_calls=[ToolCallSpec(name, JOKE)]) if method == "function_calling" else reply(method)
    emulated = emulate([answer] * 2)
    structured = emulated.model.with_structured_output(schema, method=method)
    for joke in (structured.invoke("A joke!"), list(structured.stream("A joke!"))[-1]):
        assert (joke.model_dump() if isinstance(joke, Named) else joke) == JOKE
    if method == "json_schema":
        assert emulated.body["response_format"]["json_schema"]["name"] == name
    else:
        assert emulated.body["tools"][0]["function"]["name"] == name
        assert emulated.body["tool_choice"]["function"]["name"] == name


@pytest.mark.parametrize("way", ["invoke", "stream"])
@pytest.mark.parametrize("method", METHODS)
async def test_budget_eaten_by_thinking(emulate: Emulate, method: Any, way: str) -> None:
    """Thinking that leaves no room for an answer raises its own error, with the number and the remedy."""
    emulated = emulate([Reply("", reasoning="Hm", finish_reason="length", usage=(10, 321))])
    with pytest.raises(errors.ReasoningBudgetExceeded, match=r"321 tokens.*thinking=False"):
        consume(emulated, method, way)


@pytest.mark.parametrize("way", ["invoke", "stream"])
@pytest.mark.parametrize("method", ["json_schema", "json_mode"])
async def test_empty_answer(emulate: Emulate, method: Any, way: str) -> None:
    """An empty answer raises instead of passing for None."""
    emulated = emulate([Reply("", finish_reason="stop")])
    with pytest.raises(IncompleteOutput, match="without a structured answer"):
        consume(emulated, method, way)


@pytest.mark.parametrize("way", ["invoke", "stream"])
@pytest.mark.parametrize("reply", ["No.", Reply(tool_calls=[ToolCallSpec("Riddle", JOKE)])], ids=["text", "other call"])
async def test_call_that_is_not_made(emulate: Emulate, reply: Any, way: str) -> None:
    """A forced call that the model ignores, twice, or makes of another tool, raises instead of passing for None."""
    emulated = emulate([reply, reply], max_retries=2)
    with pytest.raises(errors.ToolChoiceNotHonoured) as caught:
        consume(emulated, "function_calling", way)
    assert isinstance(caught.value, GemmaError)


@pytest.mark.parametrize("way", ["invoke", "stream"])
@pytest.mark.parametrize("schema", [Joke, JokeV1], ids=["pydantic", "pydantic v1"])
@pytest.mark.parametrize("method", METHODS)
async def test_answer_that_does_not_match(emulate: Emulate, method: Any, schema: Any, way: str) -> None:
    """An answer that isn't what the class demands raises LangChain's parser error, streamed or not."""
    name = schema.__name__
    short = {"setup": "Why?"}
    emulated = emulate([Reply(tool_calls=[ToolCallSpec(name, short)]) if method == METHODS[1] else json.dumps(short)])
    structured = emulated.model.with_structured_output(schema, method=method)
    with pytest.raises(OutputParserException, match="punchline"):
        _ = structured.invoke("A joke!") if way == "invoke" else list(structured.stream("A joke!"))


@pytest.mark.parametrize("way", ["invoke", "stream"])
@pytest.mark.parametrize("method", ["json_schema", "json_mode"])
async def test_answer_that_is_none(emulate: Emulate, method: Any, way: str) -> None:
    """The JSON text null raises instead of passing for None."""
    emulated = emulate(["null"])
    with pytest.raises(OutputParserException, match="holds no object"):
        consume(emulated, method, way)


def test_bad_arguments() -> None:
    """No schema, a schema without a title, an unknown method: refused at once, with the remedy."""
    model = ChatCloudflareGemma(account_id="acct", api_token="token")
    with pytest.raises(errors.InvalidRequest, match="needs a schema"):
        model.with_structured_output()
    with pytest.raises(errors.InvalidRequest, match="json_mode"):
        model.with_structured_output(Joke, method="yaml")  # pyright: ignore[reportArgumentType]  # that's the point
    for method in ("json_schema", "function_calling"):
        with pytest.raises(ValueError, match="title"):
            model.with_structured_output({"type": "object", "properties": {}}, method=method)


class Tree(BaseModel):
    """A tree."""

    name: str
    children: list[Tree] = []


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
async def test_what_recurs_stays_whole(emulate: Emulate, method: Any) -> None:
    """Pydantic's own schema goes out: below the first level, too, the answer is held to it."""
    text = '{"name": "a", "children": [{"name": "b", "children": []}]}'
    call = Reply(tool_calls=[ToolCallSpec("Tree", text)])
    emulated = emulate([call if method == "function_calling" else text])
    tree = emulated.model.with_structured_output(Tree, method=method).invoke("A tree!")
    assert tree == Tree(name="a", children=[Tree(name="b")])
    if method == "json_schema":
        (schema,) = Tree.model_json_schema()["$defs"].values()
        assert emulated.body["response_format"]["json_schema"]["schema"] == {**schema, "$defs": {"Tree": schema}}
    else:
        (tool,) = to_tools([Tree])
        assert tool["function"]["parameters"]["properties"]["children"]["items"] == {"$ref": "#/$defs/Tree"}


@pytest.mark.parametrize("method", METHODS)
async def test_a_stream_with_its_parsing_error(emulate: Emulate, method: Any) -> None:
    """A stream with `include_raw` has the message and the error, as a whole answer does, instead of raising it."""
    cut = reply(method, '{"setup": "Why', finish_reason="length")
    emulated = emulate([cut, cut, reply(method), reply(method)])
    structured = emulated.model.with_structured_output(Joke, method=method, include_raw=True)
    for expected in (IncompleteOutput, type(None)):
        for chunks in ([chunk async for chunk in structured.astream("A joke!")], list(structured.stream("A joke!"))):
            whole = {name: value for chunk in chunks for name, value in chunk.items()}
            raw = [chunk["raw"] for chunk in chunks if "raw" in chunk]
            assert reduce(add, raw).response_metadata["finish_reason"]
            assert isinstance(whole["parsing_error"], expected)
            assert (whole["parsed"] is None) == (expected is IncompleteOutput)


async def test_a_call_that_fails_is_no_parsing_error(emulate: Emulate) -> None:
    """With `include_raw`, what is wrong with the call itself is raised, streamed or not."""
    emulated = emulate([Fault(429, 3036)] * 2)
    structured = emulated.model.with_structured_output(Joke, include_raw=True)
    with pytest.raises(QuotaExhausted):
        structured.invoke("A joke!")
    with pytest.raises(QuotaExhausted):
        list(structured.stream("A joke!"))


@tool
def look_up(word: str) -> str:
    """Looks a word up."""
    return word


async def test_tools_beside_a_schema(emulate: Emulate) -> None:
    """`tools` in any form beside a schema: a call gives None, and is in the raw message; a text gives the object."""
    call = Reply(tool_calls=[ToolCallSpec("look_up", {"word": "joke"})])
    emulated = emulate([call, reply("json_schema"), call])
    structured = emulated.model.with_structured_output(Joke, tools=[look_up], include_raw=True)
    first, second = structured.invoke("A joke!"), structured.invoke("A joke!")
    assert (first["parsed"], first["parsing_error"]) == (None, None)
    assert first["raw"].tool_calls[0]["name"] == "look_up"
    assert as_dict(second["parsed"]) == JOKE
    assert emulated.model.with_structured_output(Joke, tools=[look_up]).invoke("A joke!") is None
    assert "response_format" not in emulated.body


async def test_a_class_as_response_format(emulate: Emulate) -> None:
    """`bind(response_format=…)` takes what `with_structured_output` takes."""
    emulated = emulate([reply("json_schema")])
    emulated.model.bind(response_format=Joke).invoke("A joke!")
    assert emulated.body["response_format"]["json_schema"]["name"] == "Joke"
