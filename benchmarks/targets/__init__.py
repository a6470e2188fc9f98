"""Who takes part, by name, and how each is driven."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from benchmarks.samples import Sample
    from benchmarks.scenarios import Answer


class Call(Protocol):
    """One call of one client, ready to go: what it sends is built, what it needs is open."""

    def stream(self) -> Answer:
        """Reads the stream."""
        ...

    async def astream(self) -> Answer:
        """Reads the stream."""
        ...

    def call(self) -> Answer:
        """Gets the whole answer."""
        ...

    async def acall(self) -> Answer:
        """Gets the whole answer."""
        ...

    def first(self) -> float:
        """Reads the stream; the seconds until its first text."""
        ...

    async def afirst(self) -> float:
        """Reads the stream; the seconds until its first text."""
        ...


class Client(Protocol):
    """Prepares calls."""

    def prepared(self, sample: Sample) -> Call:
        """A call as the sample wants it."""
        ...


class Target(NamedTuple):
    """A client that takes part."""

    place: str
    """Module and class; the class takes the server's root."""
    needs: str
    """The package without which it can't."""
    title: str


TARGETS = {
    "raw": Target("raw:Raw", "httpx", "raw httpx"),
    "lc-min": Target("minimal_langchain:Minimal", "langchain_core", "the least LangChain"),
    "li-min": Target("minimal_llama_index:Minimal", "llama_index.core", "the least LlamaIndex"),
    "lc": Target("ours_langchain:Ours", "langchain_core", "ChatCloudflareGemma"),
    "li": Target("ours_llama_index:Ours", "llama_index.core", "CloudflareGemma"),
    "openai": Target("peer_openai:OpenAI", "openai", "openai"),
    "lc-openai": Target("peer_langchain:ThroughOpenAI", "langchain_openai", "ChatOpenAI"),
    "lc-cloudflare": Target("peer_langchain:ThroughCloudflare", "langchain_cloudflare", "ChatCloudflareWorkersAI"),
    "li-openai-like": Target("peer_llama_index:ThroughOpenAILike", "llama_index.llms.openai_like", "OpenAILike"),
}

OURS = ("lc", "li")
PEERS = ("openai", "lc-openai", "lc-cloudflare", "li-openai-like")
MINIMA = {"lc": "lc-min", "li": "li-min"}
"""What each of ours is measured against."""


def installed(name: str) -> bool:
    """Whether a target can take part."""
    try:
        return find_spec(TARGETS[name].needs) is not None
    except ModuleNotFoundError:
        return False


def client(name: str, root: str) -> Client:
    """The client of that name, pointed at the server."""
    module, _, kind = TARGETS[name].place.partition(":")
    return getattr(import_module(f"benchmarks.targets.{module}"), kind)(root)
