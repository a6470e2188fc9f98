"""Is a RAG any good? Two checks of each answer: it says only what the texts say, and it answers the question."""

from pathlib import Path

from llama_index.core import Document
from llama_index.core.evaluation import FaithfulnessEvaluator, RelevancyEvaluator
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.retrievers.bm25 import BM25Retriever

from llama_index_cf_gemma import CloudflareGemma

QUESTIONS = ["How many books may I borrow?", "When is the library closed?", "What does a parking space cost?"]

llm = CloudflareGemma(temperature=0)
files = sorted((Path(__file__).parent / "data" / "library").glob("*.txt"))
documents = [Document(text=file.read_text("utf-8"), metadata={"file": file.name}) for file in files]
nodes = SentenceSplitter().get_nodes_from_documents(documents)
retriever = BM25Retriever.from_defaults(nodes=nodes, similarity_top_k=1)
engine = RetrieverQueryEngine.from_args(retriever, llm=llm)

# A model that judges its own answers is lenient; a second, larger one judges better.
faithfulness, relevancy = FaithfulnessEvaluator(llm=llm), RelevancyEvaluator(llm=llm)

print("faithful  relevant  question and answer")
for question in QUESTIONS:
    answer = engine.query(question)
    texts = [source.get_content() for source in answer.source_nodes]
    faithful = faithfulness.evaluate(question, str(answer), texts)
    relevant = relevancy.evaluate(question, str(answer), texts)
    print(f"{faithful.passing!s:8}  {relevant.passing!s:8}  {question} {answer}")
