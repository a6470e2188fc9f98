"""SGLang's own chat completions, parsers and template engine, above an engine that says what the script says.

Usage: python scripted_sglang.py MODEL_FOLDER NAME WINDOW PORT. SGLang's engine is for GPUs: so ids, log-probabilities,
grammars and stop texts aren't its own here.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import uvicorn
from fastapi import FastAPI, Request
from script import Script
from sglang.srt.entrypoints.openai.protocol import ChatCompletionRequest  # noqa: TC002 - FastAPI reads annotations
from sglang.srt.entrypoints.openai.serving_chat import OpenAIServingChat
from sglang.srt.parser.template_manager import TemplateManager
from sglang.srt.runtime_context import get_context, publish
from sglang.srt.server_args import ServerArgs
from transformers import AutoTokenizer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

FOLDER, NAME, WINDOW, PORT = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
ENDS = frozenset({1, 50, 106})
"""What ends an answer: `<eos>`, `<|tool_response>`, `<turn|>`."""


class Engine:
    """Says the script, where SGLang's tokenizer manager would ask a model."""

    server_args = ServerArgs(
        model_path=FOLDER,
        served_model_name=NAME,
        context_length=WINDOW,
        device="cpu",
        tool_call_parser="gemma4",
        reasoning_parser="gemma4",
    )
    served_model_name = NAME
    model_path = FOLDER
    tokenizer = AutoTokenizer.from_pretrained(FOLDER)
    request_logger = SimpleNamespace(log_requests=False)
    model_config = SimpleNamespace(
        get_default_sampling_params=dict,
        hf_config=SimpleNamespace(model_type="gemma4", architectures=["Gemma4ForConditionalGeneration"]),
        is_multimodal=False,
        context_len=WINDOW,
    )

    def __init__(self) -> None:
        publish(self.server_args, role="tokenizer")
        self._script = Script()

    def config_value(self, name: str) -> Any:
        """A setting."""
        return get_context().config_leaf(name)

    def create_abort_task(self, _: Any) -> None:
        """Nothing has to be ended."""

    async def generate_request(self, request: Any, _: Any = None) -> AsyncIterator[Any]:
        """The answers so far, after each token, or the whole ones."""
        if (length := len(request.input_ids)) > WINDOW:
            raise ValueError(
                f"The input ({length} tokens) is longer than the model's context length ({WINDOW} tokens)."
            )
        answers = []
        for index in range(request.sampling_params.get("n") or 1):
            for state in self._states(request, index):
                if request.stream:
                    yield state
            answers.append(state)
        if not request.stream:
            yield answers if len(answers) > 1 else answers[0]

    def _states(self, request: Any, index: int) -> Iterator[dict[str, Any]]:
        options, tokens = request.sampling_params, list[int]()
        stops = [stops] if isinstance(stops := options.get("stop") or [], str) else stops
        for token in self._script.next():
            tokens.append(token)
            shown = tokens[:-1] if token in ENDS else tokens
            text = self.tokenizer.decode(shown, skip_special_tokens=options.get("skip_special_tokens", True))
            end: dict[str, Any] | None = {"type": "stop", "matched": token} if token in ENDS else None
            for stop in stops:
                if stop in text:
                    text, end = text[: text.index(stop)], {"type": "stop", "matched": stop}
            if end is None and len(tokens) >= (options.get("max_new_tokens") or WINDOW):
                end = {"type": "length", "length": len(tokens)}
            if end or not text.endswith("\ufffd"):  # the rest of a character is to come
                yield {
                    "index": index,
                    "text": text,
                    "output_ids": tokens,
                    "meta_info": self._facts(request, tokens, end),
                }
            if end:
                return

    def _facts(self, request: Any, tokens: list[int], end: dict[str, Any] | None) -> dict[str, Any]:
        logprobs = [(-0.1, token, self.tokenizer.decode([token])) for token in tokens]
        return {
            **{"id": "0" * 32, "finish_reason": end, "weight_version": "default", "cached_tokens": 0},
            **{"prompt_tokens": len(request.input_ids), "completion_tokens": len(tokens), "reasoning_tokens": 0},
            **{"output_token_logprobs": logprobs, "output_token_logprobs_length": len(tokens)},
            "output_top_logprobs": [[logprob] for logprob in logprobs],
        }


engine, templates, app = Engine(), TemplateManager(), FastAPI()
templates.load_chat_template(engine, None, FOLDER)
chat = OpenAIServingChat(engine, templates)


@app.get("/v1/models")
async def models() -> dict[str, Any]:
    """Whether it is ready."""
    return {}


@app.get("/version")
async def its_version() -> dict[str, str]:
    """SGLang's."""
    return {"version": version("sglang")}


@app.post("/v1/chat/completions")
async def completions(request: ChatCompletionRequest, raw: Request) -> Any:
    """An answer."""
    return await chat.handle_request(request, raw)


uvicorn.run(app, host="127.0.0.1", port=PORT)
