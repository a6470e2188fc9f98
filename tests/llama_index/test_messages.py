"""LlamaIndex messages to wire messages: every role, every block, every habit of other integrations."""

import base64
import copy
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from inline_snapshot import snapshot
from llama_index.core.base.llms.types import (
    AudioBlock,
    CacheControl,
    CachePoint,
    ChatMessage,
    CitableBlock,
    CitationBlock,
    DocumentBlock,
    ImageBlock,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
    VideoBlock,
)
from pydantic import BaseModel

from cf_gemma.errors import InvalidRequest, UnsupportedContent
from cf_gemma.request.images import SOURCE_LIMIT, fitted
from cf_gemma.request.messages import wire_messages
from llama_index_cf_gemma.messages import to_wire

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAABAAAAAQCAIAAACQkWg2AAAAFklEQVR42mNocFAgCTGMahjVMHw1AAB3KeABgCE/BAAAAABJRU5ErkJggg=="
)
PNG_TEXT = base64.b64encode(PNG).decode()
PNG_URL = f"data:image/png;base64,{PNG_TEXT}"


def system(text: str) -> ChatMessage:
    """A system message."""
    return ChatMessage(role="system", content=text)


def user(content: object) -> ChatMessage:
    """A user's message."""
    return ChatMessage(role="user", content=content)


def called(*calls: ToolCallBlock, text: str | None = None) -> ChatMessage:
    """An assistant message that calls."""
    blocks = [TextBlock(text=text)] if text else []
    return ChatMessage(role="assistant", blocks=[*blocks, *calls])


def add_call(call_id: str | None = "c1", **kwargs: object) -> ToolCallBlock:
    """A call of `add`."""
    return ToolCallBlock(tool_call_id=call_id, tool_name="add", tool_kwargs=kwargs)


def result(content: object, call_id: str | None = None, role: str = "tool") -> ChatMessage:
    """A tool's result."""
    extra = {"tool_call_id": call_id} if call_id else {}
    return ChatMessage(role=role, content=content, additional_kwargs=extra)


@pytest.mark.parametrize(
    ("role", "wire_role"),
    [
        (MessageRole.SYSTEM, "system"),
        (MessageRole.DEVELOPER, "system"),
        (MessageRole.USER, "user"),
        (MessageRole.ASSISTANT, "assistant"),
        (MessageRole.CHATBOT, "assistant"),
        (MessageRole.MODEL, "assistant"),
    ],
)
def test_roles(role: MessageRole, wire_role: str) -> None:
    """Every role that speaks becomes one that the service knows."""
    assert to_wire([ChatMessage(role=role, content="hi")]) == [{"role": wire_role, "content": "hi"}]


@pytest.mark.parametrize("role", ["tool", "function"])
def test_tool_roles(role: str) -> None:
    """A result answers its call, whichever of the two roles it has."""
    wire = to_wire([user("?"), called(add_call(a=1)), result("2", "c1", role)])
    assert wire[2] == {"role": "tool", "tool_call_id": "c1", "name": "add", "content": "2"}


def test_leading_system_messages_become_one() -> None:
    """The template has one system turn, at the start."""
    wire = to_wire([system("Be brief."), ChatMessage(role="developer", content="Be kind."), user("hi")])
    assert wire == snapshot([{"role": "system", "content": "Be brief.\n\nBe kind."}, {"role": "user", "content": "hi"}])


def test_a_late_system_message_becomes_a_user_turn() -> None:
    """Agents append system messages; the template would not show them."""
    wire = to_wire([system("Be brief."), user("hi"), system("Answer now.")])
    assert wire[2] == {"role": "user", "content": "System instruction:\nAnswer now."}


def test_several_text_blocks_join_as_content_does() -> None:
    """What is sent is what ChatMessage.content shows."""
    message = user([TextBlock(text="a"), TextBlock(text="b")])
    assert to_wire([message])[0]["content"] == message.content == "a\nb"


def test_an_empty_message_is_sent_as_empty_text() -> None:
    """A user turn without blocks is not dropped."""
    assert to_wire([ChatMessage(role="user")]) == [{"role": "user", "content": ""}]


@pytest.mark.parametrize(
    ("image", "wire"),
    [
        ({"image": PNG}, PNG_TEXT),
        ({"image": base64.b64encode(PNG)}, PNG_TEXT),
        ({"image": io.BytesIO(PNG), "image_mimetype": "image/png"}, PNG),
        ({"url": PNG_URL}, PNG_URL),
    ],
    ids=["bytes", "base64", "file", "data-url"],
)
def test_images_go_as_they_are_held(image: dict, wire: bytes | str) -> None:
    """Every way to hold an image gives what cf_gemma makes the same data: URL of, twice in a row."""
    message = user([TextBlock(text="look"), ImageBlock(**image, detail="low")])
    part = {"type": "image_url", "image_url": {"url": wire, "detail": "low"}}
    for _ in range(2):
        assert to_wire([message])[0]["content"] == [{"type": "text", "text": "look"}, part]
    assert fitted(wire) == PNG_URL


def test_an_image_by_path(tmp_path) -> None:
    """A path is read when the message is sent."""
    path = tmp_path / "picture.png"
    path.write_bytes(PNG)
    assert to_wire([user([ImageBlock(path=path)])])[0]["content"][0]["image_url"] == {"url": PNG}


def test_a_file_that_is_no_image(tmp_path) -> None:
    """Of a path's file no more is read than an image may have, and one that is a file no more is named."""
    path = tmp_path / "picture.png"
    path.write_bytes(PNG)
    block = ImageBlock(path=path)
    os.truncate(path, 1 << 40)
    (part,) = to_wire([user([block])])[0]["content"]
    assert len(part["image_url"]["url"]) == SOURCE_LIMIT + 1
    path.unlink()
    os.mkfifo(path)
    (part,) = to_wire([user([block])])[0]["content"]
    assert part == {"type": "unsupported", "reason": f"image {path} can't be read: it is not a file"}


def test_an_image_url_is_not_fetched() -> None:
    """An http URL is passed on as it is: cf_gemma refuses it with the remedy, and nothing is fetched on the way."""
    url = "https://example.invalid/a.png"
    assert to_wire([user([ImageBlock(url=url)])])[0]["content"][0]["image_url"] == {"url": url}


def test_an_empty_image_is_refused() -> None:
    """An ImageBlock that holds nothing is a mistake of the caller's."""
    with pytest.raises(UnsupportedContent, match="neither image, path nor url"):
        wire_messages(to_wire([user([ImageBlock()])]))


def test_images_of_a_tool_result_stay_with_it() -> None:
    """A result's image is one of its parts; cf_gemma moves it to where the service takes it."""
    blocks = [TextBlock(text="a chart"), ImageBlock(image=PNG)]
    wire = to_wire([user("?"), called(add_call()), result(blocks, "c1")])
    assert wire[2]["content"] == [
        {"type": "text", "text": "a chart"},
        {"type": "image_url", "image_url": {"url": PNG_TEXT}},
    ]


def test_text_like_blocks_are_flattened() -> None:
    """Citable, cited and text documents are sent as text under their titles; cache points say nothing."""
    blocks = [
        CachePoint(cache_control=CacheControl(type="ephemeral")),
        CitableBlock(title="Rules", source="rules.md", content="No running."),
        CitationBlock(title="Book", source="p. 3", cited_content="Ends well.", additional_location_info={}),
        DocumentBlock(data=b"name,age\nRex,3", title="dogs.csv", document_mimetype="text/csv"),
    ]
    assert to_wire([user(blocks)]) == snapshot(
        [
            {
                "role": "user",
                "content": "Rules (rules.md):\nNo running.\nBook (p. 3):\nEnds well.\ndogs.csv:\nname,age\nRex,3",
            }
        ]
    )


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda folder: folder, "not a file"),
        (lambda folder: folder / "nowhere", "not a file"),
        (lambda folder: os.mkfifo(folder / "pipe") or folder / "pipe", "not a file"),
        (lambda _: "/dev/zero", "not a file"),
        (lambda _: "a\0b", "not a file"),
        (lambda folder: (folder / "a").write_text("a" * 8_000_001) and folder / "a", "over 8 MB"),
    ],
)
def test_a_document_that_can_not_be_read(make: Callable[[Path], Path | str], why: str, tmp_path: Path) -> None:
    """What has no end, isn't there or is too large is refused by the document's title, before anything is sent."""
    with pytest.raises(InvalidRequest, match=f"'notes.md'.*{why}"):
        wire_messages(to_wire([user([DocumentBlock(path=str(make(tmp_path)), title="notes.md")])]))


def test_a_closed_image_file() -> None:
    """It is refused as what it is, and not by an error of Python's own."""
    closed = io.BytesIO(PNG)
    closed.close()
    with pytest.raises(InvalidRequest, match="closed file"):
        wire_messages(to_wire([user([ImageBlock.model_construct(image=closed, path=None, url=None)])]))


def test_a_document_by_path(tmp_path) -> None:
    """A text file is read when the message is sent."""
    path = tmp_path / "notes.md"
    path.write_text("hello")
    assert to_wire([user([DocumentBlock(path=path, title="notes.md")])])[0]["content"] == "notes.md:\nhello"


@pytest.mark.parametrize(
    ("block", "why"),
    [
        (AudioBlock(audio=b"RIFF0000WAVEfmt "), "AudioBlock"),
        (VideoBlock(video=b"0000ftypmp42"), "VideoBlock"),
        (DocumentBlock(data=b"%PDF-1.7 ..."), "application/pdf"),
        (DocumentBlock(data=b"\xff\xfe\x00\x01" * 4), "not UTF-8 text"),
        (DocumentBlock(url="https://example.invalid/a.txt"), "pass its data or its path"),
    ],
    ids=["audio", "video", "pdf", "binary", "url"],
)
def test_what_the_model_does_not_take(block: object, why: str) -> None:
    """It is refused with the remedy in the newest question, and elsewhere a line of text stands in its place."""
    with pytest.raises(UnsupportedContent, match=rf"^messages\[0\]\.content\[1\]: .*{why}"):
        wire_messages(to_wire([user([TextBlock(text="See:"), block])]))
    past = wire_messages(
        to_wire(
            [user([TextBlock(text="See:"), block]), user("?"), called(add_call()), result([block], "c1"), user("?")]
        )
    )
    assert past[0]["content"].startswith("See:\n[left out: ")
    assert past[3]["content"].startswith("[left out: ")


def test_a_tool_call_outside_an_assistant_turn() -> None:
    """It has no place on the wire there, and is not dropped in silence."""
    with pytest.raises(UnsupportedContent, match="'add' stands outside an assistant message"):
        wire_messages(to_wire([user([add_call()])]))


def test_reasoning_goes_into_its_own_field() -> None:
    """Never into content; cf_gemma decides whether it is sent."""
    blocks = [ThinkingBlock(content="hm"), TextBlock(text="Adding."), add_call(a=1)]
    assert to_wire([user("?"), ChatMessage(role="assistant", blocks=blocks)])[1] == snapshot(
        {
            "role": "assistant",
            "content": "Adding.",
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a":1}'}}],
            "reasoning_content": "hm",
        }
    )


def test_an_assistant_turn_that_says_nothing_is_left_out() -> None:
    """Streams that produced only reasoning leave such messages in memories."""
    silent = ChatMessage(role="assistant", blocks=[ThinkingBlock(content="hm")])
    assert to_wire([user("a"), silent, user("b")]) == [
        {"role": "user", "content": "a"},
        {"role": "user", "content": "b"},
    ]


class SdkFunction(BaseModel):
    name: str
    arguments: str


class SdkCall(BaseModel):
    id: str
    function: SdkFunction


@pytest.mark.parametrize(
    "call",
    [
        {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a":1}'}},
        {"id": "c1", "function": {"name": "add", "arguments": {"a": 1}}},
        {"id": "c1", "type": "tool_use", "name": "add", "input": {"a": 1}},
        {"id": "c1", "name": "add", "args": {"a": 1}},
        SdkCall(id="c1", function=SdkFunction(name="add", arguments='{"a":1}')),
        SimpleNamespace(id="c1", function=SimpleNamespace(name="add", arguments='{"a":1}')),
    ],
    ids=["openai", "ollama", "anthropic", "flat", "sdk-model", "sdk-object"],
)
def test_calls_that_older_integrations_left(call: object) -> None:
    """Histories written by other integrations can be continued."""
    message = ChatMessage(role="assistant", additional_kwargs={"tool_calls": [call]})
    assert to_wire([message])[0]["tool_calls"] == [
        {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a":1}'}}
    ]


def test_blocks_beat_their_copies() -> None:
    """A message that holds its calls in both places sends them once."""
    message = called(add_call(a=1))
    message.additional_kwargs["tool_calls"] = [{"id": "c1", "function": {"name": "add", "arguments": "{}"}}]
    assert len(to_wire([message])[0]["tool_calls"]) == 1


@pytest.mark.parametrize(
    ("kwargs", "arguments"),
    [({}, "{}"), ("", "{}"), ("null", "{}"), ('{"a": 1}', '{"a": 1}'), ({"ü": [1.5, None]}, '{"ü":[1.5,null]}')],
)
def test_arguments_are_json_text(kwargs: object, arguments: str) -> None:
    """Dicts are encoded, JSON text is sent as it was written, none is an empty object."""
    message = called(ToolCallBlock(tool_call_id="c1", tool_name="add", tool_kwargs=kwargs))
    sent = wire_messages(to_wire([user("?"), message]))
    assert sent[1]["tool_calls"][0]["function"]["arguments"] == arguments


@pytest.mark.parametrize("kwargs", ['{"a": 1', "[1]", "3"])
def test_broken_arguments_go_back_as_an_object(kwargs: str) -> None:
    """A call that was cut off doesn't go back as if it were whole, and the thread goes on."""
    call = called(ToolCallBlock(tool_call_id="c1", tool_name="add", tool_kwargs=kwargs))
    sent = wire_messages(to_wire([user("?"), call, user("so?")]))
    assert json.loads(sent[1]["tool_calls"][0]["function"]["arguments"]) == {"invalid": kwargs}
    assert [turn["role"] for turn in sent] == ["user", "assistant", "tool", "user"]


def test_missing_ids_pair_by_order() -> None:
    """Calls and results without ids are matched in order, with ids that no two calls share."""
    wire = to_wire(
        [user("?"), called(add_call(None)), result("1"), called(add_call(None), add_call(None)), result("2")]
    )
    assert [call["id"] for turn in wire for call in turn.get("tool_calls", ())] == ["call_0", "call_1", "call_2"]
    assert [turn["tool_call_id"] for turn in wire if turn["role"] == "tool"] == ["call_0", "call_1"]


def test_results_in_another_order_than_the_calls() -> None:
    """Each result keeps its own id and gets the right name."""
    other = ToolCallBlock(tool_call_id="c2", tool_name="mul", tool_kwargs={})
    wire = to_wire([user("?"), called(add_call(), other), result("6", "c2"), result("5", "c1")])
    assert [(turn["tool_call_id"], turn["name"]) for turn in wire[2:]] == [("c2", "mul"), ("c1", "add")]


def test_an_orphan_result_becomes_text() -> None:
    """A memory that forgot the call must not make the request invalid, and the result isn't lost."""
    assert wire_messages(to_wire([result("5", "gone"), user("so?")])) == snapshot(
        [{"role": "user", "content": "Result of an earlier tool call:\n5"}, {"role": "user", "content": "so?"}]
    )


def test_a_result_after_the_user_spoke_again_becomes_text() -> None:
    """On the wire a result follows its call; once the user has spoken, it can't."""
    wire = wire_messages(to_wire([user("?"), called(add_call()), user("never mind"), result("2", "c1")]))
    assert wire[-1] == {"role": "user", "content": "Result of an earlier tool call:\n2"}


def test_the_tool_call_id_stays_on_tool_messages() -> None:
    """FunctionAgent puts one on an assistant message after a tool that returns directly."""
    direct = ChatMessage(role="assistant", content="5", additional_kwargs={"tool_call_id": "c1"})
    assert to_wire([direct]) == [{"role": "assistant", "content": "5"}]


def test_stray_additional_kwargs_are_not_sent() -> None:
    """Memories and other integrations leave their own notes in additional_kwargs."""
    extra = {"session_id": "s", "cache_control": {"type": "ephemeral"}, "thought_signature": "x", "name": "Bob"}
    message = ChatMessage(role="user", content="hi", additional_kwargs=extra)
    assert to_wire([message]) == [{"role": "user", "content": "hi"}]


def test_nothing_of_the_callers_is_changed() -> None:
    """Messages, blocks and their dicts come out as they went in."""
    messages = [
        system("a"),
        system("b"),
        user([TextBlock(text="x"), ImageBlock(image=PNG)]),
        called(add_call(a={"b": [1]}), text="y"),
        result("2", "c1"),
        ChatMessage(role="assistant", additional_kwargs={"tool_calls": [{"id": "c", "name": "f", "input": {"a": 1}}]}),
    ]
    before = copy.deepcopy(messages)
    to_wire(messages)
    assert messages == before
