from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cf_gemma.errors import GemmaError, InvalidRequest, UnsupportedContent
from cf_gemma.request.messages import wire_messages
from tests.request.images import data_url, picture

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


BROKEN = _called_with(json.dumps('{"x": 1'))


def called(**more: Any) -> Message:
    """An assistant turn with a call."""
    return {"role": "assistant", "content": "", "tool_calls": [CALL], **more}


def result(content: Any, call: str = "a", **more: Any) -> Message:
    """A tool turn."""
    return {"role": "tool", "tool_call_id": call, "content": content, **more}


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        pytest.param("hi", [USER], id="a text"),
        pytest.param([SYSTEM, USER], [SYSTEM, USER], id="system"),
        pytest.param([{"role": "developer", "content": "be"}, USER], [{"role": "developer", "content": "be"}, USER],
                     id="developer"),
        pytest.param([USER | {"name": None}], [USER], id="nulls"),
        pytest.param([USER | {"name": "ann"}], [USER | {"name": "ann"}], id="name"),
        pytest.param([{"role": "user", "content": ""}], [{"role": "user", "content": ""}], id="empty text"),
        pytest.param([user(TEXT)], [USER], id="one text part"),
        pytest.param([user(TEXT, TEXT)], [{"role": "user", "content": "hihi"}], id="text parts"),
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
        pytest.param([USER, called(), result([TEXT, TEXT], name="f")], [USER, called(), result("hihi", name="f")],
                     id="tool text parts"),
        pytest.param([USER, called(tool_calls=[{"id": "a", "function": {"name": "f", "arguments": {"x": 1}}}])],
                     [USER, called(tool_calls=[_called_with('{"x":1}')])],
                     id="arguments as an object"),
        pytest.param([USER, called(tool_calls=[_called_with(None)])], [USER, called()], id="no arguments"),
        pytest.param([USER, called(tool_calls=[_called_with("")])], [USER, called()], id="empty arguments"),
        pytest.param([called(tool_calls=[BROKEN])], [called(tool_calls=[BROKEN])], id="an invalid call's arguments"),
        pytest.param([USER, called(), {"role": "function", "name": "f", "content": "7"}],
                     [USER, called(), {"role": "function", "name": "f", "content": "7"}], id="function"),
    ],
)  # fmt: skip
def test_messages(given: str | list[Message], sent: list[Message]) -> None:
    """Messages go out as the service takes them, and nothing of the caller's own is changed."""
    before = copy.deepcopy(given)
    assert wire_messages(given) == sent
    assert given == before


def test_images_of_tool_results_follow_in_one_user_message() -> None:
    """Only user messages may have images, so those of a run of results follow it, each told which call it is from."""
    given = [
        USER,
        called(),
        result([TEXT, IMAGE], name="f"),
        result([IMAGE], "b"),
        USER,
        called(),
        result([IMAGE], "c"),
    ]
    before = copy.deepcopy(given)
    assert wire_messages(given) == [
        USER,
        called(),
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
        called(),
        result("The image follows.", "c"),
        {"role": "user", "content": [{"type": "text", "text": "From the tool (c):"}, IMAGE]},
    ]  # fmt: skip
    assert given == before


BOTH = {"reasoning": "r", "reasoning_content": "r"}


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ([USER, called(reasoning_content="r"), result("7")], [{}, BOTH, {}]),
        ([USER, called(reasoning="r"), result("7")], [{}, BOTH, {}]),
        ([USER, called(reasoning="r", reasoning_content="r"), result("7")], [{}, BOTH, {}]),
        ([USER, called(reasoning=""), result("7")], [{}, {}, {}]),
        ([USER, called(reasoning="r"), result("7"), called(reasoning="r"), result("8")], [{}, BOTH, {}, BOTH, {}]),
        ([USER, {"role": "assistant", "content": "a", "reasoning": "r"}], [{}, {}]),
        ([USER, called(reasoning="r"), result("7"), USER], [{}, {}, {}, {}]),
        ([USER, called(reasoning="r"), result("7"), USER, called(reasoning="r")], [{}, {}, {}, {}, BOTH]),
        ([USER, called(reasoning="r"), result("7"), {"role": "assistant", "content": "a", "reasoning": "r"}],
         [{}, BOTH, {}, {}]),
        ([USER | {"reasoning": "r"}], [{}]),
    ],
)  # fmt: skip
def test_reasoning_goes_back_within_the_running_tool_loop_only(given: list[Message], kept: list[Message]) -> None:
    """Reasoning stays under both names where the model's template shows it, and nowhere else."""
    before = copy.deepcopy(given)
    sent = wire_messages(given)
    assert [{name: turn[name] for name in BOTH if name in turn} for turn in sent] == kept
    assert given == before


@pytest.mark.parametrize(
    ("given", "told"),
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
        ([USER, called(tool_calls=[_called_with("{'x'")])], r"messages\[1\]: the arguments of f are not JSON"),
        ([USER, called(tool_calls=[_called_with('{"x": 1')])], r"messages\[1\]: the arguments of f are not JSON"),
        ([USER, called(tool_calls=[_called_with("[" * 100_000)])], r"messages\[1\]: the arguments of f are not"),
        ([USER, called(tool_calls=[_called_with({"x": object()})])], r"messages\[1\]: the arguments of f are not JSON"),
        (["hi"], r"messages\[0\]: a message must be a dict"),
        ([USER, None], r"messages\[1\]: a message must be a dict"),
        ([("user", "hi")], r"messages\[0\]: a message must be a dict"),
        ({"role": "user", "content": "hi"}, r"messages must be a text or a list"),
        (7, r"messages must be a text or a list"),
    ],
)  # fmt: skip
def test_what_is_no_message_is_refused(given: Any, told: str) -> None:
    """A malformed message is refused with its place."""
    with pytest.raises(InvalidRequest, match=f"^{told}"):
        wire_messages(given)


@pytest.mark.parametrize(
    ("part", "told"),
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
@pytest.mark.parametrize("role", ["user", "tool"])
def test_content_that_the_model_does_not_take(role: str, part: Message, told: str) -> None:
    """Audio, video, files and addresses are refused with their place and what to do instead."""
    message = {"role": role, "tool_call_id": "a", "content": [TEXT, part]}
    with pytest.raises(UnsupportedContent, match=rf"^messages\[0\]\.content\[1\]: .*{told}"):
        wire_messages([message])


@pytest.mark.parametrize("role", ["system", "developer", "assistant"])
def test_images_of_other_roles_are_refused(role: str) -> None:
    """The service takes images from users only, and the tools' can follow in a user's."""
    with pytest.raises(UnsupportedContent, match=r"only user and tool messages may have images"):
        wire_messages([{"role": role, "content": [IMAGE]}])


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
def test_anything_is_sent_or_refused(given: Any) -> None:
    """Whatever is handed over as messages becomes messages, or is refused."""
    before = copy.deepcopy(given)
    try:
        sent = wire_messages(given)
    except GemmaError as error:
        sent = [str(error)]
    assert sent
    assert given == before
