"""Structured output: a schema in, a runnable that answers with an object of that schema."""

from __future__ import annotations

import json
import re
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypeAlias, TypeVar, cast

from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import add_ai_message_chunks
from langchain_core.output_parsers import JsonOutputParser, PydanticOutputParser
from langchain_core.output_parsers.openai_tools import JsonOutputKeyToolsParser
from langchain_core.outputs import ChatGeneration
from langchain_core.runnables import AddableDict, RunnableGenerator
from langchain_core.utils.function_calling import convert_to_json_schema
from langchain_core.utils.json import parse_json_markdown, parse_partial_json
from langchain_core.utils.pydantic import is_basemodel_subclass
from typing_extensions import TypedDict, override

from cf_gemma.errors import GemmaError, InvalidRequest
from cf_gemma.structured import budget_exceeded, response_format
from langchain_cf_gemma.chunks import to_completion
from langchain_cf_gemma.errors import IncompleteOutput, as_langchain
from langchain_cf_gemma.tools import own_schema, to_tools

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from langchain_core.language_models import LanguageModelInput
    from langchain_core.output_parsers import BaseOutputParser
    from langchain_core.outputs import Generation
    from langchain_core.runnables import Runnable

    from cf_gemma import Completion

Method: TypeAlias = Literal["json_schema", "function_calling", "json_mode"]
Schema: TypeAlias = "dict[str, Any] | type"
Object = TypeVar("Object")


class WithRaw(TypedDict, Generic[Object]):
    """What a structured answer is with `include_raw=True`."""

    raw: AIMessage
    parsed: Object | None
    parsing_error: BaseException | None


_NOT_IN_NAMES: Final = re.compile(r"[^a-zA-Z0-9_-]")
_LONGEST_NAME: Final = 64
"""Characters in the name of a tool or of a format (chat completions' rule)."""


def answer_format(schema: Schema | None, method: Method, *, strict: bool | None) -> dict[str, Any]:
    """The request's `response_format` for a method that constrains the answer's text.

    Raises:
        InvalidRequest: An unknown method, or no schema where there must be one.
    """
    if method == "json_mode":
        return {"type": "json_object"}
    if method != "json_schema":
        raise InvalidRequest(f"method must be json_schema, function_calling or json_mode, not {method!r}.")
    return to_response_format(_required(schema), strict=strict)


def to_response_format(schema: Schema, *, strict: bool | None = None) -> dict[str, Any]:
    """The request's `response_format` for a Pydantic class, a TypedDict, a JSON schema, or one that is ready.

    Raises:
        ValueError: A JSON schema without a title, which gives the format its name.
    """
    if isinstance(schema, dict):
        if schema.get("type") in {"json_schema", "json_object", "text"} and "properties" not in schema:
            return schema
        if {"name", "schema"} <= schema.keys():
            return {"type": "json_schema", "json_schema": schema}
    json_schema = own_schema(schema, strict=strict) or convert_to_json_schema(cast("Any", schema), strict=strict)
    return response_format(json_schema, _sendable(json_schema["title"]), strict=strict)


def parser_for(schema: Schema | None, method: Method) -> BaseOutputParser[Any]:
    """The parser that turns the model's answer into an object of the schema: the class's own, or else a dict."""
    pydantic_class = schema if isinstance(schema, type) and is_basemodel_subclass(schema) else None
    if method == "function_calling":
        name = forced_tool(schema)["function"]["name"]
        if pydantic_class:
            return _ObjectOfCall(key_name=name, first_tool_only=True, pydantic_class=pydantic_class)
        return JsonOutputKeyToolsParser(key_name=name, first_tool_only=True)
    if pydantic_class is None:
        return _DictOfText()
    return _ObjectOfText(pydantic_object=pydantic_class)


def forced_tool(schema: Schema | None, *, strict: bool | None = None) -> dict[str, Any]:
    """The tool that a schema becomes, under a name that can be sent."""
    (tool,) = to_tools([_required(schema)], strict=strict)
    function = tool["function"]
    return {**tool, "function": {**function, "name": _sendable(function["name"])}}


def parsed(
    llm: Runnable[LanguageModelInput, AIMessage], parser: BaseOutputParser[Any], method: Method, *, include_raw: bool
) -> Runnable[LanguageModelInput, Any]:
    """The model with its parser; with `include_raw`, a dict of `raw`, `parsed` and `parsing_error`."""
    check = _Check(parser, method)
    complete = RunnableGenerator(check.transform, check.atransform, name="complete_answer")
    if not include_raw:
        return llm | complete | parser
    both = _Both(complete | parser)
    return llm | RunnableGenerator(both.transform, both.atransform, name="raw_and_parsed")


def _required(schema: Schema | None) -> Schema:
    if schema is None:
        raise InvalidRequest("with_structured_output needs a schema, except with method='json_mode'.")
    return schema


def _sendable(name: str) -> str:
    return _NOT_IN_NAMES.sub("_", name)[:_LONGEST_NAME]


def _is_call(result: list[Generation]) -> bool:
    """Whether the model called one of the tools that it had beside the schema."""
    message = getattr(result[0], "message", None)
    return isinstance(message, AIMessage) and bool(message.tool_calls)


class _DictOfText(JsonOutputParser):
    """The answer's text as a dict; None for an answer that calls a tool."""

    @override
    def parse_result(self, result: list[Generation], *, partial: bool = False) -> Any:
        return None if _is_call(result) else super().parse_result(result, partial=partial)


class _ObjectOfText(PydanticOutputParser[Any]):
    """The answer's text as an object of a class; None for an answer that calls a tool."""

    @override
    def parse_result(self, result: list[Generation], *, partial: bool = False) -> Any:
        return None if _is_call(result) else super().parse_result(result, partial=partial)


class _ObjectOfCall(JsonOutputKeyToolsParser):
    """The arguments of the call as an object of a class. Core's own parser looks for the class's title, as it is."""

    pydantic_class: Any

    @override
    def parse_result(self, result: list[Generation], *, partial: bool = False) -> Any:
        args = super().parse_result(result, partial=partial)
        try:
            return None if args is None else self.pydantic_class(**args)
        except ValueError:
            if partial:
                return None
            raise


class _Both:
    """The message as it comes, and what is made of it, or why nothing is: `raw`, `parsed`, `parsing_error`.

    An error of the call itself is raised.
    """

    def __init__(self, parsing: Runnable[AIMessage, Any]) -> None:
        self._parsing = parsing

    def transform(self, chunks: Iterator[AIMessage]) -> Iterator[AddableDict]:
        passed = _Passed()
        try:
            for value in self._parsed(passed.through(chunks)):
                yield from passed.raw()
                yield AddableDict(parsed=value)
            last = AddableDict(parsing_error=None)
        except (ValueError, GemmaError) as error:
            last = passed.failure(error)
        yield from passed.raw()
        yield last

    async def atransform(self, chunks: AsyncIterator[AIMessage]) -> AsyncIterator[AddableDict]:
        passed = _Passed()
        try:
            async for value in self._aparsed(passed.athrough(chunks)):
                for raw in passed.raw():
                    yield raw
                yield AddableDict(parsed=value)
            last = AddableDict(parsing_error=None)
        except (ValueError, GemmaError) as error:
            last = passed.failure(error)
        for raw in passed.raw():
            yield raw
        yield last

    def _parsed(self, chunks: Iterator[AIMessage]) -> Iterator[Any]:
        """What is parsed: again and again of an answer in pieces, once of a whole one."""
        for first in chunks:
            if isinstance(first, AIMessageChunk):
                yield from self._parsing.transform(chain((first,), chunks))
                return
            whole = [first, *chunks][-1]
            yield self._parsing.invoke(whole)

    async def _aparsed(self, chunks: AsyncIterator[AIMessage]) -> AsyncIterator[Any]:
        async for first in chunks:
            if isinstance(first, AIMessageChunk):
                async for value in self._parsing.atransform(_before(first, chunks)):
                    yield value
                return
            whole = [first, *[chunk async for chunk in chunks]][-1]
            yield await self._parsing.ainvoke(whole)


async def _before(first: AIMessage, rest: AsyncIterator[AIMessage]) -> AsyncIterator[AIMessage]:
    yield first
    async for chunk in rest:
        yield chunk


class _Passed:
    """The messages that have gone on to the parser."""

    def __init__(self) -> None:
        self._waiting: list[AIMessage] = []
        self._whole = False

    def through(self, chunks: Iterator[AIMessage]) -> Iterator[AIMessage]:
        for chunk in chunks:
            self._waiting.append(chunk)
            yield chunk
        self._whole = True

    async def athrough(self, chunks: AsyncIterator[AIMessage]) -> AsyncIterator[AIMessage]:
        async for chunk in chunks:
            self._waiting.append(chunk)
            yield chunk
        self._whole = True

    def raw(self) -> list[AddableDict]:
        """Those that weren't handed out."""
        waiting, self._waiting = self._waiting, []
        return [AddableDict(raw=chunk) for chunk in waiting]

    def failure(self, error: Exception) -> AddableDict:
        """What to say of an answer that can't be parsed. Raises the error of one that didn't come whole."""
        if not self._whole:
            raise error
        return AddableDict(parsed=None, parsing_error=error)


class _Check:
    """Lets an answer pass as it comes, and raises at its end when it isn't a whole object of the schema.

    LangChain's parsers are lenient while an answer is streamed: one that never fits gives nothing, and no error.
    """

    def __init__(self, parser: BaseOutputParser[Any], method: Method) -> None:
        self._parser = parser
        self._called = method == "function_calling"

    def transform(self, chunks: Iterator[AIMessage]) -> Iterator[AIMessage]:
        seen: list[AIMessage] = []
        for chunk in chunks:
            seen.append(chunk)
            yield chunk
        self._check(_sum(seen))

    async def atransform(self, chunks: AsyncIterator[AIMessage]) -> AsyncIterator[AIMessage]:
        seen: list[AIMessage] = []
        async for chunk in chunks:
            seen.append(chunk)
            yield chunk
        self._check(_sum(seen))

    def _check(self, answer: AIMessage) -> None:
        completion = to_completion(answer)
        spent = f" ({completion.usage.completion_tokens} tokens)" if completion.usage else ""
        held: dict[str, Any] = {"partial": completion, "request_id": answer.response_metadata.get("request_id")}
        if _is_call([ChatGeneration(message=answer)]) and not self._called:
            return
        if completion.thought_only:
            with as_langchain():
                raise budget_exceeded(completion)
        if fault := self._fault(completion, spent):
            error = IncompleteOutput(fault, **held)
            error.llm_output = completion.text
            raise error
        self._parse(answer)

    def _fault(self, completion: Completion, spent: str) -> str | None:
        """What is missing, in words; None when the answer is whole, or is something else than JSON."""
        cut = completion.finish_reason == "length"
        if self._called:
            present, whole = bool(completion.tool_calls or completion.invalid_tool_calls), bool(completion.tool_calls)
        else:
            present, whole = bool(completion.text.strip()), _is_whole(completion.text, cut=cut)
        if present and whole:
            return None
        if cut:
            return f"The structured answer was cut off at max_tokens{spent}. Raise max_tokens, or ask for less at once."
        if not present:
            return f"The model ended its turn without a structured answer{spent}."
        if self._called:
            return "The model called the schema's tool with arguments that are not a JSON object."
        return (
            f"The structured answer breaks off{spent}, with finish_reason={completion.finish_reason!r}: its JSON is "
            "not whole. Ask again, without the stop text if one ended it."
        )

    def _parse(self, answer: AIMessage) -> None:
        try:
            value = self._parser.parse_result([ChatGeneration(message=answer)])
        except OutputParserException:
            raise
        except ValueError as error:  # The parser of tool calls lets Pydantic's own errors through.
            raise OutputParserException(f"The answer doesn't match the schema: {error}") from error
        if value is None:
            raise OutputParserException("The answer holds no object of the schema.", llm_output=answer.text)


def _sum(answer: list[AIMessage]) -> AIMessage:
    chunks = [part for part in answer if isinstance(part, AIMessageChunk)]
    return add_ai_message_chunks(*chunks) if chunks else answer[-1]


def _is_whole(text: str, *, cut: bool) -> bool:
    """Whether the JSON that core's parser finds in the text is all there: it repairs what breaks off.

    Where there is no JSON, an answer that wasn't `cut` is whole, and left to core, which says what is wrong with it.
    """
    tried: list[str] = []

    def repaired(json_text: str) -> Any:
        tried.append(json_text)
        return parse_partial_json(json_text)

    try:
        if parse_json_markdown(text.strip(), parser=repaired) is None:
            return not cut
    except ValueError:
        return not cut
    try:
        json.JSONDecoder(strict=False).raw_decode(tried[-1])
    except ValueError:
        return False
    return True
