"""Another package's LLM for LlamaIndex."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override

from benchmarks.scenarios import MODEL, Answer
from benchmarks.targets.llama_index import LlamaIndexCall, LlamaIndexClient

if TYPE_CHECKING:
    from llama_index.core.llms.function_calling import FunctionCallingLLM

    from benchmarks.samples import Sample


class ThroughOpenAILike(LlamaIndexClient):
    """OpenAILike, at the service's compatible route."""

    @override
    def make(self, root: str, sample: Sample) -> FunctionCallingLLM:
        from llama_index.llms.openai_like import OpenAILike

        return OpenAILike(
            model=MODEL,
            api_base=root,
            api_key="token",
            is_chat_model=True,
            is_function_calling_model=True,
            max_tokens=sample.max_tokens,
        )

    @override
    def prepared(self, sample: Sample) -> LlamaIndexCall:
        call = super().prepared(sample)
        return call if sample.max_tokens else StreamedCall(call)


class StreamedCall(LlamaIndexCall):
    """A call that reads a stream for its whole answer, since this LLM has no option for that."""

    def __init__(self, call: LlamaIndexCall) -> None:
        self.__dict__.update(vars(call))

    @override
    def call(self) -> Answer:
        return self.stream()._replace(pieces=1)

    @override
    async def acall(self) -> Answer:
        return (await self.astream())._replace(pieces=1)
