"""What LangSmith is sent, by its own tracer and without a network."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any
from unittest.mock import MagicMock

import pytest
from langchain_core.tracers import LangChainTracer
from langsmith import Client

from cf_gemma.emulator import CUT, Emulator, Reply
from langchain_cf_gemma import ChatCloudflareGemma
from langchain_cf_gemma.errors import StreamTruncated
from tests.alike import bare

if TYPE_CHECKING:
    from collections.abc import Callable

QUESTION = "Why is the sky blue?"


def traced(reply: Reply, ask: Callable[[ChatCloudflareGemma, dict[str, Any]], object]) -> dict[str, Any]:
    """The run as the tracer hands it over when it ends."""
    client = MagicMock(spec=Client)
    client.tracing_queue = None
    tracer = LangChainTracer(client=client)
    with Emulator([reply]) as emulator:
        model = ChatCloudflareGemma(
            account_id=emulator.account_id,
            api_token=emulator.api_token,
            base_url=emulator.base_url,
            max_retries=0,
        )
        with contextlib.suppress(StreamTruncated):
            ask(model, {"callbacks": [tracer]})
        tracer.wait_for_futures()
    (call,) = [*client.update_run.call_args_list]
    return dict(call.kwargs)


def invoke(model: ChatCloudflareGemma, config: dict[str, Any]) -> None:
    """A whole answer."""
    model.invoke(QUESTION, config=config)


def stream(model: ChatCloudflareGemma, config: dict[str, Any]) -> None:
    """A streamed one."""
    list(model.stream(QUESTION, config=config))


@pytest.mark.parametrize("ask", [invoke, stream])
def test_a_run_has_tokens_model_and_price(ask: Callable[..., object]) -> None:
    """Tokens are where LangSmith reads them, beside the names of provider and model; the output has the rest."""
    run = traced(Reply("Because of Rayleigh.", reasoning="Hm."), ask)
    metadata = run["extra"]["metadata"]
    assert metadata["ls_provider"] == "cloudflare"
    assert metadata["ls_model_name"] == "@cf/google/gemma-4-26b-a4b-it"
    usage = metadata["usage_metadata"]
    assert usage["input_tokens"] + usage["output_tokens"] == usage["total_tokens"]
    message = run["outputs"]["generations"][0][0]["message"]["kwargs"]
    assert message["usage_metadata"] == usage
    assert message["additional_kwargs"]["reasoning_content"] == "Hm."
    assert bare(message["response_metadata"])["total_cost"] > 0


def test_the_first_token_is_an_event() -> None:
    """LangSmith takes the time to the first token from it."""
    run = traced(Reply("Because of Rayleigh."), stream)
    events = [event["name"] for event in run["events"]]
    assert events[0] == "start"
    assert "new_token" in events


def test_a_run_that_fails_says_what_had_arrived() -> None:
    """The error of a cut stream is the run's, with the text so far as its output."""
    run = traced(Reply("Because of Rayleigh.", error=CUT), stream)
    assert "StreamTruncated" in run["error"]
    assert "Because" in run["outputs"]["generations"][0][0]["text"]
