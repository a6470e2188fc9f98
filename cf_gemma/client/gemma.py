"""Gemma and AsyncGemma: the model, without a framework."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import replace
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from typing_extensions import override

from cf_gemma.errors import ConfigurationError, UnsupportedContent
from cf_gemma.model.facts import MODEL
from cf_gemma.request import remote_images
from cf_gemma.request.closing import HeldText, keeping, together
from cf_gemma.request.http_request import build
from cf_gemma.request.parameters import LIMITS, RULES, merged, unknown_setting
from cf_gemma.settings.defaults import SETTING_NAMES, TIMEOUT
from cf_gemma.settings.resolved import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
    from typing import Never, Self, SupportsIndex, Unpack

    from pydantic import SecretStr

    from cf_gemma.client.budget import Budget
    from cf_gemma.model.completion import Completion, Delta
    from cf_gemma.queue.batch import AsyncBatch, Batch
    from cf_gemma.request.closing import Closing
    from cf_gemma.request.http_request import HttpRequest
    from cf_gemma.request.parameters import Options
    from cf_gemma.settings.defaults import Endpoint, Timeout
    from cf_gemma.settings.gateway import Gateway
    from cf_gemma.transport.binding import BindingTransport
    from cf_gemma.transport.http import AsyncHttpClient, AsyncTransport, HttpClient, SyncTransport

    Messages = str | Sequence[Mapping[str, Any]] | None

AnyHttpClient = TypeVar("AnyHttpClient")

_log = logging.getLogger("cf_gemma")


@contextlib.contextmanager
def _bearing(messages: Sequence[Mapping[str, Any]], url: str) -> Generator[None]:
    """Goes on without an image that can't be had, where it is past: the request says that it is left out."""
    try:
        yield
    except UnsupportedContent as error:
        if not remote_images.may_be_missing(messages, url):
            raise
        _log.debug("an image of the past can't be had: %s", error.message)


class _Model(Generic[AnyHttpClient]):
    """What both clients share: checked settings and parameters, and requests made of them."""

    framework: str | None = None
    """The framework whose calls these are, where there is one."""

    def __init__(
        self,
        account_id: str | None = None,
        api_token: str | SecretStr | None = None,
        *,
        base_url: str | None = None,
        endpoint: Endpoint = "run",
        gateway: str | Gateway | None = None,
        session_affinity: str | None = None,
        timeout: Timeout = TIMEOUT,
        max_retries: int = 2,
        wire_streaming: bool | Literal["auto"] = "auto",
        default_headers: Mapping[str, str] | None = None,
        inline_image_urls: bool = False,
        readable_tools: bool = True,
        schema_in_prompt: bool = True,
        deadline: float | None = None,
        budget: Budget | None = None,
        validate: bool = False,
        binding: Any = None,
        http_client: AnyHttpClient | None = None,
        **options: Unpack[Options],  # pyright: ignore[reportGeneralTypeIssues] - session_affinity is of every call, or of one
    ) -> None:
        self.settings = Settings.resolve(
            account_id=account_id,
            api_token=api_token,
            base_url=base_url,
            endpoint=endpoint,
            gateway=gateway,
            session_affinity=session_affinity,
            timeout=timeout,
            max_retries=max_retries,
            wire_streaming=wire_streaming,
            default_headers=default_headers,
            deadline=deadline,
            readable_tools=readable_tools,
            schema_in_prompt=schema_in_prompt,
            binding=binding,
        )
        if binding is not None:
            self._check_binding(http_client)
        for name in options.keys() - RULES:
            raise unknown_setting(type(self).__name__, name, (*SETTING_NAMES, "http_client", *RULES))
        self._options = merged(options)
        self._http_client, self._budget = http_client, budget
        self._inlines = inline_image_urls
        if validate:
            self._validate()

    def _validate(self) -> None:
        """Checks the settings with the service."""
        raise NotImplementedError

    @property
    def options(self) -> Mapping[str, Any]:
        """The parameters of every call."""
        return MappingProxyType(self._options)

    def with_retries(self, max_retries: int) -> Self:
        """The same client with another `max_retries`, for those who send again in their own way."""
        return self._with(replace(self.settings, max_retries=max_retries))

    def with_timeout(self, timeout: Timeout) -> Self:
        """The same client with another `timeout`, for a call that is to take less, or may take more."""
        return self._with(self.settings.with_timeout(timeout))

    def _with(self, settings: Settings) -> Self:
        client = object.__new__(type(self))
        client.settings = settings
        client._options, client._http_client, client._inlines = self._options, self._http_client, self._inlines
        client._budget, client.framework = self._budget, self.framework
        return client

    def _check_binding(self, http_client: object) -> None:
        """Raises ConfigurationError where a binding can't be used."""
        if http_client is not None:
            raise ConfigurationError("an HTTP client can't be used with a binding: leave one of them out")

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # Nothing here ever changes, so a copy is as good as this one, and shares its connections.
        return self

    @override
    def __reduce_ex__(self, protocol: SupportsIndex) -> Never:
        raise TypeError(f"{type(self).__name__} can't be pickled: it holds a token. Make one where it is needed")

    def _request(
        self, messages: Messages, prompt: str | None, options: Mapping[str, Any], *, stream: bool | None = None
    ) -> HttpRequest:
        parameters = merged(self._options, options)
        request = build(self.settings, messages, parameters, prompt=prompt, stream=stream)
        if request.left_out:
            _log.debug("not sent, since it can't be, and is past: %s", "; ".join(request.left_out))
        return self._billed(request, parameters)

    def _billed(self, request: HttpRequest, parameters: Mapping[str, Any]) -> HttpRequest:
        if self._budget is None:
            return request
        chosen = not LIMITS.isdisjoint({*parameters, *parameters.get("extra_body", {})})
        limit = request.limit if chosen else None
        return replace(request, bill=self._budget.bill(parameters.get("model", MODEL), request.prompt_tokens, limit))

    def _check_request(self, model: str | None) -> HttpRequest:
        """The least request, without the parameters of this client's calls."""
        parameters = merged({"model": self._options.get("model")}, {"model": model, "max_tokens": 1, "thinking": False})
        return self._billed(build(self.settings, "Hi", parameters), parameters)

    def _last_request(self, closing: Closing, completion: Completion, *, stream: bool | None = None) -> HttpRequest:
        """The request for the object, where the answer was another text."""
        parameters = closing.last_parameters()
        request = build(self.settings, closing.last_messages(completion.text), parameters, stream=stream)
        return self._billed(request, parameters)


class Gemma(_Model["HttpClient"]):
    """Gemma 4 over HTTP, blocking. Threads may share one.

    Messages are chat-completions dicts (`role`, `content`, `tool_calls`, `tool_call_id`, `reasoning_content`…); a str
    is one user message. Images are `image_url` parts with a `data:` URL, see `cf_gemma.request.images.image_part`.

    Args:
        account_id: Cloudflare account; default CLOUDFLARE_ACCOUNT_ID, then CF_ACCOUNT_ID. With `base_url` and
            `endpoint="chat_completions"` there may be none ("" where the environment has one), and requests go to
            `{base_url}/chat/completions`, so to any server of OpenAI's shape (llama.cpp, vLLM); the environment's token
            is then not shown to it.
        api_token: Token with the permission Workers AI; default CLOUDFLARE_API_TOKEN, then CLOUDFLARE_AUTH_TOKEN, then
            CF_AI_API_TOKEN.
        base_url: API root, https, or http on loopback; default CLOUDFLARE_BASE_URL, then Cloudflare's.
        endpoint: "run" (native) or "chat_completions" (OpenAI's shape).
        gateway: An AI Gateway to go through: its name, or a `Gateway` with settings for each request.
        session_affinity: Any id; requests that share it go to one machine, whose prompt cache they share.
        timeout: Seconds of silence before a call is given up, default 120 (and 5 to connect); a pair (connect,
            silence); None for no limit.
        max_retries: How many times a request may be sent again, default 2. Nothing is sent again once something
            of a streamed answer was handed out.
        wire_streaming: Whether `chat` streams on the wire. "auto" does when more than 2,048 tokens may come, because
            the service gives up on longer calls after 120 to 240 s.
        default_headers: Headers of every request, such as `cf-aig-cache-ttl`.
        inline_image_urls: Whether images on the web are fetched and sent along; otherwise their URLs are refused, since
            the service takes none. https only, from public addresses only, 10 MB at most, redirects not followed.
        readable_tools: Whether tools go out in the form that Gemma's chat template prints: references written out, a
            type for each field, and in the descriptions whatever it leaves out. False sends them as they are.
        schema_in_prompt: Whether the schema of a structured answer stands in the system turn, too: a `response_format`
            alone binds the model without a word to it.
        deadline: Seconds from the beginning of a call in which an attempt may begin, waits included; None for no limit.
            An attempt that has begun isn't cut, but given up after a silence of `timeout`, or of this if it is less.
        budget: A `Budget` that the calls of this client count for; any number of clients and models may share one.
        validate: Whether to `check()` at once, so that a wrong token, account or model is an error here.
        binding: `env.AI` of a Python Worker, instead of account and token. It answers `AsyncGemma` only.
        http_client: An `httpx.Client` to use instead of our own; it stays yours to close.
        **options: Parameters of every call, see `Options`; those of a call come before them.

    Raises:
        ConfigurationError: A setting is missing, malformed or unknown.
        InvalidRequest: A parameter is out of range.
    """

    def check(self, model: str | None = None) -> None:
        """Asks for one token, and raises what is wrong with the token, the account, the model or the way there."""
        self._transport.complete(self._check_request(model))

    @override
    def _validate(self) -> None:
        self.check()

    @override
    def _check_binding(self, http_client: object) -> None:
        raise ConfigurationError(
            "a binding answers asynchronous calls only: use AsyncGemma, or a model's ainvoke, astream, achat, acomplete"
        )

    def chat(self, messages: Messages = None, *, prompt: str | None = None, **options: Unpack[Options]) -> Completion:
        """The whole answer. Raises a subclass of GemmaError, before anything is sent for what can't be."""
        request = self._request(self._with_images(messages), prompt, options)
        completion = self._transport.complete(request)
        if request.closing is None:
            return completion
        if not request.closing.is_needed(completion):
            return request.closing.bare(completion)
        with keeping(completion):
            return together(completion, self._transport.complete(self._last_request(request.closing, completion)))

    def stream(
        self, messages: Messages = None, *, prompt: str | None = None, **options: Unpack[Options]
    ) -> Generator[Delta | Completion, None, None]:
        """Deltas as they arrive, then exactly one Completion, last.

        What can't be sent is refused at once; the request goes out at the first `next()`. `close()` closes the
        connection. An error in the middle carries what had arrived as `partial`.
        """
        request = self._request(self._with_images(messages), prompt, options, stream=True)
        stream = self._transport.stream(request)
        return stream if request.closing is None else self._closed(stream, request.closing)

    def _closed(
        self, stream: Generator[Delta | Completion, None, None], closing: Closing
    ) -> Generator[Delta | Completion, None, None]:
        """The stream with its text held back until it is known to be the object; else followed by one that is."""
        held = HeldText(closing)
        with contextlib.closing(stream):
            for item in stream:
                yield from held.passed(item)
        if held.unfit is not None:
            request = self._last_request(closing, held.unfit, stream=True)
            with keeping(held.unfit), contextlib.closing(self._transport.stream(request)) as last:
                for item in last:
                    yield held.joined(item)

    @cached_property
    def batch(self) -> Batch:
        """The asynchronous queue: many requests handed over at once, answered when there is room."""
        from cf_gemma.queue.batch import Batch

        return Batch(self.settings, self._options, self._post, self._with_images)

    def close(self) -> None:
        """Closes the connections, unless another client uses them too. The next call opens new ones."""
        if "_transport" in self.__dict__:
            self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _post(self, request: HttpRequest) -> dict[str, Any]:
        return self._transport.post(request)

    def _with_images(self, messages: Messages) -> Messages:
        urls = remote_images.addresses(messages) if self._inlines else []
        if not urls or messages is None or isinstance(messages, str):
            return messages
        images: dict[str, bytes] = {}
        for url in urls:
            with _bearing(messages, url):
                images[url] = self._transport.fetch(url)
        return remote_images.inlined(messages, images)

    _http_client: HttpClient | None

    @cached_property
    def _transport(self) -> SyncTransport:
        # Here, so that importing this package doesn't load the HTTP library.
        from cf_gemma.transport.http import SyncTransport

        return SyncTransport(self.settings, self._http_client)


class AsyncGemma(_Model["AsyncHttpClient"]):
    """Gemma 4, asynchronous: the same as `Gemma`, for any number of event loops.

    `http_client` is an `httpx.AsyncClient`. In a Python Worker, `binding=env.AI` takes the place of account and token,
    and of HTTP: no sockets, no threads.
    """

    async def check(self, model: str | None = None) -> None:
        """Asks for one token, and raises what is wrong with the token, the account, the model or the way there."""
        transport = await self._loaded()
        await transport.complete(self._check_request(model))

    @override
    def _validate(self) -> None:
        raise ConfigurationError("validate: a constructor can't wait for the service; await check() instead")

    async def chat(
        self, messages: Messages = None, *, prompt: str | None = None, **options: Unpack[Options]
    ) -> Completion:
        """The whole answer. Raises a subclass of GemmaError, before anything is sent for what can't be."""
        transport = await self._loaded()
        request = await self._unblocked_request(messages, prompt, options)
        completion = await transport.complete(request)
        if request.closing is None:
            return completion
        if not request.closing.is_needed(completion):
            return request.closing.bare(completion)
        with keeping(completion):
            return together(completion, await transport.complete(self._last_request(request.closing, completion)))

    def stream(
        self, messages: Messages = None, *, prompt: str | None = None, **options: Unpack[Options]
    ) -> AsyncGenerator[Delta | Completion, None]:
        """Deltas as they arrive, then exactly one Completion, last.

        What can't be sent is refused at once; the request goes out at the first `anext()`. `aclose()` closes the
        connection. An error in the middle carries what had arrived as `partial`.
        """
        with_images = remote_images.has_images(messages)
        request = None if with_images else self._request(messages, prompt, options, stream=True)
        return self._streamed(request, messages, prompt, options)

    @cached_property
    def batch(self) -> AsyncBatch:
        """The asynchronous queue: many requests handed over at once, answered when there is room."""
        from cf_gemma.queue.batch import AsyncBatch

        return AsyncBatch(self.settings, self._options, self._post, self._with_images)

    async def aclose(self) -> None:
        """Closes this event loop's connections, unless another client uses them too. The next call opens new ones."""
        if "_transport" in self.__dict__:
            await self._transport.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    async def _loaded(self) -> AsyncTransport | BindingTransport:
        """The transport; loaded by another thread, because the HTTP library and the certificates take a while."""
        if "_transport" not in self.__dict__ and self.settings.binding is None:
            await asyncio.to_thread(getattr, self, "_transport")
        await self._transport.turn()
        return self._transport

    async def _unblocked_request(
        self, messages: Messages, prompt: str | None, options: Mapping[str, Any], *, stream: bool | None = None
    ) -> HttpRequest:
        """The request; made by another thread when there are images, which may have to be scaled down."""
        if not remote_images.has_images(messages):
            return self._request(messages, prompt, options, stream=stream)
        messages = await self._with_images(messages)
        return await asyncio.to_thread(self._request, messages, prompt, options, stream=stream)

    async def _streamed(
        self, request: HttpRequest | None, messages: Messages, prompt: str | None, options: Mapping[str, Any]
    ) -> AsyncGenerator[Delta | Completion, None]:
        transport = await self._loaded()
        if request is None:
            request = await self._unblocked_request(messages, prompt, options, stream=True)
        held = HeldText(request.closing) if request.closing else None
        with request.bill:
            async with await transport.answer(request) as exchange:
                while items := await exchange.more():
                    for item in items:
                        for passed in held.passed(item) if held else (item,):
                            yield passed
        if held is None or held.unfit is None:
            return
        last = self._last_request(held.closing, held.unfit, stream=True)
        with keeping(held.unfit), last.bill:
            async with await transport.answer(last) as exchange:
                while items := await exchange.more():
                    for item in items:
                        yield held.joined(item)

    async def _post(self, request: HttpRequest) -> dict[str, Any]:
        return await (await self._loaded()).post(request)

    async def _with_images(self, messages: Messages) -> Messages:
        urls = remote_images.addresses(messages) if self._inlines else []
        if not urls or messages is None or isinstance(messages, str):
            return messages
        images: dict[str, bytes] = {}
        for url in urls:
            with _bearing(messages, url):
                images[url] = await self._transport.fetch(url)
        return remote_images.inlined(messages, images)

    _http_client: AsyncHttpClient | None

    @cached_property
    def _transport(self) -> AsyncTransport | BindingTransport:
        if self.settings.binding is not None:
            from cf_gemma.transport.binding import BindingTransport

            return BindingTransport(self.settings)
        from cf_gemma.transport.http import AsyncTransport

        return AsyncTransport(self.settings, self._http_client)
