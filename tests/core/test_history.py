"""A thread goes on whatever an answer held, over a real socket."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from cf_gemma.emulator import Emulator
from cf_gemma.model.completion import Choice, InvalidToolCall, ToolCall
from tests.request.template import flaws
from tests.transport.callers import ACCOUNT, TOKEN

if TYPE_CHECKING:
    from tests.transport.callers import Caller

ANSWERS = [
    Choice(),
    Choice(text="Hello.", reasoning="Hm."),
    Choice(reasoning="Hm.", finish_reason="length"),
    Choice(text="Let me see.", reasoning="Hm.", calls=(ToolCall("a", "look", '{"x": 1}', {"x": 1}),)),
    *(
        Choice(calls=(InvalidToolCall("a", name, arguments, "cut"), ToolCall("b", "look", "{}", {})))
        for name in ("look", "")
        for arguments in ("", "null", "[1]", '"x"', '{"x": NaN}', '{"x": "<|\\"|>')
    ),
]
USER = {"role": "user", "content": "hi"}


@pytest.mark.parametrize("answer", ANSWERS, ids=str)
def test_every_answer_goes_back(caller: Caller, answer: Choice) -> None:
    """An answer's message is taken by the service, and read by the model, at the end and within a thread."""
    with Emulator(["a", "b"], dialect="S", account_id=ACCOUNT, api_token=TOKEN) as emulator:
        model = caller.model(emulator.base_url)
        for later in ([], [USER]):
            assert caller.chat(model, [USER, answer.message, *later]).text in ("a", "b")
        assert [flaw for request in emulator.requests for flaw in flaws(request.json)] == []


def test_what_is_left_out_is_logged(caller: Caller, caplog: pytest.LogCaptureFixture) -> None:
    """Past content that can't be sent costs one line at level DEBUG, which says where it was and not what."""
    audio: Any = {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "c2VjcmV0"}}]}
    caplog.set_level(logging.DEBUG, "cf_gemma")
    with Emulator(["a"], dialect="S", account_id=ACCOUNT, api_token=TOKEN) as emulator:
        caller.chat(caller.model(emulator.base_url), [audio, {"role": "assistant", "content": "?"}, USER])
    (line,) = [record.getMessage() for record in caplog.records if "not sent" in record.getMessage()]
    assert "messages[0].content[0]: audio" in line
    assert "c2VjcmV0" not in line
