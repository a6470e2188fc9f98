"""RAG with LlamaIndex: an answer whose every claim names its source. Needs llama-index-retrievers-bm25."""

from pathlib import Path

from llama_index.core import Document, SummaryIndex
from llama_index.core.base.response.schema import StreamingResponse
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.query_engine import CitationQueryEngine
from llama_index.retrievers.bm25 import BM25Retriever

from llama_index_cf_gemma import CloudflareGemma

files = sorted((Path(__file__).parent / "data" / "library").glob("*.txt"))
documents = [Document(text=file.read_text("utf-8"), metadata={"file": file.name}) for file in files]
nodes = SentenceSplitter().get_nodes_from_documents(documents)

# BM25 finds texts by their words; a VectorStoreIndex with embeddings takes the same place.
engine = CitationQueryEngine.from_args(
    SummaryIndex(nodes),
    retriever=BM25Retriever.from_defaults(nodes=nodes, similarity_top_k=2),
    llm=CloudflareGemma(temperature=0),
    streaming=True,
)
response = engine.query("How many books may I borrow, and when is the library closed?")
if isinstance(response, StreamingResponse):
    for token in response.response_gen:
        print(token, end="", flush=True)
print()
for number, source in enumerate(response.source_nodes, 1):
    print(f"[{number}] {source.metadata['file']}")
