"""The fixture `workers_ai`, as users' test suites have it."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, cast

import pytest

from cf_gemma import AsyncGemma, Gemma, ReasoningDelta
from cf_gemma.errors import BadRequest, CapacityExceeded, ConnectionFailed, StreamTruncated
from cf_gemma.testing import CUT, Fault, Reply, WorkersAI, no_waits
from cf_gemma.transport import waits

if TYPE_CHECKING:
    from collections.abc import Callable

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
    workers_ai.says(Reply("Four.", reasoning="2 + 2")).calls("add", a=2, b=2).fails(429, 3040)
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


def test_prompt(workers_ai: WorkersAI) -> None:
    """All texts that the model read are there, whether a message is one text or a list of parts."""
    workers_ai.says("Fine.")
    parts = [{"type": "text", "text": "How"}, {"type": "text", "text": "are you?"}]
    Gemma().chat([{"role": "system", "content": "Be brief."}, {"role": "user", "content": parts}])
    assert "Be brief." in workers_ai.prompt
    assert "are you?" in workers_ai.prompt


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


def test_nothing_waits(workers_ai: WorkersAI) -> None:
    """A client that is refused twice tries again at once; the seconds that it would have waited are there."""
    workers_ai.fails(429, 3040, times=2).says("At last.")
    began = time.monotonic()
    assert Gemma().chat("Hi").text == "At last."
    assert workers_ai.waits == [2.0, 4.0]
    assert time.monotonic() - began < 5


async def test_nothing_waits_in_an_event_loop(workers_ai: WorkersAI) -> None:
    """So does one that runs in an event loop, and one that polls for a batch."""
    workers_ai.fails(503).says("At last.", "One of a batch.")
    gemma = AsyncGemma()
    assert (await gemma.chat("Hi")).text == "At last."
    (result,) = await gemma.batch.wait(await gemma.batch.submit(["Hi"]))
    assert result.completion
    assert result.completion.text == "One of a batch."
    assert workers_ai.waits[0] == 0.5
    assert len(workers_ai.waits) > 1
    await gemma.aclose()


def test_waits_are_back_behind_it() -> None:
    """Without the fixture, a client waits; two that do without waits at a time don't get in each other's way."""
    with no_waits() as outer:
        with no_waits() as inner:
            waits.sleep(30)
        waits.sleep(60)
    began = time.monotonic()
    waits.sleep(0.01)
    assert time.monotonic() - began >= 0.01
    assert (outer, inner) == ([30, 60], [30])


def test_nothing_was_sent(workers_ai: WorkersAI) -> None:
    """Asking for the messages of a request that never came is a failed assertion in words."""
    with pytest.raises(AssertionError, match="nothing was sent"):
        _ = workers_ai.messages


def test_wrong_replies(workers_ai: WorkersAI) -> None:
    """A list in the place of a reply is refused where it is written."""
    with pytest.raises(TypeError, match="not a list"):
        workers_ai.says(["Hello!"])


@pytest.mark.parametrize(
    ("script", "error", "words"),
    [
        (lambda w: w.fails(200), ValueError, "400 to 599"),
        (lambda w: w.fails("429"), TypeError, "not '429'"),
        (lambda w: w.fails(429, times=0), ValueError, r"times must be at least 1 \(got 0\)"),
        (lambda w: w.answers("Hello!"), TypeError, "answers\\(\\) takes a function .*not a str"),
        (lambda w: w.calls("add", {"a": {1}}), TypeError, "args of add can't be written as JSON"),
    ],
)
def test_scripts_that_cannot_be(
    workers_ai: WorkersAI, script: Callable[[Any], object], error: type[Exception], words: str
) -> None:
    """A mistake is refused where it is written, in words that say what is valid."""
    with pytest.raises(error, match=words):
        script(workers_ai)
    assert workers_ai.unused == ()


def test_arguments_of_a_call(workers_ai: WorkersAI) -> None:
    """They may be given by keyword, in a dict, or in both."""
    workers_ai.calls("f", a=1).calls("f", {"x y": 1}).calls("f", {"tool": 1}, args=2)
    assert [Gemma().chat("Hi").tool_calls[0].args for _ in range(3)] == [{"a": 1}, {"x y": 1}, {"tool": 1, "args": 2}]


def test_function_that_gives_no_reply(workers_ai: WorkersAI, caplog: pytest.LogCaptureFixture) -> None:
    """One line says so to the client that asked, and behind the test; none is logged."""
    workers_ai.answers(cast("Any", lambda body: None))
    with pytest.raises(BadRequest, match="the reply function returned None; it must return a str, Reply or Fault"):
        Gemma().chat("Hi")
    with pytest.raises(AssertionError, match="workers_ai: the reply function returned None"):
        workers_ai.check()
    assert "emulator" not in caplog.text
    workers_ai.strict = False


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
    """A test that passed is reported when a reply was left over, or missing or failed though the app hid the error."""
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

        def test_function_that_fails(workers_ai):
            workers_ai.answers(lambda body: body["absent"])
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
    result.assert_outcomes(passed=4, errors=3)
    result.stdout.fnmatch_lines(
        [
            "*replies were left over*'Nobody asks for this one.'*",
            "*1 more requests came than there were replies*",
            "*workers_ai: the reply function raised KeyError('absent')*",
        ]
    )


def test_models_made_at_import(suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `workers_ai_only`, they reach the fixture, or nobody; behind the run all is as before."""
    monkeypatch.setenv("CLOUDFLARE_API_TOKEN", "a-real-one")
    suite.makeini("[pytest]\nworkers_ai_only = true\nasyncio_default_fixture_loop_scope = function")
    suite.makepyfile(
        """
        import os
        import pytest
        from cf_gemma import Gemma
        from cf_gemma.errors import ConnectionFailed

        gemma = Gemma(max_retries=0)

        @pytest.mark.parametrize("text", ["Hello!", "Bye!"])
        def test_with_the_fixture(workers_ai, text):
            workers_ai.says(text)
            assert gemma.chat("Hi").text == text
            assert workers_ai.requests[-1].headers["authorization"] == "Bearer emulator-token"

        def test_without():
            with pytest.raises(ConnectionFailed):
                gemma.chat("Hi")
            assert os.environ["CLOUDFLARE_BASE_URL"].startswith("http://127.0.0.1:")
        """
    )
    suite.runpytest_inprocess("-p", "no:cacheprovider").assert_outcomes(passed=3)
    assert os.environ["CLOUDFLARE_API_TOKEN"] == "a-real-one"
    assert "CLOUDFLARE_BASE_URL" not in os.environ


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
