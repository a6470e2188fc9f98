"""This package's LLM for LlamaIndex."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override

from benchmarks.targets.llama_index import LlamaIndexClient
from llama_index_cf_gemma import CloudflareGemma

if TYPE_CHECKING:
    from benchmarks.samples import Sample


class Ours(LlamaIndexClient):
    """Prepares its calls."""

    @override
    def make(self, root: str, sample: Sample) -> CloudflareGemma:
        return CloudflareGemma(account_id="account", api_token="token", base_url=root, max_tokens=sample.max_tokens)
