"""A question answered from documents, streamed, with its sources."""

from llama_index.core import Document, SummaryIndex
from llama_index.core.base.response.schema import StreamingResponse

from llama_index_cf_gemma import CloudflareGemma

documents = [
    Document(text="A reader may borrow up to eight books at a time, for three weeks.", metadata={"file": "loans.txt"}),
    Document(text="The library is closed on Mondays.", metadata={"file": "hours.txt"}),
]
engine = SummaryIndex.from_documents(documents).as_query_engine(llm=CloudflareGemma(), streaming=True)

response = engine.query("How many books may I borrow?")
if isinstance(response, StreamingResponse):
    for token in response.response_gen:
        print(token, end="", flush=True)
print("\nSources:", ", ".join(node.metadata["file"] for node in response.source_nodes))
