"""The published request parameters, by name, with the ranges that the service's schema gives."""

from __future__ import annotations

from typing import Any, Literal, TypedDict


class Options(TypedDict, total=False):
    """Parameters of one call. None means the same as leaving the parameter out.

    Names, types and ranges: the model's published input schema (cloudflare-docs, gemma-4-26b-a4b-it, 2026-11).
    `thinking` and `extra_body` are ours.
    """

    temperature: float | None
    top_p: float | None
    max_tokens: int | None
    max_completion_tokens: int | None
    stop: str | list[str] | None
    seed: int | None
    frequency_penalty: float | None
    presence_penalty: float | None
    logit_bias: dict[str, float] | None
    logprobs: bool | None
    top_logprobs: int | None
    n: int | None
    tools: list[dict[str, Any]] | None
    tool_choice: str | dict[str, Any] | None
    parallel_tool_calls: bool | None
    functions: list[dict[str, Any]] | None
    function_call: str | dict[str, Any] | None
    response_format: dict[str, Any] | None
    reasoning_effort: Literal["low", "medium", "high"] | None
    chat_template_kwargs: dict[str, Any] | None
    skip_special_tokens: bool | None
    stream_options: dict[str, Any] | None
    metadata: dict[str, Any] | None
    modalities: list[str] | None
    audio: dict[str, Any] | None
    prediction: dict[str, Any] | None
    store: bool | None
    user: str | None
    web_search_options: dict[str, Any] | None
    model: str | None
    thinking: bool | None
    extra_body: dict[str, Any] | None
    extra_headers: dict[str, str] | None
    """Headers for this call only, such as `cf-aig-cache-ttl`."""
