"""The fixture `workers_ai`, as users' test suites have it."""

from __future__ import annotations

import os

import pytest

from cf_gemma import Gemma, ReasoningDelta
from cf_gemma.errors import BadRequest, CapacityExceeded, ConnectionFailed, StreamTruncated
from cf_gemma.testing import CUT, Fault, Reply, WorkersAI

pytest_plugins = ["pytester", "cf_gemma.testing"]


def test_three_lines(workers_ai: WorkersAI) -> None:
    """A reply is scripted, a model with no arguments finds it, and what was sent is there to be looked at."""
    workers_ai.says("Hello!")
    assert Gemma(temperature=0.5).chat("Hi").text == "Hello!"
    assert workers_ai.messages == [{"role": "user", "content": "Hi"}]
    assert workers_ai.requests[-1].json["temperature"] == 0.5
    assert os.environ["CLOUDFLARE_BASE_URL"] == workers_ai.emulator.base_url


def test_kinds_of_replies(workers_ai: WorkersAI) -> None:
    """Texts, reasoning, tool calls and refusals are taken in the order in which they were queued."""
    workers_ai.says(Reply("Four.", reasoning="2 + 2")).calls("add", a=2, b=2).fails(429, 3040, retry_after=0.01)
    workers_ai.says("At last.")
    gemma = Gemma(thinking=True)
    first = list(gemma.stream("How many?"))
    assert "".join(item.text for item in first if isinstance(item, ReasoningDelta)) == "2 + 2"
    assert gemma.chat("Add").tool_calls[0].args == {"a": 2, "b": 2}
    assert gemma.chat("Again").text == "At last."
    assert len(workers_ai.requests) == 4


def test_faults(workers_ai: WorkersAI) -> None:
    """`fails` refuses as often as it says, and CUT closes the connection, at once or behind a text."""
    workers_ai.fails(429, 3040, times=2).says(CUT, Reply("Once upon", error=CUT))
    gemma = Gemma(max_retries=0)
    for expected in (CapacityExceeded, CapacityExceeded, ConnectionFailed):
        with pytest.raises(expected):
            gemma.chat("Hi", max_tokens=100)
    with pytest.raises(StreamTruncated) as cut:
        list(gemma.stream("Hi"))
    assert cut.value.partial
    assert cut.value.partial.text.startswith("Once")


def test_heard(workers_ai: WorkersAI) -> None:
    """All texts that the model had before it are found, whether a message is one text or a list of parts."""
    workers_ai.says("Fine.")
    parts = [{"type": "text", "text": "How"}, {"type": "text", "text": "are you?"}]
    Gemma().chat([{"role": "system", "content": "Be brief."}, {"role": "user", "content": parts}])
    assert "Be brief." in workers_ai.heard
    assert "are you?" in workers_ai.heard


def test_function_answers_the_rest(workers_ai: WorkersAI) -> None:
    """A function answers what the queue doesn't, and is left over by nobody."""
    workers_ai.says("First.").answers(lambda body: body["messages"][-1]["content"].upper())
    assert [Gemma().chat(text).text for text in ("one", "two", "three")] == ["First.", "TWO", "THREE"]


def test_unused_can_be_asked_for(workers_ai: WorkersAI) -> None:
    """What is left can be looked at, and a test may leave it."""
    workers_ai.strict = False
    workers_ai.says("Hello!", Fault(500))
    assert Gemma().chat("Hi").text == "Hello!"
    assert workers_ai.unused == (Fault(500),)


def test_nothing_was_sent(workers_ai: WorkersAI) -> None:
    """Asking for the messages of a request that never came is a failed assertion in words."""
    with pytest.raises(AssertionError, match="nothing was sent"):
        _ = workers_ai.messages


def test_wrong_replies(workers_ai: WorkersAI) -> None:
    """A list in the place of a reply is refused where it is written."""
    with pytest.raises(TypeError, match="not a list"):
        workers_ai.says(["Hello!"])


def test_replies_that_are_missing(workers_ai: WorkersAI) -> None:
    """A request that nothing was scripted for is refused in words that say what to do."""
    workers_ai.strict = False
    with pytest.raises(BadRequest, match=r"script a reply with says\(\)"):
        Gemma().chat("Hi")


def test_proxies(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine's proxy isn't asked for the way to the emulator, nor are the hosts forgotten that need none."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "example.org")
    workers_ai: WorkersAI = request.getfixturevalue("workers_ai")
    workers_ai.says("Hello!")
    assert Gemma(max_retries=0).chat("Hi").text == "Hello!"
    assert os.environ["no_proxy"] == "example.org,127.0.0.1"


@pytest.fixture
def suite(pytester: pytest.Pytester) -> pytest.Pytester:
    """A suite of a user's, in which the plugin is loaded as the documentation says."""
    pytester.makeconftest('pytest_plugins = ["cf_gemma.testing"]')
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function")
    return pytester


def test_left_over_replies_fail_the_test(suite: pytest.Pytester) -> None:
    """A test that passed is reported when a reply was left over, or one was missing though the app hid the error."""
    suite.makepyfile(
        """
        from cf_gemma import Gemma, GemmaError

        def test_left_over(workers_ai):
            workers_ai.says("Hello!", "Nobody asks for this one.")
            Gemma().chat("Hi")

        def test_missing(workers_ai):
            try:
                Gemma().chat("Hi")
            except GemmaError:
                pass

        def test_allowed(workers_ai):
            workers_ai.strict = False
            workers_ai.says("Nobody asks for this one.")
        """
    )
    result = suite.runpytest_inprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=3, errors=2)
    result.stdout.fnmatch_lines(
        ["*replies were left over*'Nobody asks for this one.'*", "*1 more requests came than there were replies*"]
    )


def test_failed_tests_are_reported_once(suite: pytest.Pytester) -> None:
    """A test that failed by itself isn't reported again for the replies that it didn't get to."""
    suite.makepyfile("def test_fails(workers_ai):\n    workers_ai.says('Hello!')\n    assert False")
    suite.runpytest_inprocess("-p", "no:cacheprovider").assert_outcomes(failed=1)


def test_options(suite: pytest.Pytester) -> None:
    """A fixture of the user's own sets the emulator's options, and the environment is as it was behind the test."""
    suite.makepyfile(
        """
        import os
        import pytest
        from cf_gemma import Gemma

        @pytest.fixture
        def workers_ai_options():
            return {"dialect": "V", "account_id": "mine"}

        def test_options(workers_ai):
            workers_ai.says("Hello!")
            assert Gemma().chat("Hi").id.startswith("chatcmpl-")
            assert "/accounts/mine/" in workers_ai.requests[-1].path

        def test_environment():
            assert "CLOUDFLARE_ACCOUNT_ID" not in os.environ
        """
    )
    suite.runpytest_inprocess("-p", "no:cacheprovider").assert_outcomes(passed=2)
