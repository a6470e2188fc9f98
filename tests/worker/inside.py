"""What runs within WebAssembly: every case, through a binding that is JavaScript's own."""

from __future__ import annotations

import base64
import importlib
import importlib.util
import json
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import js

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.worker.cases import Answer

EVENTS, ROUNDS = 500, 7


async def run(what: str, repository: str, expected: str) -> str:
    """The times of the imports, and with `all`, all there is to show; as JSON.

    `expected` has the outcomes over HTTP, by the case's name.
    """
    report: dict[str, Any] = {"python": sys.version.split()[0]}
    begin = time.perf_counter()
    from cf_gemma import AsyncGemma

    importlib.import_module("cf_gemma.transport.binding")  # what the first call loads
    report["import cf_gemma"] = _milliseconds(begin)
    report["loaded"] = sorted({"httpx", "httpcore", "httpx2", "anyio", "certifi"} & sys.modules.keys())
    _stand_in()
    begin = time.perf_counter()
    importlib.import_module("langchain_core.language_models.chat_models")
    report["import langchain_core"] = _milliseconds(begin)
    before, begin = _packages(), time.perf_counter()
    from langchain_cf_gemma import ChatCloudflareGemma

    report["import langchain_cf_gemma"] = _milliseconds(begin)
    report["beside langchain_core"] = sorted(_packages() - before - sys.stdlib_module_names)
    if what == "all":
        report["cases"] = await _cases(AsyncGemma, json.loads(expected))
        report["older bindings"] = await _older(AsyncGemma)
        report["langchain"] = await _langchain(ChatCloudflareGemma)
        report["example"] = await _example(Path(repository) / "examples/worker/src/entry.py")
        streams = {
            "JavaScript's reader alone": _read,
            "AsyncGemma": lambda ai: AsyncGemma(binding=ai).stream("hi"),
            "ChatCloudflareGemma": lambda ai: ChatCloudflareGemma(binding=ai).astream("hi"),
        }
        # In turn, and the best of each: whoever is first warms WebAssembly up for the others.
        rounds = [[await _event(stream) for stream in streams.values()] for _ in range(ROUNDS)]
        report["event"] = dict(zip(streams, map(min, *rounds), strict=True))
    return json.dumps(report)


def _milliseconds(begin: float) -> float:
    return round((time.perf_counter() - begin) * 1e3)


def _packages() -> set[str]:
    return {name.partition(".")[0] for name in sys.modules}


def _stand_in() -> None:
    """For what only the runtime has, and for orjson, of which PyPI has no build for WebAssembly."""
    helper, flags, orjson = map(ModuleType, ("_pyodide_entrypoint_helper", "_cloudflare_compat_flags", "orjson"))
    vars(helper).update(patchWaitUntil=lambda ctx: None)
    vars(flags).update(__getattr__=lambda name: False)
    vars(orjson).update(dumps=lambda value, **_: json.dumps(value).encode(), loads=json.loads)
    sys.modules.update({module.__name__: module for module in (helper, flags, orjson)})


def _env(answers: tuple[Answer, ...], *, raw: bool = True) -> Any:
    """JavaScript's `env`, whose `AI` answers so."""
    facts = [
        {
            "pieces": [base64.b64encode(piece).decode() for piece in answer.pieces],
            "headers": dict(answer.headers),
            "status": answer.status,
            "ending": answer.ending,
        }
        for answer in answers
    ]
    return js.makeEnv(json.dumps(facts), raw)


def _wrapped(env: Any) -> Any:
    """The binding as Cloudflare's package for Python Workers hands it to a Worker."""
    from workers import WorkerEntrypoint

    class Default(WorkerEntrypoint):
        pass

    return Default(js.makeContext(), env).env.AI


async def _cases(gemma: Any, expected: dict[str, Any]) -> dict[str, list[str]]:
    """Of each case what went wrong with the bare binding, and with the wrapped one: nothing."""
    from tests.worker.cases import CASES, awaited

    wrong: dict[str, list[str]] = {}
    for case in CASES:
        flaws: list[str] = []
        for binding_of in (lambda env: env.AI, _wrapped):
            env = _env(case.answers)
            outcome = await awaited(gemma(binding=binding_of(env), timeout=case.timeout), case)
            came = {"outcome": outcome.plain(), "requests": env.AI.runs, "flaws": env.AI.flaws.to_py()}
            if came != {**expected[case.name], "flaws": []}:
                flaws.append(json.dumps(came, ensure_ascii=False))
            if case.take is not None and env.AI.cancelled != 1:
                flaws.append("the stream was not cancelled")
        wrong[case.name] = flaws
    return wrong


async def _older(gemma: Any) -> dict[str, Any]:
    """What comes of a binding that gives objects and streams, and throws."""
    from tests.worker.cases import CASES, awaited

    names = {"whole, S", "stream, S, a capture", "refused: no room", "refused: in a binding's words", "never begun"}
    results: dict[str, Any] = {}
    for case in CASES:
        if case.name in names:
            outcome = await awaited(gemma(binding=_env(case.answers, raw=False).AI, timeout=case.timeout), case)
            results[case.name] = (
                outcome.error["type"] if outcome.error else outcome.completion["choices"][0]["finish_reason"]
            )
    return results


async def _event(stream: Callable[[Any], Any]) -> float:
    """Microseconds that one event of a long stream costs."""
    from tests.response.wire import sse, text_chunk
    from tests.worker.cases import Answer

    pieces = (*[sse([text_chunk("word ")], done=False)] * EVENTS, sse([text_chunk("", "stop")]))
    ai = _env((Answer(pieces),)).AI
    begin = time.perf_counter()
    async for _ in stream(ai):
        pass
    return round((time.perf_counter() - begin) / EVENTS * 1e6)


async def _read(ai: Any) -> AsyncIterator[bytes]:
    """The bytes of a stream, and nothing made of them."""
    inputs, options = js.JSON.parse('{"messages": []}'), js.JSON.parse('{"returnRawResponse": true}')
    reader = (await ai.run("@cf/google/gemma-4", inputs, options)).body.getReader()
    while not (piece := await reader.read()).done:
        yield piece.value.to_bytes()


async def _langchain(model: Any) -> list[Any]:
    """What LangChain says, whole and streamed."""
    from tests.response.wire import S_STREAM
    from tests.worker.cases import Answer

    answer = (Answer((S_STREAM.encode(),)),)
    whole = await model(binding=_wrapped(_env(answer))).ainvoke("hi")
    first, *rest = [chunk async for chunk in model(binding=_env(answer).AI).astream("hi")]
    streamed = first + rest
    return [whole.text, streamed.text, whole.usage_metadata == streamed.usage_metadata]


async def _example(path: Path) -> dict[str, Any]:
    """The example's Worker: what a browser is sent, and what becomes of the model's stream when it leaves."""
    from tests.worker.cases import CASES, TEXT, Answer

    spec = importlib.util.spec_from_file_location("entry", path)
    assert spec
    assert spec.loader
    entry = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(entry)
    request = SimpleNamespace(url="https://x.test/?q=hi")
    answers = next(case.answers for case in CASES if case.name == "vllm, thinking")
    response = await entry.Default(js.makeContext(), _env(answers)).fetch(request)
    events = [event.partition("\n")[0] for event in (await response.text()).strip().split("\n\n")]
    env, context = _env((Answer((TEXT, TEXT), ending="silent"),)), js.makeContext()
    reader = (await entry.Default(context, env).fetch(request)).js_object.body.getReader()
    await reader.read()
    await reader.cancel(js.Error.new("the browser has left"))
    env.AI.more()  # the next word finds nobody to take it
    await context.done()
    return {"events": events, "left": env.AI.cancelled}
