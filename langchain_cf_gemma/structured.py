"""Structured output: a schema in, a runnable that answers with an object of that schema."""

from __future__ import annotations

import json
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import add_ai_message_chunks
from langchain_core.output_parsers import JsonOutputParser, PydanticOutputParser
from langchain_core.output_parsers.openai_tools import JsonOutputKeyToolsParser, PydanticToolsParser
from langchain_core.outputs import ChatGeneration
from langchain_core.runnables import RunnableGenerator, RunnableMap, RunnablePassthrough
from langchain_core.utils.function_calling import convert_to_json_schema, convert_to_openai_tool
from langchain_core.utils.pydantic import is_basemodel_subclass

from cf_gemma.errors import InvalidRequest
from langchain_cf_gemma.errors import IncompleteOutput, ReasoningBudgetExceeded
from langchain_cf_gemma.fences import without_fence
from langchain_cf_gemma.messages import reasoning_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from langchain_core.language_models import LanguageModelInput
    from langchain_core.output_parsers import BaseOutputParser
    from langchain_core.runnables import Runnable

Method: TypeAlias = Literal["json_schema", "function_calling", "json_mode"]
Schema: TypeAlias = "dict[str, Any] | type"


def answer_format(schema: Schema | None, method: Method, *, strict: bool | None) -> dict[str, Any]:
    """The request's `response_format` for a method that constrains the answer's text.

    Raises:
        InvalidRequest: An unknown method, or no schema where there must be one.
    """
    if method == "json_mode":
        return {"type": "json_object"}
    if method != "json_schema":
        raise InvalidRequest(f"method must be json_schema, function_calling or json_mode, not {method!r}.")
    return to_response_format(_given(schema), strict=strict)


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
    json_schema = convert_to_json_schema(cast("Any", schema), strict=strict)
    named: dict[str, Any] = {"name": json_schema["title"], "schema": json_schema}
    if strict is not None:
        named["strict"] = strict
    return {"type": "json_schema", "json_schema": named}


def parser_for(schema: Schema | None, method: Method) -> BaseOutputParser[Any]:
    """The parser that turns the model's answer into an object of the schema: the class's own, or else a dict."""
    pydantic_class = schema if isinstance(schema, type) and is_basemodel_subclass(schema) else None
    if method == "function_calling":
        if pydantic_class:
            return PydanticToolsParser(tools=[pydantic_class], first_tool_only=True)
        return JsonOutputKeyToolsParser(key_name=tool_name(schema), first_tool_only=True)
    if pydantic_class is None:
        return JsonOutputParser()
    parser: PydanticOutputParser[Any] = PydanticOutputParser(pydantic_object=pydantic_class)
    return parser


def tool_name(schema: Schema | None) -> str:
    """The name of the tool that a schema becomes."""
    return convert_to_openai_tool(cast("Any", _given(schema)))["function"]["name"]


def parsed(
    llm: Runnable[LanguageModelInput, AIMessage], parser: BaseOutputParser[Any], method: Method, *, include_raw: bool
) -> Runnable[LanguageModelInput, Any]:
    """The model with its parser; with `include_raw`, a dict of `raw`, `parsed` and `parsing_error`."""
    check = _Check(parser, method)
    complete = RunnableGenerator(check.transform, check.atransform, name="complete_answer")
    if not include_raw:
        return llm | complete | parser
    attempt = RunnablePassthrough.assign(parsed=itemgetter("raw") | complete | parser, parsing_error=lambda _: None)
    failed = RunnablePassthrough.assign(parsed=lambda _: None)
    return RunnableMap(raw=llm) | attempt.with_fallbacks([failed], exception_key="parsing_error")


def _given(schema: Schema | None) -> Schema:
    if schema is None:
        raise InvalidRequest("with_structured_output needs a schema, except with method='json_mode'.")
    return schema


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
        text = answer.text
        cut = answer.response_metadata.get("finish_reason") == "length"
        if self._called:
            given, whole = bool(answer.tool_calls or answer.invalid_tool_calls), bool(answer.tool_calls)
        else:
            given, whole = bool(text.strip()), not cut or _is_json(text)
        spent = _spent(answer)
        if cut and not given and reasoning_of(answer):
            raise ReasoningBudgetExceeded(
                f"Thinking used up max_tokens{spent} before the answer began. Raise max_tokens, or set thinking=False."
            )
        if not given or not whole:
            raise _incomplete(cut=cut, given=given, spent=spent, text=text)
        self._parse(answer)

    def _parse(self, answer: AIMessage) -> None:
        try:
            found = self._parser.parse_result([ChatGeneration(message=answer)])
        except OutputParserException:
            raise
        except ValueError as error:  # The parser of tool calls lets Pydantic's own errors through.
            raise OutputParserException(f"The answer doesn't match the schema: {error}") from error
        if found is None:
            raise OutputParserException("The answer holds no object of the schema.", llm_output=answer.text)


def _incomplete(*, cut: bool, given: bool, spent: str, text: str) -> IncompleteOutput:
    if cut:
        fault = f"The structured answer was cut off at max_tokens{spent}. Raise max_tokens, or ask for less at once."
    elif given:
        fault = "The model called the schema's tool with arguments that are not a JSON object."
    else:
        fault = f"The model ended its turn without a structured answer{spent}."
    error = IncompleteOutput(fault)
    error.llm_output = text
    return error


def _sum(answer: list[AIMessage]) -> AIMessage:
    chunks = [part for part in answer if isinstance(part, AIMessageChunk)]
    return add_ai_message_chunks(*chunks) if chunks else answer[-1]


def _spent(answer: AIMessage) -> str:
    usage = answer.usage_metadata
    return f" ({usage['output_tokens']} tokens)" if usage else ""


def _is_json(text: str) -> bool:
    try:
        json.loads(without_fence(text))
    except ValueError:
        return False
    return True
