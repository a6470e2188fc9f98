"""Gemma 4 on Cloudflare Workers AI as a LlamaIndex LLM: `CloudflareGemma`."""

try:
    import llama_index.core as _core
except ModuleNotFoundError as error:
    if error.name is None or not error.name.startswith("llama_index"):
        raise
    raise ImportError('llama_index_cf_gemma needs LlamaIndex: pip install "cf-gemma[llama-index]"') from None
else:
    del _core

from llama_index_cf_gemma.errors import InvalidOutput
from llama_index_cf_gemma.llm import CloudflareGemma

__all__ = ["CloudflareGemma", "InvalidOutput"]
