"""The names of settings and of their variables, and what they are by default."""

from __future__ import annotations

from typing import Final, Literal

Endpoint = Literal["run", "chat_completions"]

Timeout = float | tuple[float, float] | None

BASE_URL: Final = "https://api.cloudflare.com/client/v4"
"""The API root of Cloudflare (developers.cloudflare.com/api, 2026-11)."""

BINDING_URL: Final = "https://workers-binding.ai"
"""What a Worker's binding calls the service (cloudflare/workerd, 2026-11). Nothing is sent there by us."""

TIMEOUT: Final = 120.0
"""Seconds of silence that are waited out by default."""

QUEUE_TIMEOUT: Final = 3_600.0
"""Seconds that a batch in the queue is waited for by default. Cloudflare says that one typically takes 5 minutes."""

SETTING_NAMES: Final = (
    "account_id",
    "api_token",
    "base_url",
    "endpoint",
    "gateway",
    "session_affinity",
    "budget",
    "timeout",
    "max_retries",
    "deadline",
    "wire_streaming",
    "default_headers",
    "inline_image_urls",
    "readable_tools",
    "schema_in_prompt",
    "binding",
)
"""What a client is made of, besides an HTTP client and the parameters of its calls. Adapters have fields so named."""

ACCOUNT_VARIABLES: Final = ("CLOUDFLARE_ACCOUNT_ID", "CF_ACCOUNT_ID")

TOKEN_VARIABLES: Final = ("CLOUDFLARE_API_TOKEN", "CLOUDFLARE_AUTH_TOKEN", "CF_AI_API_TOKEN")

BASE_URL_VARIABLES: Final = ("CLOUDFLARE_BASE_URL",)
