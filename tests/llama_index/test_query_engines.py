"""The engines of llama-index-core that answer questions, over the emulator: sync, async, and streamed where they can.

The model reads everything from the request (`sensible`) and thinks before each answer. So an answer that is right has
gone through the engine's own prompts and parsers, there and back, and holds no thought.
"""

import base64
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from llama_index.core import (
    Document,
    DocumentSummaryIndex,
    KeywordTableIndex,
    MockEmbedding,
    PropertyGraphIndex,
    SQLDatabase,
    SummaryIndex,
    TreeIndex,
    get_response_synthesizer,
)
from llama_index.core.chat_engine import (
    CondensePlusContextChatEngine,
    CondenseQuestionChatEngine,
    ContextChatEngine,
    MultiModalCondensePlusContextChatEngine,
    MultiModalContextChatEngine,
    SimpleChatEngine,
)
from llama_index.core.indices.query.query_transform.base import DecomposeQueryTransform, HyDEQueryTransform
from llama_index.core.indices.struct_store import JSONQueryEngine
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.query_engine import (
    CitationQueryEngine,
    NLSQLTableQueryEngine,
    RetrieverQueryEngine,
    RouterQueryEngine,
    SimpleMultiModalQueryEngine,
    SubQuestionQueryEngine,
    TransformQueryEngine,
)
from llama_index.core.question_gen import LLMQuestionGenerator
from llama_index.core.response_synthesizers import ResponseMode
from llama_index.core.schema import ImageNode, TextNode
from llama_index.core.selectors import (
    LLMMultiSelector,
    LLMSingleSelector,
    PydanticMultiSelector,
    PydanticSingleSelector,
)
from llama_index.core.tools import QueryEngineTool
from sqlalchemy import StaticPool, create_engine, text

from llama_index_cf_gemma import CloudflareGemma

from .conftest import Call
from .sensible import FACTS, QUESTION, SEEN, THOUGHT
from .test_messages import PNG

Make = Callable[..., Any]
"""Takes the model, and `streaming`; gives the engine."""

NODES = [TextNode(text=fact, metadata={"topic": topic}) for topic, fact in FACTS.items()][::-1]
"""The one that answers the question comes last."""
PICTURE = ImageNode(image=base64.b64encode(PNG).decode(), image_mimetype="image/png")
DATABASE = create_engine("sqlite://", poolclass=StaticPool)
FACT = FACTS["tides"]


class Engine(NamedTuple):
    """An engine to ask."""

    make: Make
    streams: bool = True
    """Whether it has a streamed answer."""
    question: str = QUESTION
    answer: str = FACT
    """What the answer ends with."""


def retriever(*more: TextNode) -> Any:
    """Finds all nodes."""
    return SummaryIndex([*NODES, *more]).as_retriever()


def mode(response_mode: ResponseMode, **options: Any) -> Make:
    """An engine over all nodes that makes its answer in this way."""
    return lambda llm, **more: SummaryIndex(NODES).as_query_engine(
        llm=llm, response_mode=response_mode, **options, **more
    )


def filtered(response_mode: ResponseMode) -> Make:
    """The same, asking at every step whether the answer will do."""
    return lambda llm, **more: RetrieverQueryEngine(
        retriever(),
        get_response_synthesizer(llm=llm, response_mode=response_mode, structured_answer_filtering=True, **more),
    )


def tools(llm: CloudflareGemma, **more: Any) -> list[QueryEngineTool]:
    """An engine for each node."""
    return [
        QueryEngineTool.from_defaults(
            SummaryIndex([node]).as_query_engine(llm=llm, **more),
            name=node.metadata["topic"],
            description=f"Tells about {node.metadata['topic']}.",
        )
        for node in NODES
    ]


def router(selector: Any) -> Make:
    """An engine that chooses one of the tools."""
    return lambda llm, **more: RouterQueryEngine(selector.from_defaults(llm=llm), tools(llm, **more), llm=llm)


def sub_questions(llm: CloudflareGemma, **more: Any) -> Any:
    """An engine that asks every tool a question of its own."""
    return SubQuestionQueryEngine.from_defaults(
        tools(llm),
        llm=llm,
        question_gen=LLMQuestionGenerator.from_defaults(llm),
        response_synthesizer=get_response_synthesizer(llm=llm, **more),
        verbose=False,
    )


def transformed(transform: Any) -> Make:
    """An engine that is asked something else instead."""
    return lambda llm, **more: TransformQueryEngine(mode(ResponseMode.COMPACT)(llm, **more), transform(llm=llm))


@pytest.fixture(scope="module", autouse=True)
def _table() -> Iterator[None]:
    """The table that `over_sql` asks."""
    with DATABASE.begin() as connection:
        connection.execute(text("CREATE TABLE facts (text VARCHAR)"))
        connection.execute(text("INSERT INTO facts VALUES (:said)"), [{"said": fact} for fact in FACTS.values()])
    yield
    DATABASE.dispose()


def over_sql(llm: CloudflareGemma, **more: Any) -> Any:
    """An engine over a table."""
    return NLSQLTableQueryEngine(SQLDatabase(DATABASE), llm=llm, embed_model=MockEmbedding(8), **more)


def over_json(llm: CloudflareGemma, **_: Any) -> Any:
    """An engine over a JSON value; the path is followed here, as core has no library for it."""
    return JSONQueryEngine(FACTS, {}, llm=llm, output_processor=lambda path, value: value[path.rpartition(".")[2]])


def over_pictures(**options: Any) -> Make:
    """An engine over texts and a picture."""
    return lambda llm, **more: RetrieverQueryEngine.from_args(
        retriever(PICTURE), llm=llm, multimodal=True, **options, **more
    )


def over_summaries(llm: CloudflareGemma, **more: Any) -> Any:
    """An engine over an index that keeps a summary of each document."""
    index = DocumentSummaryIndex.from_documents(
        [Document(text=fact) for fact in FACTS.values()],
        llm=llm,
        embed_model=MockEmbedding(8),
        response_synthesizer=get_response_synthesizer(llm=llm, response_mode=ResponseMode.TREE_SUMMARIZE),
    )
    return index.as_query_engine(llm=llm, retriever_mode="llm", **more)


def over_a_graph(llm: CloudflareGemma, **more: Any) -> Any:
    """An engine over an index with its default extractors and retrievers."""
    index = PropertyGraphIndex(NODES, llm=llm, embed_model=MockEmbedding(8), use_async=False)
    return index.as_query_engine(llm=llm, **more)


WHAT_IS_SEEN = {"question": "What does the picture show?", "answer": SEEN}
ENGINES = {
    "refine": Engine(mode(ResponseMode.REFINE)),
    "compact": Engine(mode(ResponseMode.COMPACT)),
    "tree_summarize": Engine(mode(ResponseMode.TREE_SUMMARIZE)),
    "tree_summarize-use_async": Engine(mode(ResponseMode.TREE_SUMMARIZE, use_async=True)),
    "simple_summarize": Engine(mode(ResponseMode.SIMPLE_SUMMARIZE)),
    "accumulate": Engine(mode(ResponseMode.ACCUMULATE), streams=False),
    "accumulate-use_async": Engine(mode(ResponseMode.ACCUMULATE, use_async=True), streams=False),
    "compact_accumulate": Engine(mode(ResponseMode.COMPACT_ACCUMULATE), streams=False),
    "generation": Engine(mode(ResponseMode.GENERATION), answer="I do not know."),
    "refine-filtered": Engine(filtered(ResponseMode.REFINE)),
    "compact-filtered": Engine(filtered(ResponseMode.COMPACT)),
    "router-llm-single": Engine(router(LLMSingleSelector)),
    "router-llm-multi": Engine(router(LLMMultiSelector)),
    "router-pydantic-single": Engine(router(PydanticSingleSelector)),
    "router-pydantic-multi": Engine(router(PydanticMultiSelector)),
    "router-default": Engine(lambda llm, **more: RouterQueryEngine.from_defaults(tools(llm, **more), llm=llm)),
    "sub-questions": Engine(sub_questions),
    "citations": Engine(lambda llm, **more: CitationQueryEngine.from_args(SummaryIndex(NODES), llm=llm, **more)),
    "hyde": Engine(transformed(HyDEQueryTransform)),
    "decompose": Engine(transformed(DecomposeQueryTransform)),
    "sql": Engine(over_sql),
    "json": Engine(over_json, streams=False),
    "tree-index": Engine(lambda llm, **more: TreeIndex(NODES, llm=llm).as_query_engine(llm=llm, **more)),
    "keyword-index": Engine(lambda llm, **more: KeywordTableIndex(NODES, llm=llm).as_query_engine(llm=llm, **more)),
    "summary-index": Engine(over_summaries),
    "property-graph": Engine(over_a_graph),
    "multimodal": Engine(over_pictures(), **WHAT_IS_SEEN),
    "multimodal-tree": Engine(over_pictures(response_mode=ResponseMode.TREE_SUMMARIZE), **WHAT_IS_SEEN),
    "multimodal-simple": Engine(
        lambda llm, **_: SimpleMultiModalQueryEngine(retriever(PICTURE), llm),
        streams=False,
        **WHAT_IS_SEEN,
    ),
}


@pytest.mark.filterwarnings("ignore:Call to deprecated class:DeprecationWarning")
@pytest.mark.parametrize(
    ("name", "streaming"),
    [(name, streaming) for name, engine in ENGINES.items() for streaming in (False, True)[: 1 + engine.streams]],
)
def test_query_engine(sensible_llm: CloudflareGemma, call: Call, name: str, streaming: bool) -> None:
    """The answer is the one fact that answers the question, whatever the engine asked the model on the way."""
    engine = ENGINES[name]
    component = engine.make(sensible_llm, **({"streaming": True} if streaming else {}))
    response = call(component, "query", engine.question)
    assert str(response).endswith(engine.answer)
    assert THOUGHT not in str(response)


CHAT_ENGINES: dict[str, Make] = {
    "simple": lambda **how: SimpleChatEngine.from_defaults(system_prompt=" ".join(FACTS.values()), **how),
    "context": lambda **how: ContextChatEngine.from_defaults(retriever(), **how),
    "condense_question": lambda llm, **how: CondenseQuestionChatEngine.from_defaults(
        SummaryIndex(NODES).as_query_engine(llm=llm, streaming=True), llm=llm, **how
    ),
    "condense_plus_context": lambda **how: CondensePlusContextChatEngine.from_defaults(retriever(), **how),
    "multimodal_context": lambda llm, **how: MultiModalContextChatEngine.from_defaults(
        retriever(PICTURE), multi_modal_llm=llm, **how
    ),
    "multimodal_condense_plus_context": lambda llm, **how: MultiModalCondensePlusContextChatEngine.from_defaults(
        retriever(PICTURE), multi_modal_llm=llm, **how
    ),
}


@pytest.mark.parametrize("method", ["chat", "stream_chat"])
@pytest.mark.parametrize("name", CHAT_ENGINES)
def test_chat_engine(sensible_llm: CloudflareGemma, call: Call, name: str, method: str) -> None:
    """Each of two questions gets its answer: the second is asked with the first in the history."""
    # Not the default memory: its database connections are never closed.
    engine = CHAT_ENGINES[name](llm=sensible_llm, memory=ChatMemoryBuffer.from_defaults(llm=sensible_llm))
    assert str(call(engine, method, QUESTION)) == FACT
    assert str(call(engine, method, "Why does bread rise?")) == FACTS["bread"]
    assert [message.content for message in engine.chat_history if message.role == "assistant"] == [FACT, FACTS["bread"]]
