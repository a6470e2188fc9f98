"""`init_chat_model("cloudflare_gemma:…")`, for those who ask for it."""

from __future__ import annotations

from typing import Any, Final

NAME: Final = "cloudflare_gemma"


def register_init_chat_model(name: str = NAME) -> None:
    """Makes `init_chat_model(f"{name}:{model}")` and `create_agent` with such a string build a ChatCloudflareGemma.

    LangChain has no public way to add a provider to that function, so this adds to its table, and is never done on
    import.

    Raises:
        ImportError: `langchain` isn't installed, or keeps its table elsewhere.
    """
    from langchain.chat_models.base import _BUILTIN_PROVIDERS  # pyright: ignore[reportPrivateUsage]  # see above

    _BUILTIN_PROVIDERS[name] = ("langchain_cf_gemma", "ChatCloudflareGemma", _create)


def _create(cls: Any, *, model: str, **arguments: Any) -> Any:
    return cls(model=model, **arguments)
