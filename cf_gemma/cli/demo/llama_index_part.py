"""The demo's LlamaIndex half: an answer from three text files, streamed, with its sources."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING, Any

from llama_index.core import Document
from llama_index.core.base.response.schema import StreamingResponse
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.retrievers.bm25 import BM25Retriever  # pyright: ignore[reportMissingTypeStubs] - ships no types

from cf_gemma.cli.demo.section import section
from llama_index_cf_gemma import CloudflareGemma

if TYPE_CHECKING:
    from rich.console import Console


def show(console: Console, arguments: dict[str, Any]) -> None:
    """Runs the one part."""
    section(console, "4. LlamaIndex: an answer from three documents")
    documents = [
        Document(text=file.read_text(encoding="utf-8"), metadata={"file_name": file.name})
        for file in sorted(files("cf_gemma.cli.demo").joinpath("texts").iterdir(), key=lambda file: file.name)
    ]
    nodes = SentenceSplitter().get_nodes_from_documents(documents)
    retriever = BM25Retriever.from_defaults(  # pyright: ignore[reportUnknownMemberType] - its stemmer has no types
        nodes=nodes, similarity_top_k=1
    )
    engine = RetrieverQueryEngine.from_args(
        retriever,
        llm=CloudflareGemma(temperature=0, max_tokens=2_048, **arguments),
        streaming=True,
    )
    question = "How many books may a reader borrow at a time?"
    console.print(f"> {question}", style="bold", markup=False)
    response = engine.query(question)
    if not isinstance(response, StreamingResponse):
        raise TypeError(f"a streaming query engine answers with a StreamingResponse, not {type(response).__name__}")
    for token in response.response_gen:
        console.out(token, end="")
    console.print()
    sources = ", ".join(node.metadata["file_name"] for node in response.source_nodes)
    console.print(f"Sources: {sources}", style="dim", markup=False)
