from __future__ import annotations

import pytest

from tests.request.template import REVISIONS, rendered

BODY = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {}}]},
    ],
    "chat_template_kwargs": {"enable_thinking": True},
}


@pytest.mark.parametrize("revision", REVISIONS)
def test_the_judge_reads_a_request(revision: str) -> None:
    """Each revision prints the system turn, the question with its image, and where the model is to go on."""
    prompt = rendered(BODY, revision)
    assert prompt.startswith("<|turn>system\n<|think|>")
    assert "Be brief.<turn|>\n<|turn>user\nWhat?" in prompt
    assert prompt.count("<|image|>") == 1
    assert prompt.endswith("<turn|>\n<|turn>model\n")


def test_the_judge_refuses() -> None:
    """Arguments that are no object are refused by the current template, so by the judge."""
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": '"text"'}}
    with pytest.raises(ValueError, match="must be a JSON object"):
        rendered({"messages": [{"role": "assistant", "content": "", "tool_calls": [call]}]})
