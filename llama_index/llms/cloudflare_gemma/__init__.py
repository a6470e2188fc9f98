"""`CloudflareGemma` where LlamaIndex's own integrations are: `llama_index.llms.<name>`.

`llama_index` and `llama_index.llms` are namespaces that many packages share: no `__init__.py` may stand in them.
"""

from llama_index_cf_gemma import CloudflareGemma, InvalidOutput

__all__ = ["CloudflareGemma", "InvalidOutput"]
