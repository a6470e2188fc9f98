"""From an answer, whole or still coming, to an object of the caller's class. Pure."""

from __future__ import annotations

import re
from contextlib import aclosing, closing
from typing import TYPE_CHECKING, Any, Final, Generic, cast

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, MessageRole
from llama_index.core.program.utils import FlexibleModel, create_flexible_model, num_valid_fields
from llama_index.core.types import Model
from pydantic import RootModel, ValidationError
from pydantic_core import from_json

from cf_gemma.errors import ToolChoiceNotHonoured
from cf_gemma.structured import unfenced
from llama_index_cf_gemma.errors import InvalidOutput
from llama_index_cf_gemma.responses import chat_response, completion_of, refuse_unfinished_thought

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Iterator

    from llama_index.core.base.llms.types import ChatResponseAsyncGen, ChatResponseGen

OPEN_NUMBER: Final = re.compile(r"(?<=[\s:,\[])-?\d[\d.eE+-]*$")
NOTHING: Final = ChatResponse(message=ChatMessage(role=MessageRole.ASSISTANT))


class StructuredAnswer(Generic[Model]):
    """Reads one answer as an object of `output_cls`: tool arguments when it is a call, else its text."""

    def __init__(self, output_cls: type[Model]) -> None:
        self._output_cls = output_cls
        # A root model has no fields that could be missing: it shows when it is whole.
        self._partial_cls = None if issubclass(output_cls, RootModel) else create_flexible_model(output_cls)
        self._names = {
            alias: name
            for name, field in output_cls.model_fields.items()
            if isinstance(alias := field.validation_alias or field.alias, str)
        }
        self._seen: dict[str, Any] = {}
        self._richest = 0

    def partial(self, response: ChatResponse) -> FlexibleModel | None:
        """The object as far as it has come, any field possibly None; None when that is no more than last time."""
        if self._partial_cls is None:
            return None
        try:
            fields: object = from_json(_settled(_json_of(response)), allow_partial="trailing-strings")
        except ValueError:
            return None
        if not isinstance(fields, dict) or fields == self._seen:
            return None
        self._seen = cast("dict[str, Any]", fields)
        partial = self._partial_cls.model_validate(
            {self._names.get(key, key): value for key, value in self._seen.items()}
        )
        richness = num_valid_fields(partial)
        if richness < max(self._richest, 1):
            return None
        self._richest = richness
        return partial

    def salvaged(self, error: ToolChoiceNotHonoured) -> Model:
        """The object where the model wrote it as text instead of calling the tool; else raises the error."""
        if error.partial is None:
            raise error
        try:
            return self.result(chat_response(error.partial))
        except InvalidOutput:
            raise error from None

    def stream(self, responses: ChatResponseGen) -> Generator[Model | FlexibleModel, None, None]:
        """Objects that only ever grow richer, and last the object itself, or the error that `result` raises."""
        response = NOTHING
        try:
            with closing(responses):
                for response in responses:
                    partial = self.partial(response)
                    if partial is not None:
                        yield partial
        except ToolChoiceNotHonoured as error:
            yield self.salvaged(error)
        else:
            yield self.result(response)

    async def astream(self, responses: ChatResponseAsyncGen) -> AsyncGenerator[Model | FlexibleModel, None]:
        """The same, asynchronous."""
        response = NOTHING
        try:
            async with aclosing(responses):
                async for response in responses:
                    partial = self.partial(response)
                    if partial is not None:
                        yield partial
        except ToolChoiceNotHonoured as error:
            yield self.salvaged(error)
        else:
            yield self.result(response)

    def result(self, response: ChatResponse) -> Model:
        """The object.

        Raises:
            ReasoningBudgetExceeded: thinking used up `max_tokens` before the answer began.
            InvalidOutput: the answer is cut off, isn't JSON, or doesn't fit the class.
        """
        problems: list[ValidationError] = []
        for text in _readings(_json_of(response)):
            try:
                return self._output_cls.model_validate_json(text)
            except ValidationError as error:
                problems.append(error)
        problem = next((error for error in problems if not _unreadable(error)), problems[0])
        completion = completion_of(response)
        refuse_unfinished_thought(completion)
        if completion.finish_reason == "length":
            spent = f" after {completion.usage.completion_tokens} tokens" if completion.usage else ""
            msg = f"the {self._output_cls.__name__} was cut off by max_tokens{spent}: raise max_tokens"
        else:
            msg = f"the answer is not a {self._output_cls.__name__}: {_problem_text(problem)}"
        raise InvalidOutput(msg, partial=completion) from problem


def _unreadable(error: ValidationError) -> bool:
    return error.errors(include_url=False)[0]["type"] == "json_invalid"


def _problem_text(problem: ValidationError) -> str:
    """What is wrong, field by field, without the values: the answer is in the error's `partial`."""
    complaints = problem.errors(include_url=False, include_input=False)
    return "; ".join(f"{'.'.join(map(str, what['loc'])) or 'text'}: {what['msg']}" for what in complaints[:5])


def _json_of(response: ChatResponse) -> str:
    extra = response.message.additional_kwargs
    calls = extra.get("tool_calls")
    if calls:
        return calls[0]["function"]["arguments"]
    return response.message.content or ""


def _readings(text: str) -> Iterator[str]:
    """The text as it is, then without a code fence, then its outermost braces: models wrap JSON in courtesies."""
    yield text
    yield unfenced(text)
    yield text[text.find("{") : text.rfind("}") + 1]


def _settled(text: str) -> str:
    """Without a number at its end that may still grow: half a text is a text, half a number is another number."""
    text = unfenced(text)
    return text[:-40] + OPEN_NUMBER.sub("", text[-40:])
