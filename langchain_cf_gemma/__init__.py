"""LangChain's chat model for Gemma 4 on Cloudflare Workers AI: `ChatCloudflareGemma`."""

try:
    import langchain_core as _langchain_core
except ModuleNotFoundError as error:
    if error.name != "langchain_core":
        raise
    raise ImportError('langchain_cf_gemma needs LangChain: pip install "cf-gemma[langchain]"') from None

from langchain_cf_gemma.chat_model import ChatCloudflareGemma
from langchain_cf_gemma.chunks import cost_of
from langchain_cf_gemma.registry import register_init_chat_model
from langchain_cf_gemma.structured import WithRaw
from langchain_cf_gemma.translator import register as _register_translator

del _langchain_core
_register_translator()

__all__ = ["ChatCloudflareGemma", "WithRaw", "cost_of", "register_init_chat_model"]
