"""From an answer, whole or still coming, to an object: partial objects grow, the last is whole or a typed error."""

import json
import random
from collections.abc import Iterator
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inline_snapshot import snapshot
from llama_index.core.base.llms.types import ChatResponse
from llama_index.core.program.utils import num_valid_fields
from pydantic import BaseModel, Field, RootModel, field_validator

from cf_gemma import Choice, Completion, InvalidToolCall, TextDelta, ToolCall, ToolCallDelta
from cf_gemma.errors import ReasoningBudgetExceeded
from llama_index_cf_gemma import InvalidOutput
from llama_index_cf_gemma.responses import StreamedChat, chat_response
from llama_index_cf_gemma.schema import answer_format, strict_schema
from llama_index_cf_gemma.structured import StructuredAnswer


class Toy(BaseModel):
    name: str
    kind: Literal["ball", "bone"] = "ball"


class Dog(BaseModel):
    """A dog."""

    name: str
    age: int
    toys: list[Toy] = []
    nick: str | None = None

    @field_validator("age")
    @classmethod
    def plausible(cls, age: int) -> int:
        """A rule that no schema says."""
        if age > 40:
            raise ValueError("no dog is that old")
        return age


REX = '{"name": "Rex", "age": 3, "toys": [{"name": "Bo", "kind": "bone"}], "nick": null}'


def response(text: str, **choice: object) -> ChatResponse:
    """The response to a whole answer."""
    choice.setdefault("finish_reason", "stop")
    return chat_response(Completion((Choice(text=text, **choice),)))


def stream_of(text: str, sizes: random.Random) -> Iterator[ChatResponse]:
    """The responses to an answer that comes in pieces of any size."""
    translate = StreamedChat()
    rest = text
    while rest:
        size = sizes.randint(1, 6)
        yield translate(TextDelta(rest[:size]))
        rest = rest[size:]
    yield translate(Completion((Choice(text=text, finish_reason="stop"),)))


@pytest.mark.parametrize(
    "text",
    [
        REX,
        f"```json\n{REX}\n```",
        f"```\n{REX}```",
        f"Here is your dog:\n{REX}\nEnjoy!",
        f"Sure!\n```json\n{REX}\n```\nAnything else?",
    ],
    ids=["plain", "fence", "bare-fence", "courtesies", "fence-and-courtesies"],
)
def test_json_in_its_wrappings(text: str) -> None:
    """The object is read whether or not the model wrapped it in a fence or in courtesies."""
    assert StructuredAnswer(Dog).result(response(text)) == Dog(
        name="Rex", age=3, toys=[Toy(name="Bo", kind="bone")], nick=None
    )


def test_tool_arguments_are_read_first() -> None:
    """When the model called the tool, its arguments are the object."""
    call = ToolCall("c", "Dog", REX, json.loads(REX))
    assert StructuredAnswer(Dog).result(response("Calling.", calls=(call,))).name == "Rex"


@pytest.mark.parametrize("text", ["", "I can't.", "{}", '{"name": "Rex"}', '{"name": "Rex", "age": 300}'])
def test_what_is_no_dog(text: str) -> None:
    """Not JSON, a missing field, a validator that says no: a typed error that is a ValueError, with the answer."""
    with pytest.raises(InvalidOutput, match="the answer is not a Dog") as caught:
        StructuredAnswer(Dog).result(response(text))
    assert isinstance(caught.value, ValueError)
    assert caught.value.partial.text == text


def test_a_cut_answer_says_so() -> None:
    """The limit that was hit is named, not a JSON error."""
    with pytest.raises(InvalidOutput, match=r"the Dog was cut off by max_tokens.*raise max_tokens"):
        StructuredAnswer(Dog).result(response(REX[:30], finish_reason="length"))


def test_a_cut_tool_call_says_so() -> None:
    """The same where the object was to come as a tool call."""
    cut = InvalidToolCall("c", "Dog", REX[:30], "cut off")
    with pytest.raises(InvalidOutput, match="the Dog was cut off by max_tokens"):
        StructuredAnswer(Dog).result(response("", calls=(cut,), finish_reason="length"))


def test_a_budget_eaten_by_thinking() -> None:
    """Thinking that left nothing is named as what it is."""
    with pytest.raises(ReasoningBudgetExceeded):
        StructuredAnswer(Dog).result(response("", reasoning="hm", finish_reason="length"))


def test_a_whole_object_at_the_limit() -> None:
    """An object that is whole is returned even if the model went on until the limit."""
    assert StructuredAnswer(Dog).result(response(REX + "   \n\n", finish_reason="length")).name == "Rex"


@given(st.randoms(use_true_random=False))
def test_partial_objects_only_grow(sizes: random.Random) -> None:
    """Wherever the text is cut: no partial is poorer than the one before, and the strings are beginnings."""
    answer = StructuredAnswer(Dog)
    partials = [partial for response in stream_of(REX, sizes) if (partial := answer.partial(response)) is not None]
    richness = [num_valid_fields(partial) for partial in partials]
    assert richness == sorted(richness)
    assert richness[0] > 0
    for partial in partials:
        assert "Rex".startswith(partial.name or "")
        assert partial.age in (None, 3)
        for toy in partial.toys or ():
            assert "Bo".startswith(toy.get("name", ""))
    assert partials[-1].model_dump() == json.loads(REX)


def test_a_number_shows_when_it_is_whole() -> None:
    """Half a number is another number: it is held back until what follows shows that it ended."""
    answer = StructuredAnswer(Dog)
    translate = StreamedChat()
    shown = [answer.partial(translate(TextDelta(text))) for text in ('{"name": "A1', '23", "age": 1', "2", ', "nick"')]
    assert [partial and (partial.name, partial.age) for partial in shown] == [
        ("A1", None),
        ("A123", None),
        None,
        ("A123", 12),
    ]


def test_a_poorer_object_is_not_shown() -> None:
    """A model that begins a field again doesn't make what was shown disappear, and nulls alone are no object."""
    answer = StructuredAnswer(Dog)
    translate = StreamedChat()
    texts = ['{"nick": null, ', '"toys": [{"name": "Bo"}], ', '"toys": [', '{"name": "Bo"}, {"name": "Ki"}]']
    shown = [answer.partial(translate(TextDelta(text))) for text in texts]
    assert [partial and len(partial.toys) for partial in shown] == [None, 1, None, 2]


def test_partial_tool_arguments() -> None:
    """A forced call's arguments grow into the object too."""
    answer = StructuredAnswer(Dog)
    translate = StreamedChat()
    shown = [
        answer.partial(translate(ToolCallDelta(0, "c", "Dog", '{"name": "Re'))),
        answer.partial(translate(ToolCallDelta(0, arguments='x", '))),
    ]
    assert [partial.name for partial in shown] == ["Re", "Rex"]


def test_partial_objects_go_by_field_names() -> None:
    """An alias on the wire is the field's own name in the partial object, as in the last one."""

    class Aliased(BaseModel):
        first_name: Annotated[str, Field(alias="firstName")]

    partial = StructuredAnswer(Aliased).partial(response('{"firstName": "Re'))
    assert partial.first_name == "Re"


def test_a_root_model() -> None:
    """A list is an answer too; it shows when it is whole."""

    class Names(RootModel[list[str]]):
        pass

    answer = StructuredAnswer(Names)
    assert answer.partial(response('["Rex", "B')) is None
    assert answer.result(response('["Rex", "Bo"]')) == Names(["Rex", "Bo"])
    assert answer_format(Names)["json_schema"]["schema"]["type"] == "array"


@pytest.mark.parametrize("text", ["", "Sure", "[1, 2]", "{", '{"'])
def test_nothing_to_show_yet(text: str) -> None:
    """Before the first field there is no object: no blank ones are shown."""
    assert StructuredAnswer(Dog).partial(response(text)) is None


def test_the_schema() -> None:
    """Every object is closed and requires all its fields; nested classes, enums and descriptions stay."""
    assert answer_format(Dog) == snapshot(
        {
            "type": "json_schema",
            "json_schema": {
                "name": "Dog",
                "schema": {
                    "$defs": {
                        "Toy": {
                            "properties": {
                                "name": {"title": "Name", "type": "string"},
                                "kind": {"enum": ["ball", "bone"], "title": "Kind", "type": "string"},
                            },
                            "required": ["name", "kind"],
                            "title": "Toy",
                            "type": "object",
                            "additionalProperties": False,
                        }
                    },
                    "description": "A dog.",
                    "properties": {
                        "name": {"title": "Name", "type": "string"},
                        "age": {"title": "Age", "type": "integer"},
                        "toys": {"items": {"$ref": "#/$defs/Toy"}, "title": "Toys", "type": "array"},
                        "nick": {"anyOf": [{"type": "string"}, {"type": "null"}], "title": "Nick"},
                    },
                    "required": ["name", "age", "toys", "nick"],
                    "title": "Dog",
                    "type": "object",
                    "additionalProperties": False,
                },
                "strict": True,
            },
        }
    )


def test_the_schema_leaves_the_original_alone() -> None:
    """A caller's schema, and the class's own, are not changed; open dicts stay open."""
    schema = {"type": "object", "properties": {"m": {"type": "object", "additionalProperties": {"type": "string"}}}}
    before = json.dumps(schema)
    assert strict_schema(schema)["properties"]["m"] == {"type": "object", "additionalProperties": {"type": "string"}}
    assert json.dumps(schema) == before


def test_the_schema_s_name() -> None:
    """Generic classes have brackets in their names; the service takes letters, digits, - and _."""

    class Box(BaseModel):
        model_config = {"title": "Box[int] " + "x" * 80}

    name = answer_format(Box)["json_schema"]["name"]
    assert name.startswith("Box_int_")
    assert len(name) == 64
