"""What llama-index-core 0.14.25 itself breaks, whichever LLM it is given: all that the component tests leave out.

A case that works again fails here, and belongs among the components then.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from llama_index.core import SummaryIndex
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.indices.struct_store import JSONQueryEngine
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.output_parsers import PydanticOutputParser
from llama_index.core.program import FunctionCallingProgram
from llama_index.core.prompts import PromptTemplate
from llama_index.core.query_engine import SubQuestionQueryEngine
from llama_index.core.response_synthesizers import ResponseMode
from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from llama_index_cf_gemma import CloudflareGemma

from .conftest import Call, Connect, Emulate, needs
from .sensible import QUESTION, sensible
from .test_components import Cause, document_context, node
from .test_query_engines import FACT, NODES, mode, tools

CORE = "https://github.com/run-llama/llama_index/blob/v0.14.25/llama-index-core/llama_index/core"


class Limit(NamedTuple):
    """What is tried, what comes of it, and where upstream it can be read."""

    tried: Callable[[CloudflareGemma], Any]
    error: type[Exception]
    message: str
    link: str
    marks: tuple[pytest.MarkDecorator, ...] = ()


LIMITS = {
    # The stream of objects is taken for the answer's text.
    "structured-llm-in-streamed-engine": Limit(
        lambda llm: mode(ResponseMode.COMPACT)(llm.as_structured_llm(Cause), streaming=True).query(QUESTION),
        ValidationError,
        "generator object",
        f"{CORE}/response_synthesizers/base.py#L196",
    ),
    "structured-llm-stream_complete": Limit(
        lambda llm: llm.as_structured_llm(Cause).stream_complete(QUESTION),
        NotImplementedError,
        "not supported",
        f"{CORE}/llms/structured_llm.py#L107",
    ),
    "accumulate-streamed": Limit(
        lambda llm: mode(ResponseMode.ACCUMULATE)(llm, streaming=True).query(QUESTION),
        ValueError,
        "Unable to stream",
        f"{CORE}/response_synthesizers/accumulate.py#L136",
    ),
    # With question_gen=LLMQuestionGenerator.from_defaults(llm) it works.
    "sub-questions-without-question_gen": Limit(
        lambda llm: SubQuestionQueryEngine.from_defaults(tools(llm), llm=llm),
        ImportError,
        "llama-index-question-gen-openai",
        "https://github.com/run-llama/llama_index/issues/19917",
    ),
    # With an output_processor of one's own it works.
    "json-without-jsonpath-ng": Limit(
        lambda llm: JSONQueryEngine({}, {}, llm=llm).query(QUESTION),
        ImportError,
        "jsonpath-ng",
        f"{CORE}/indices/struct_store/json_query.py#L72",
    ),
    "output-parser-streamed": Limit(
        lambda llm: llm.stream(PromptTemplate("{text}", output_parser=PydanticOutputParser(Cause)), text=QUESTION),
        NotImplementedError,
        "Output parser",
        f"{CORE}/llms/llm.py#L691",
    ),
    # Memory and its stores are fine.
    "chat-store-as-json": Limit(
        lambda llm: ChatMemoryBuffer.from_defaults([ChatMessage("Hi")], llm=llm).to_string(),
        PydanticSerializationError,
        "chat_message_serialization",
        f"{CORE}/storage/chat_store/simple_chat_store.py#L14",
        (
            needs(
                "pydantic",
                "2.14",
                "older versions take what core does, newer ones don't: https://pypi.org/project/pydantic",
            ),
        ),
    ),
}


@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20")
@pytest.mark.parametrize("name", [pytest.param(name, marks=limit.marks) for name, limit in LIMITS.items()])
def test_what_core_refuses(sensible_llm: CloudflareGemma, name: str) -> None:
    """It raises, before or whatever the model answers."""
    limit = LIMITS[name]
    with pytest.raises(limit.error, match=limit.message):
        limit.tried(sensible_llm)


def test_document_context_of_a_thinking_model(sensible_llm: CloudflareGemma, caplog: pytest.LogCaptureFixture) -> None:
    """The extractor takes the first block, a thought, for the answer, and leaves the context out: thinking=False helps.

    extractors/document_context.py#L213
    """
    extractor = document_context(sensible_llm)
    extractor.llm = sensible_llm
    assert extractor.extract([node()]) == [{}]
    assert "non-text block type" in caplog.text


def test_a_streamed_program_leaves_the_tool_to_the_model(emulate: Emulate, connect: Connect) -> None:
    """So do filtered answers that are streamed, which use it; tool_choice="required" forces the tool.

    program/function_program.py#L340
    """
    emulator = emulate(sensible)
    llm, made = connect(emulator), {"output_cls": Cause, "prompt_template_str": QUESTION}
    list(FunctionCallingProgram.from_defaults(llm=llm, **made).stream_call())
    list(FunctionCallingProgram.from_defaults(llm=llm, tool_choice="required", **made).stream_call())
    first, second = (request.json["tool_choice"] for request in emulator.requests)
    assert (first, second) == ("auto", {"type": "function", "function": {"name": "Cause"}})


def test_an_asynchronous_program_forgets_the_system_prompt(emulate: Emulate, connect: Connect, call: Call) -> None:
    """FunctionCallingProgram.acall; `astructured_predict` doesn't.

    program/function_program.py#L189
    """
    emulator = emulate(sensible)
    llm = connect(emulator, system_prompt="Be brief.")
    program = FunctionCallingProgram.from_defaults(Cause, llm=llm, prompt_template_str=QUESTION)
    call(program, "__call__")
    roles = [message["role"] for message in emulator.requests[0].json["messages"]]
    assert roles == (["user"] if "async" in call.__name__ else ["system", "user"])


@pytest.mark.parametrize(
    ("response_mode", "answer"), [(ResponseMode.COMPACT, "Empty Response"), (ResponseMode.TREE_SUMMARIZE, FACT)]
)
def test_a_streamed_engine_has_no_use_for_output_cls(
    sensible_llm: CloudflareGemma, call: Call, response_mode: ResponseMode, answer: str
) -> None:
    """Refine and compact read a field `answer` and no other; tree_summarize doesn't ask for the object at all.

    response_synthesizers/refine.py#L146, response_synthesizers/tree_summarize.py#L174
    """
    engine = mode(response_mode, output_cls=Cause)(sensible_llm, streaming=True)
    assert str(call(engine, "query", QUESTION)) == answer


def test_an_index_swallows_structured_answer_filtering(emulate: Emulate, connect: Connect) -> None:
    """`as_query_engine` drops it without a word; get_response_synthesizer takes it.

    query_engine/retriever_query_engine.py#L117
    """
    emulator = emulate(sensible)
    engine = SummaryIndex(NODES).as_query_engine(llm=connect(emulator), structured_answer_filtering=True)
    engine.query(QUESTION)
    assert "tools" not in emulator.requests[0].json
