"""This package's chat model for LangChain."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override

from benchmarks.targets.langchain import LangChainClient
from langchain_cf_gemma import ChatCloudflareGemma

if TYPE_CHECKING:
    from benchmarks.samples import Sample


class Ours(LangChainClient):
    """Prepares its calls."""

    @override
    def make(self, root: str, sample: Sample) -> ChatCloudflareGemma:
        return ChatCloudflareGemma(account_id="account", api_token="token", base_url=root, max_tokens=sample.max_tokens)
