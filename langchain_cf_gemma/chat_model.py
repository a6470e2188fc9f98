"""ChatCloudflareGemma: Gemma 4 on Cloudflare Workers AI as a LangChain chat model."""

from __future__ import annotations

import inspect
from contextlib import aclosing, closing
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from langchain_core.utils.utils import LC_ID_PREFIX
from typing_extensions import override

from cf_gemma import TextDelta
from langchain_cf_gemma.arguments import reading, timed
from langchain_cf_gemma.chunks import Chunks, to_result
from langchain_cf_gemma.errors import InvalidRequest, as_langchain
from langchain_cf_gemma.events import Events
from langchain_cf_gemma.messages import to_wire
from langchain_cf_gemma.queued import QueuedGemma
from langchain_cf_gemma.structured import answer_format, forced_tool, parsed, parser_for, to_response_format
from langchain_cf_gemma.tools import to_tool_choice, to_tools

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence

    from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
    from langchain_core.language_models import LanguageModelInput
    from langchain_core.messages import AIMessage, BaseMessage
    from langchain_core.outputs import ChatGenerationChunk, ChatResult
    from langchain_core.runnables import Runnable
    from langchain_protocol.protocol import MessagesData

    from cf_gemma import Options
    from langchain_cf_gemma.structured import Method, Object, Schema, WithRaw
    from langchain_cf_gemma.tools import Tool, ToolChoice

Generate = TypeVar("Generate", bound="Callable[..., Any]")


def _signed(method: Generate) -> Generate:
    """Keeps a method's signature at hand: core asks for it with each call, and making one takes 15 µs."""
    method.__dict__["__signature__"] = inspect.signature(method)
    return method


class _Closing(aclosing[Any]):
    """Closes a generator, but within another that is closed itself: then its end is the event loop's.

    A loop that shuts down closes all generators at once, and none can be closed twice at a time.
    """

    @override
    async def __aexit__(self, *error: Any) -> None:
        if error[0] is not GeneratorExit:
            await super().__aexit__(*error)


class ChatCloudflareGemma(QueuedGemma):
    """Cloudflare Workers AI chat model integration for Gemma 4 (`@cf/google/gemma-4-26b-a4b-it`).

    ???+ info "Setup"
        `pip install "cf-gemma[langchain]"`, and set `CLOUDFLARE_ACCOUNT_ID` and `CLOUDFLARE_API_TOKEN`.

    ??? info "Key init args: completion params"
        | Param | Type | Description |
        |---|---|---|
        | `model` | `str` | Workers AI's model id. |
        | `temperature` | `float` | Randomness, 0 to 2; the service's default is 1. |
        | `max_tokens` | `int` | Most tokens to answer with; 16,384, reasoning included, or 4,096 without. |
        | `thinking` | `bool` | Whether to reason first; on, and off for structured output. |
        | `stop` | `list[str]` | Up to four texts at which to stop. |
        | `top_p`, `seed`, `frequency_penalty`, `presence_penalty`, `logprobs`, … | | As in chat completions. |
        | `extra_body` | `dict` | Fields of the request that only the service knows. |

    ??? info "Key init args: client params"
        | Param | Type | Description |
        |---|---|---|
        | `account_id` | `str` | Else `CLOUDFLARE_ACCOUNT_ID`. |
        | `api_token` (or `api_key`) | `SecretStr` | Else `CLOUDFLARE_API_TOKEN`. |
        | `timeout` | `float` or a pair | Seconds of silence to bear, 120. |
        | `max_retries` | `int` | How often to send again what may pass, 2; never once a part was handed out. |
        | `gateway`, `session_affinity` | `str` | An AI Gateway; an id whose calls share a prompt cache. |
        | `base_url`, `endpoint` | | Where, and which of the service's two routes. |

        All are described where they are declared: see the class's fields.

    ??? info "Instantiate"
        ```python
        from langchain_cf_gemma import ChatCloudflareGemma

        model = ChatCloudflareGemma(temperature=0.2, max_tokens=2048)
        ```

    ??? info "Invoke"
        ```python
        messages = [("system", "Answer in one sentence."), ("human", "Hello!")]
        message = model.invoke(messages)
        print(message.text)
        ```

    ??? info "Stream"
        ```python
        for chunk in model.stream(messages):
            print(chunk.text, end="", flush=True)
        ```

        The sum of the chunks is the message that `invoke` gives:

        ```python
        first, *rest = model.stream(messages)
        message = first + rest
        print(message.usage_metadata)
        ```

    ??? info "Async"
        ```python
        import asyncio


        async def main() -> None:
            message = await model.ainvoke(messages)
            async for chunk in model.astream(messages):
                print(chunk.text, end="")


        asyncio.run(main())
        ```

    ??? info "Tool calling"
        ```python
        from pydantic import BaseModel, Field


        class GetWeather(BaseModel):
            "The weather in a city."

            city: str = Field(description="A city, such as Lisbon")


        message = model.bind_tools([GetWeather], tool_choice="any").invoke("What is the weather in Lisbon?")
        print(message.tool_calls)
        ```

        A call whose arguments were cut off is in `message.invalid_tool_calls`, and must not run.

    ??? info "Reasoning output"
        ```python
        message = model.invoke("What is 17 times 24?")
        print(message.additional_kwargs.get("reasoning_content"))
        print([block["type"] for block in message.content_blocks])  # reasoning, text
        model.invoke("What is 17 times 24?", thinking=False)
        ```

    ??? info "Structured output"
        ```python
        class Person(BaseModel):
            "A person."

            name: str
            age: int


        print(model.with_structured_output(Person).invoke("Maria is 34 years old."))
        ```

        `method` is `"json_schema"`, `"function_calling"` or `"json_mode"`: see `with_structured_output`.

    ??? info "JSON mode"
        ```python
        prompt = "Make up a person. Answer with a JSON object that has the keys 'name' and 'city'."
        print(model.with_structured_output(method="json_mode").invoke(prompt))
        ```

    ??? info "Image input"
        ```python
        import base64
        from pathlib import Path

        photo = base64.b64encode(Path("photo.png").read_bytes()).decode()
        image = {"type": "image", "base64": photo, "mime_type": "image/png"}
        print(model.invoke([("human", [{"type": "text", "text": "What is in this image?"}, image])]).text)
        ```

    ??? info "Token usage, cost, response metadata"
        ```python
        message = model.invoke(messages)
        print(message.usage_metadata, message.response_metadata["total_cost"])  # in US dollars
        print(message.response_metadata["finish_reason"], message.response_metadata["request_id"])
        ```

    ??? info "Logprobs"
        ```python
        message = model.invoke(messages, logprobs=True, top_logprobs=2)
        print(message.response_metadata["logprobs"]["content"][0])
        ```

    ??? info "Errors and retries"
        ```python
        from langchain_cf_gemma.errors import GemmaError

        try:
            model.invoke(messages)
        except GemmaError as error:
            print(error.status, error.code, error.is_retryable, error.partial_message)
        ```

        Each is of both families, cf_gemma's and LangChain's: see `langchain_cf_gemma.errors`. An answer is whole, or
        an error says what was missing, and holds what had arrived.

    ??? info "Prompt caching and AI Gateway"
        ```python
        model = ChatCloudflareGemma(gateway="my-gateway", session_affinity="conversation-7")
        print(model.invoke(messages, extra_headers={"cf-aig-cache-ttl": "3600"}).text)
        ```
    """

    # --- Calls -------------------------------------------------------------------------------------------------------

    @override
    @_signed
    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        options = self._options(stop, kwargs)
        with as_langchain():
            completion = timed(self.client, kwargs).chat(to_wire(messages), **options)
        return to_result(completion, **reading(options))

    @override
    @_signed
    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        options = self._options(stop, kwargs)
        with as_langchain():
            completion = await timed(self.async_client, kwargs).chat(to_wire(messages), **options)
        return to_result(completion, **reading(options))

    @override
    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        options, facts = self._streamed(stop, kwargs)
        chunks = Chunks(**facts)
        with as_langchain(), closing(timed(self.client, kwargs).stream(to_wire(messages), **options)) as answer:
            for item in answer:
                for chunk in chunks.of(item):
                    if run_manager:
                        run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                    yield chunk

    @override
    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        options, facts = self._streamed(stop, kwargs)
        chunks = Chunks(**facts)
        with as_langchain():
            async with _Closing(timed(self.async_client, kwargs).stream(to_wire(messages), **options)) as answer:
                async for item in answer:
                    for chunk in chunks.of(item):
                        if run_manager:
                            await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                        yield chunk

    def _stream_chat_model_events(
        self,
        messages: list[BaseMessage],
        *,
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun,
        **kwargs: Any,
    ) -> Iterator[MessagesData]:
        options, facts = self._streamed(stop, kwargs)
        events = Events(f"{LC_ID_PREFIX}-{run_manager.run_id}", **facts)
        with as_langchain(), closing(timed(self.client, kwargs).stream(to_wire(messages), **options)) as answer:
            for item in answer:
                # Tracers take the time to the first token from this.
                if isinstance(item, TextDelta) and not item.choice:
                    run_manager.on_llm_new_token(item.text)
                yield from events.of(item)
            yield from events.end()

    async def _astream_chat_model_events(
        self,
        messages: list[BaseMessage],
        *,
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun,
        **kwargs: Any,
    ) -> AsyncIterator[MessagesData]:
        options, facts = self._streamed(stop, kwargs)
        events = Events(f"{LC_ID_PREFIX}-{run_manager.run_id}", **facts)
        with as_langchain():
            async with _Closing(timed(self.async_client, kwargs).stream(to_wire(messages), **options)) as answer:
                async for item in answer:
                    if isinstance(item, TextDelta) and not item.choice:
                        await run_manager.on_llm_new_token(item.text)
                    for event in events.of(item):
                        yield event
            for event in events.end():
                yield event

    def _streamed(self, stop: list[str] | None, kwargs: Mapping[str, Any]) -> tuple[Options, dict[str, Any]]:
        """The parameters of a streamed call, and what its chunks must know of them."""
        options = self._options(stop, kwargs)
        if (options.get("n") or 1) > 1:
            raise InvalidRequest("n must be 1 in a stream: use generate(), with disable_streaming=True.")
        usage = kwargs.get("stream_usage")
        usage = self.stream_usage if usage is None else usage
        return options, {**reading(options), "usage": usage}

    # --- Tools and structured output ---------------------------------------------------------------------------------

    @override
    def bind_tools(  # pyright: ignore[reportIncompatibleMethodOverride]  # wider than core's, which lacks True and dicts
        self,
        tools: Sequence[Tool],
        *,
        tool_choice: ToolChoice = None,
        strict: bool | None = None,
        parallel_tool_calls: bool | None = None,
        response_format: Schema | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """The model with tools to call.

        Args:
            tools: Tools, functions, Pydantic classes, TypedDicts, JSON schemas with a title, or chat completions',
                Anthropic's or Bedrock's dicts.
            tool_choice: `"auto"`, `"none"`; `"any"`, `"required"` or True for at least one call; a tool's name for a
                call of that one; or an object.
            strict: Whether arguments must match the schema exactly.
            parallel_tool_calls: Whether several calls at once are allowed.
            response_format: A schema that the answer's text must match.
            **kwargs: Any parameter of a call.

        Raises:
            InvalidRequest: `tool_choice` names no tool.
            ValueError: Something in `tools` isn't one.
        """
        listed = to_tools(tools, strict=strict)
        with as_langchain():
            choice = to_tool_choice(tool_choice, listed)
        bound: dict[str, Any] = {
            "tools": listed or None,
            "tool_choice": choice,
            "parallel_tool_calls": parallel_tool_calls,
            "response_format": None if response_format is None else to_response_format(response_format, strict=strict),
        }
        return self.bind(**{name: value for name, value in bound.items() if value is not None}, **kwargs)

    @overload
    def with_structured_output(
        self,
        schema: type[Object],
        *,
        method: Method = ...,
        include_raw: Literal[False] = ...,
        strict: bool | None = ...,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Object]: ...
    @overload
    def with_structured_output(
        self,
        schema: type[Object],
        *,
        method: Method = ...,
        include_raw: Literal[True],
        strict: bool | None = ...,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, WithRaw[Object]]: ...
    @overload
    def with_structured_output(
        self,
        schema: dict[str, Any] | None = ...,
        *,
        method: Method = ...,
        include_raw: Literal[False] = ...,
        strict: bool | None = ...,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, dict[str, Any]]: ...
    @overload
    def with_structured_output(
        self,
        schema: dict[str, Any] | None = ...,
        *,
        method: Method = ...,
        include_raw: Literal[True],
        strict: bool | None = ...,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, WithRaw[dict[str, Any]]]: ...
    @overload
    def with_structured_output(
        self,
        schema: Schema | None = ...,
        *,
        method: Method = ...,
        include_raw: bool,
        strict: bool | None = ...,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]: ...
    @override
    def with_structured_output(  # pyright: ignore[reportIncompatibleMethodOverride]  # core keeps `method` in kwargs
        self,
        schema: Schema | None = None,
        *,
        method: Method = "json_schema",
        include_raw: bool = False,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """The model with answers in the form of a schema. Thinking is off, unless set here or on the model.

        Args:
            schema: A Pydantic class (answers are instances of it), a TypedDict, or a JSON schema with a title (answers
                are dicts). None only with `method="json_mode"`.
            method: `"json_schema"` constrains the answer's text; `"function_calling"` makes the schema a tool and
                forces its call; `"json_mode"` asks for some JSON object, whose form the prompt must describe.
            include_raw: Whether to return a `WithRaw`: a dict of `raw` (the message), `parsed` and `parsing_error`.
            strict: Passed on with the schema.
            **kwargs: Any parameter of a call.

        Raises:
            InvalidRequest: An unknown method, or no schema.
            ValueError: A schema that isn't one, such as a JSON schema without a title.

        When used, the runnable raises IncompleteOutput for an answer that is cut off or empty,
        ReasoningBudgetExceeded when thinking left no room for one, and OutputParserException for one that doesn't
        match the schema.
        """
        if self.thinking is None:
            kwargs.setdefault("thinking", False)
        kwargs["ls_structured_output_format"] = {"kwargs": {"method": method, "strict": strict}, "schema": schema}
        with as_langchain():
            parser = parser_for(schema, method)
            if method == "function_calling":
                tool = forced_tool(schema, strict=strict)
                kwargs |= {"tool_choice": tool["function"]["name"], "parallel_tool_calls": False}
                llm = self.bind_tools([tool], **kwargs)
            else:
                llm = self.bind(response_format=answer_format(schema, method, strict=strict), **kwargs)
        return parsed(llm, parser, method, include_raw=include_raw)
