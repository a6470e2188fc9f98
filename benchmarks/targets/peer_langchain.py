"""Other packages' chat models for LangChain."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override

from benchmarks.scenarios import MODEL
from benchmarks.targets.langchain import LangChainClient

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from benchmarks.samples import Sample


class ThroughOpenAI(LangChainClient):
    """ChatOpenAI, at the service's compatible route. Like ours, it streams on the wire where the answer may be long."""

    @override
    def make(self, root: str, sample: Sample) -> BaseChatModel:
        from langchain_openai import ChatOpenAI

        # `streaming=False` would switch `stream()` off.
        streaming = {"streaming": True} if sample.max_tokens is None else {}
        return ChatOpenAI(base_url=root, api_key="token", model=MODEL, max_tokens=sample.max_tokens, **streaming)


class ThroughCloudflare(LangChainClient):
    """ChatCloudflareWorkersAI of langchain-cloudflare."""

    @override
    def make(self, root: str, sample: Sample) -> BaseChatModel:
        from langchain_cloudflare import ChatCloudflareWorkersAI

        options = {"max_tokens": sample.max_tokens} if sample.max_tokens else {}
        return ChatCloudflareWorkersAI(account_id="account", api_token="token", base_url=root, model=MODEL, **options)
