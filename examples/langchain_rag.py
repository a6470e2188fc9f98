"""RAG with LangChain: the embeddings come from the same account as Gemma. Needs langchain-cloudflare.

One token with the permission "Workers AI" serves both. Here it is passed on; langchain-cloudflare itself reads
CF_ACCOUNT_ID and CF_AI_API_TOKEN, which Gemma's classes read, too, where those of the longer names are not set.
"""

import os
from pathlib import Path

from langchain_cloudflare import CloudflareWorkersAIEmbeddings
from langchain_core.documents import Document
from langchain_core.vectorstores import InMemoryVectorStore
from pydantic import SecretStr

from langchain_cf_gemma import ChatCloudflareGemma

root = os.environ.get("CLOUDFLARE_BASE_URL", "https://api.cloudflare.com/client/v4")
embeddings = CloudflareWorkersAIEmbeddings(
    account_id=os.environ["CLOUDFLARE_ACCOUNT_ID"],
    api_token=SecretStr(os.environ["CLOUDFLARE_API_TOKEN"]),
    api_base_url=f"{root}/accounts",
    model_name="@cf/baai/bge-base-en-v1.5",
)
files = sorted((Path(__file__).parent / "data" / "library").glob("*.txt"))
documents = [Document(file.read_text("utf-8"), metadata={"file": file.name}) for file in files]
store = InMemoryVectorStore.from_documents(documents, embeddings)

# The two documents that are nearest to the question go into the prompt.
question = "How many books may a reader borrow at a time?"
found = store.similarity_search(question, k=2)
context = "\n\n".join(document.page_content for document in found)
prompt = f"Answer from these texts alone.\n\n{context}\n\nQuestion: {question}"
for chunk in ChatCloudflareGemma(temperature=0).stream(prompt):
    print(chunk.text, end="", flush=True)
print("\nSources:", ", ".join(document.metadata["file"] for document in found))
