"""Log-probabilities as a script has them: each token was certain. Pure."""

from __future__ import annotations

from typing import Any


def token_logprob(token: str, top: int) -> dict[str, Any]:
    """A chat-completions logprob entry for a token, with `top` alternatives that were less likely."""
    ranked = [token, *(f"{token}{place}" for place in range(1, top))][:top]
    listed = [_logprob(alternative, -0.1 - 2.0 * place) for place, alternative in enumerate(ranked)]
    return {**_logprob(token, -0.1), "top_logprobs": listed}


def _logprob(token: str, logprob: float) -> dict[str, Any]:
    return {"token": token, "logprob": logprob, "bytes": list(token.encode())}
