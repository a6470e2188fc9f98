from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cf_gemma.errors import GemmaError, InvalidRequest, UnsupportedContent
from cf_gemma.request.history import LATE_RESULT, NO_RESULT
from cf_gemma.request.messages import wire_messages
from tests.request.images import data_url, picture
from tests.request.template import REVISIONS, rendered

Message = dict[str, Any]

PNG = data_url(picture())
IMAGE = {"type": "image_url", "image_url": {"url": PNG}}
TEXT = {"type": "text", "text": "hi"}
CALL = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
USER = {"role": "user", "content": "hi"}
SYSTEM = {"role": "system", "content": "be"}
SAID = {"role": "assistant", "content": "a"}
LOW = {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}}


def user(*parts: Message) -> Message:
    """A user turn of parts."""
    return {"role": "user", "content": list(parts)}


def _called_with(arguments: Any) -> Message:
    return CALL | {"function": {"name": "f", "arguments": arguments}}


def called(**more: Any) -> Message:
    """An assistant turn with a call."""
    return {"role": "assistant", "content": "", "tool_calls": [CALL], **more}


def result(content: Any, call: str = "a", **more: Any) -> Message:
    """A tool turn."""
    return {"role": "tool", "tool_call_id": call, "content": content, **more}


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        pytest.param("hi", [USER], id="a text"),
        pytest.param([SYSTEM, USER], [SYSTEM, USER], id="system"),
        pytest.param([{"role": "developer", "content": "be"}, USER], [{"role": "developer", "content": "be"}, USER],
                     id="developer"),
        pytest.param([USER | {"name": None}], [USER], id="nulls"),
        pytest.param([USER | {"name": "ann"}], [USER | {"name": "ann"}], id="name"),
        pytest.param([{"role": "user", "content": ""}], [{"role": "user", "content": ""}], id="empty text"),
        pytest.param([user(TEXT)], [USER], id="one text part"),
        pytest.param([user(TEXT, TEXT)], [{"role": "user", "content": "hi\nhi"}], id="text parts"),
        pytest.param([SYSTEM | {"content": []}, USER], [SYSTEM | {"content": ""}, USER], id="no parts"),
        pytest.param([user(IMAGE, TEXT)], [user(IMAGE, TEXT)], id="image"),
        pytest.param([user({"type": "image_url", "image_url": PNG})],
                     [user(IMAGE)], id="image as a bare text"),
        pytest.param([user({"type": "image_url", "image_url": {"url": picture(), "detail": "low"}})],
                     [user(LOW)], id="image as bytes"),
        pytest.param([user({"type": "image_url", "image_url": {"url": PNG.partition(",")[2]}})],
                     [user(IMAGE)], id="image as base64"),
        pytest.param([user(LOW)],
                     [user(LOW)],
                     id="detail"),
        pytest.param([user(TEXT | {"cache_control": {}}, IMAGE)],
                     [user(TEXT, IMAGE)], id="a part's other keys"),
        pytest.param([USER, SAID | {"content": None}], [USER, SAID | {"content": ""}],
                     id="assistant null"),
        pytest.param([USER, {"role": "assistant"}], [USER, SAID | {"content": ""}], id="assistant without"),
        pytest.param([USER, SAID | {"tool_calls": []}],
                     [USER, SAID], id="no calls"),
        pytest.param([USER, SAID | {"tool_calls": None, "audio": None, "function_call": None}],
                     [USER, SAID], id="a reply sent back"),
        pytest.param([USER, {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}],
                     [USER, {"role": "assistant", "content": "no"}], id="refusal"),
        pytest.param([USER, called(content=None), result("7")], [USER, called(), result("7")], id="tool loop"),
        pytest.param([USER, called(), result([TEXT, TEXT], name="f")], [USER, called(), result("hi\nhi", name="f")],
                     id="tool text parts"),
        pytest.param([USER, called(), {"role": "function", "name": "f", "content": "7"}],
                     [USER, called(), result("7", name="f")], id="function"),
        pytest.param([user(TEXT, TEXT, IMAGE, TEXT, {"type": "text", "text": "  x"})],
                     [user({"type": "text", "text": "hi\nhi"}, IMAGE, {"type": "text", "text": "hi\n  x"})],
                     id="texts beside an image"),
        pytest.param([USER, called()], [USER, called(), result(NO_RESULT)], id="no result"),
        pytest.param([USER, called(), USER], [USER, called(), result(NO_RESULT), USER], id="no result, gone on"),
        pytest.param([USER, called(tool_calls=[CALL, CALL | {"id": "b"}, CALL | {"id": "c"}]), result("3", "c"),
                      result("1")],
                     [USER, called(tool_calls=[CALL, CALL | {"id": "b"}, CALL | {"id": "c"}]), result("1"),
                      result(NO_RESULT, "b"), result("3", "c")], id="results in the order of the calls"),
        pytest.param([USER, called(tool_calls=[CALL, CALL]), result("1"), result("2")],
                     [USER, called(tool_calls=[CALL, CALL]), result("1"), result("2")], id="one id twice"),
        pytest.param([USER, result("7")], [USER, {"role": "user", "content": f"{LATE_RESULT}\n7"}], id="no call"),
        pytest.param([USER, called(), result("7"), result("8"), result([IMAGE, TEXT], "z")],
                     [USER, called(), result("7"), {"role": "user", "content": f"{LATE_RESULT}\n8"},
                      user({"type": "text", "text": LATE_RESULT}, IMAGE, TEXT)], id="results of no call"),
        pytest.param([USER, called(), USER, result("7")],
                     [USER, called(), result(NO_RESULT), USER, {"role": "user", "content": f"{LATE_RESULT}\n7"}],
                     id="a late result"),
    ],
)  # fmt: skip
def test_messages(value: str | list[Message], sent: list[Message]) -> None:
    """Messages go out as the service takes them, and nothing of the caller's own is changed."""
    before = copy.deepcopy(value)
    assert wire_messages(value) == sent
    assert value == before


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        ({"x": 1}, '{"x":1}'),
        ('{"x": 1}', '{"x": 1}'),
        (None, "{}"),
        ("", "{}"),
        ("null", "{}"),
        ('{"x": 1', '{"invalid":"{\\"x\\": 1"}'),
        ('"text"', '{"invalid":"\\"text\\""}'),
        ("[1]", '{"invalid":"[1]"}'),
        ([1], '{"invalid":"[1]"}'),
        (7, '{"invalid":"7"}'),
        ('{"x": NaN}', '{"invalid":"{\\"x\\": NaN}"}'),
        ({"x": float("nan")}, '{"invalid":"{\\"x\\":NaN}"}'),
        ("[" * 5_000, json.dumps({"invalid": "[" * 5_000}, separators=(",", ":"))),
    ],
)
def test_arguments_of_past_calls_are_objects(arguments: Any, sent: str) -> None:
    """Servers refuse a whole conversation for arguments that aren't; what the model wrote is still to be read."""
    _, turn, _ = wire_messages([USER, called(tool_calls=[_called_with(arguments)])])
    assert turn["tool_calls"][0]["function"]["arguments"] == sent
    assert isinstance(json.loads(sent), dict)


def test_arguments_that_are_python_objects() -> None:
    """They are shown as well as can be."""
    _, turn, _ = wire_messages([USER, called(tool_calls=[_called_with({"x": {1}, "y": object})])])
    assert json.loads(turn["tool_calls"][0]["function"]["arguments"]).keys() == {"invalid"}


LOOP = [
    SYSTEM,
    USER,
    called(content="Let me look.", reasoning_content="Hm."),
    result("sunny"),
    called(content="And there.", tool_calls=[CALL | {"id": "b"}, CALL | {"id": "c"}]),
    result("rain", "c"),
]


@pytest.mark.parametrize("revision", REVISIONS)
@pytest.mark.parametrize("end", [4, 6])
def test_the_prompt_ends_where_the_model_goes_on(revision: str, end: int) -> None:
    """In a running loop with text beside its calls, the model's turn is open at the end, in every revision."""
    prompt = rendered(
        {"messages": wire_messages(LOOP[:end]), "chat_template_kwargs": {"enable_thinking": True}}, revision
    )
    model = prompt[prompt.rindex("<|turn>") :]
    assert prompt.count("<|tool_response>") == prompt.count("<tool_response|>")
    assert "<turn|>" not in model
    assert model.startswith("<|turn>model\n")
    if revision != "gemma4_v2":  # the first prints no results of this shape within the turn, and no reasoning
        assert model.startswith("<|turn>model\n<|channel>thought\nHm.\nLet me look.\n<channel|><|tool_call>call:f{}")
        assert ("thought\nAnd there.\n<channel|>" in model) is (end == 6)


def test_text_beside_calls_of_earlier_loops_stays() -> None:
    """Reasoning isn't printed there, text is."""
    sent = wire_messages([*LOOP, USER])
    assert [turn["content"] for turn in sent if turn["role"] == "assistant"] == ["Let me look.", "And there."]


def test_images_of_tool_results_follow_in_one_user_message() -> None:
    """Only user messages may have images, so those of a run of results follow it, each told which call it is from."""
    two, third = called(tool_calls=[CALL, CALL | {"id": "b"}]), called(tool_calls=[CALL | {"id": "c"}])
    value = [USER, two, result([TEXT, IMAGE], name="f"), result([IMAGE], "b"), USER, third, result([IMAGE], "c")]
    before = copy.deepcopy(value)
    assert wire_messages(value) == [
        USER,
        two,
        result("hi", name="f"),
        result("The image follows.", "b"),
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "From f (a):"}, IMAGE,
                {"type": "text", "text": "From the tool (b):"}, IMAGE,
            ],
        },
        USER,
        third,
        result("The image follows.", "c"),
        {"role": "user", "content": [{"type": "text", "text": "From the tool (c):"}, IMAGE]},
    ]  # fmt: skip
    assert value == before


BOTH = {"reasoning": "r", "reasoning_content": "r"}


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ([USER, called(reasoning_content="r"), result("7")], [{}, BOTH, {}]),
        ([USER, called(reasoning="r"), result("7")], [{}, BOTH, {}]),
        ([USER, called(reasoning="r", reasoning_content="r"), result("7")], [{}, BOTH, {}]),
        ([USER, called(reasoning=""), result("7")], [{}, {}, {}]),
        ([USER, called(reasoning="r"), result("7"), called(reasoning="r"), result("8")], [{}, BOTH, {}, BOTH, {}]),
        ([USER, {"role": "assistant", "content": "a", "reasoning": "r"}], [{}, {}]),
        ([USER, called(reasoning="r"), result("7"), USER], [{}, {}, {}, {}]),
        ([USER, called(reasoning="r"), result("7"), USER, called(reasoning="r")], [{}, {}, {}, {}, BOTH, {}]),
        ([USER, called(reasoning="r"), result("7"), {"role": "assistant", "content": "a", "reasoning": "r"}],
         [{}, BOTH, {}, {}]),
        ([USER | {"reasoning": "r"}], [{}]),
    ],
)  # fmt: skip
def test_reasoning_goes_back_within_the_running_tool_loop_only(value: list[Message], kept: list[Message]) -> None:
    """Reasoning stays under both names where the model's template shows it, and nowhere else."""
    before = copy.deepcopy(value)
    sent = wire_messages(value)
    assert [{name: turn[name] for name in BOTH if name in turn} for turn in sent] == kept
    assert value == before


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "messages must not be empty"),
        ((), "messages must not be empty"),
        ([{"role": "robot", "content": "hi"}], r"messages\[0\]: role"),
        ([{"content": "hi"}], r"messages\[0\]: role"),
        ([USER, {"role": ["user"], "content": "hi"}], r"messages\[1\]: role"),
        ([{"role": "user"}], r"messages\[0\]: content"),
        ([{"role": "user", "content": None}], r"messages\[0\]: content"),
        ([{"role": "user", "content": 7}], r"messages\[0\]: content"),
        ([{"role": "user", "content": {"type": "text"}}], r"messages\[0\]: content"),
        ([{"role": "user", "content": []}], r"messages\[0\]: content"),
        ([{"role": "user", "content": ["hi"]}], r"messages\[0\]\.content\[0\]"),
        ([{"role": "user", "content": [{"type": "text"}]}], r"messages\[0\]\.content\[0\]"),
        ([{"role": "user", "content": [{"type": []}]}], r"messages\[0\]\.content\[0\]"),
        ([USER, result("7") | {"tool_call_id": None}], r"messages\[1\]: a tool message needs the tool_call_id"),
        ([USER, called(tool_calls=[{"id": "a"}])], r"messages\[1\]: a tool call needs"),
        ([USER, called(tool_calls=[{"function": {"name": "f"}}])], r"messages\[1\]: a tool call needs"),
        ([USER, called(tool_calls=[{"id": "a", "function": {"name": None}}])], r"messages\[1\]: a tool call needs"),
        ([USER, called(tool_calls=["f"])], r"messages\[1\]: a tool call needs"),
        ([USER, called(tool_calls={"id": "a"})], r"messages\[1\]: tool_calls must be a list"),
        (["hi"], r"messages\[0\]: a message must be a dict"),
        ([USER, None], r"messages\[1\]: a message must be a dict"),
        ([("user", "hi")], r"messages\[0\]: a message must be a dict"),
        ({"role": "user", "content": "hi"}, r"messages must be a text or a list"),
        (7, r"messages must be a text or a list"),
    ],
)  # fmt: skip
def test_what_is_no_message_is_refused(value: Any, message: str) -> None:
    """A malformed message is refused with its place."""
    with pytest.raises(InvalidRequest, match=f"^{message}"):
        wire_messages(value)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}, "audio.*transcribe"),
        ({"type": "video_url", "video_url": {"url": "https://x.test/"}}, "video.*frames"),
        ({"type": "file", "file": {"file_data": ""}}, "file.*text"),
        ({"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}, "image URL.*bytes"),
        ({"type": "image_url", "image_url": "http://169.254.169.254/"}, "image URL.*bytes"),
        ({"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}, "base64.*bytes"),
        ({"type": "image_url", "image_url": {"url": "data:image/svg+xml;base64,PHN2Zy8+"}}, "not a PNG"),
        ({"type": "image_url", "image_url": {"url": ""}}, "not a PNG"),
        ({"type": "image_url", "image_url": {}}, "url"),
        ({"type": "image_url", "image_url": 7}, "url"),
        ({"type": "image_url"}, "url"),
        ({"type": "image", "source": {}}, "text or image_url"),
        ({"type": "refusal", "refusal": "no"}, "text or image_url"),
        ({}, "text or image_url"),
    ],
)
def test_content_that_the_model_does_not_take(part: Message, message: str) -> None:
    """In the newest question it is refused with its place and what to do instead."""
    for history in ([], [USER, SAID]):
        with pytest.raises(UnsupportedContent, match=rf"^messages\[{len(history)}\]\.content\[1\]: .*{message}"):
            wire_messages([*history, user(TEXT, part), USER])
    for later in ([SAID, USER], [called(), result(user(TEXT, part)["content"])]):
        left_out: list[str] = []
        sent = wire_messages([user(TEXT, part) if later[0] is SAID else USER, *later], left_out)
        (line,) = [line for turn in sent for line in turn["content"].split("\n") if "left out" in line]
        assert line.startswith("[left out: ")
        assert len(left_out) == 1


TEXT_FILE = {"file_data": "data:text/csv;base64,YSxi", "filename": "t.csv"}


def test_text_that_came_as_a_file() -> None:
    """A tool's text file is read as the text that it is; one that isn't text is left out."""
    parts = [
        {"type": "file", "file": TEXT_FILE},
        {"type": "file", "file": TEXT_FILE | {"file_data": "data:text/x;base64,/w=="}},
    ]
    *_, answer = wire_messages([USER, called(), result(parts)])
    assert answer["content"].startswith("t.csv:\na,b\n[left out: a file]")


@pytest.mark.parametrize("role", ["system", "developer"])
def test_images_of_other_roles_are_refused(role: str) -> None:
    """The service takes images from users only, and the tools' can follow in a user's."""
    with pytest.raises(UnsupportedContent, match=r"only user and tool messages may have images"):
        wire_messages([{"role": role, "content": [IMAGE]}])


def test_what_a_model_said_is_never_refused() -> None:
    """Of an answer that another provider gave, what can't be sent is left out, with a line for the log."""
    left_out: list[str] = []
    parts = [TEXT, IMAGE, {"type": "web_search_call"}, {"type": "output_audio"}, TEXT]
    sent = wire_messages([USER, {"role": "assistant", "content": parts}, USER], left_out)
    assert sent == [USER, SAID | {"content": "hi\nhi"}, USER]
    assert [line.partition(":")[0] for line in left_out] == [f"messages[1].content[{place}]" for place in (1, 2, 3)]


NAMES = ["role", "content", "type", "text", "image_url", "url", "tool_calls", "id", "function", "name"]
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4) | st.sampled_from(["user", "tool", "text", PNG]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner),
    max_leaves=12,
)
message = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "tool"])},
    optional={"content": anything, "tool_calls": anything, "tool_call_id": st.just("a"), "reasoning": anything},
)


@given(anything | st.lists(message))
def test_anything_is_sent_or_refused(value: Any) -> None:
    """Whatever is handed over as messages becomes messages, or is refused."""
    before = copy.deepcopy(value)
    try:
        sent = wire_messages(value)
    except GemmaError as error:
        sent = [str(error)]
    assert sent
    assert value == before


@pytest.mark.parametrize("revision", REVISIONS)
def test_indentation_survives(revision: str) -> None:
    """The template trims texts; code keeps the indentation of its first line. Other texts stay as they are."""
    code = "    if x:\n        return y\n"
    turns = wire_messages([{"role": "user", "content": code}, called(), result([{"type": "text", "text": code}])])
    assert rendered({"messages": turns}, revision).count("\n    if x:\n        return y") == 2
    for text in ("  Hi", " Hi\n", "Hi\n  there", ""):
        assert wire_messages(text)[0]["content"] == text
