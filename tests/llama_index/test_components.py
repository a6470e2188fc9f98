"""The other components of llama-index-core that ask an LLM, over the emulator: sync and async, agents streamed and not.

The model reads everything from the request (`sensible`) and thinks before each answer. So a result that is right has
gone through the component's own prompts and parsers, there and back, and holds no thought.
"""

import contextlib
import copy
import io
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import pytest
from llama_index.core import Document, MockEmbedding, SummaryIndex, VectorStoreIndex
from llama_index.core.agent.workflow import AgentStream, AgentWorkflow, CodeActAgent, FunctionAgent, ReActAgent
from llama_index.core.base.llms.types import ChatMessage, ImageBlock
from llama_index.core.evaluation import (
    AnswerRelevancyEvaluator,
    ContextRelevancyEvaluator,
    CorrectnessEvaluator,
    FaithfulnessEvaluator,
    GuidelineEvaluator,
    PairwiseComparisonEvaluator,
    RelevancyEvaluator,
)
from llama_index.core.evaluation.multi_modal import MultiModalFaithfulnessEvaluator, MultiModalRelevancyEvaluator
from llama_index.core.extractors import (
    DocumentContextExtractor,
    KeywordExtractor,
    QuestionsAnsweredExtractor,
    SummaryExtractor,
    TitleExtractor,
)
from llama_index.core.graph_stores import SimplePropertyGraphStore
from llama_index.core.graph_stores.prompts import DEFAULT_CYPHER_TEMPALTE
from llama_index.core.graph_stores.types import KG_NODES_KEY, KG_RELATIONS_KEY, EntityNode, Relation
from llama_index.core.indices.property_graph import (
    CypherTemplateRetriever,
    DynamicLLMPathExtractor,
    LLMSynonymRetriever,
    SchemaLLMPathExtractor,
    SimpleLLMPathExtractor,
    TextToCypherRetriever,
)
from llama_index.core.indices.vector_store.retrievers import VectorIndexAutoRetriever
from llama_index.core.memory import ChatSummaryMemoryBuffer, FactExtractionMemoryBlock
from llama_index.core.output_parsers import PydanticOutputParser
from llama_index.core.postprocessor import LLMRerank, StructuredLLMRerank
from llama_index.core.postprocessor.rankGPT_rerank import RankGPTRerank
from llama_index.core.program import FunctionCallingProgram, LLMTextCompletionProgram, MultiModalLLMCompletionProgram
from llama_index.core.question_gen import LLMQuestionGenerator
from llama_index.core.response_synthesizers import ResponseMode
from llama_index.core.retrievers import QueryFusionRetriever, RouterRetriever
from llama_index.core.schema import NodeRelationship, NodeWithScore, QueryBundle, RelatedNodeInfo, TextNode
from llama_index.core.selectors import (
    LLMMultiSelector,
    LLMSingleSelector,
    PydanticMultiSelector,
    PydanticSingleSelector,
)
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.core.tools import RetrieverTool, ToolMetadata
from llama_index.core.vector_stores.types import VectorStoreInfo
from llama_index.retrievers.bm25 import BM25Retriever
from pydantic import BaseModel

from llama_index_cf_gemma import CloudflareGemma

from .conftest import Call
from .sensible import FACTS, QUESTION, SEEN, THOUGHT
from .test_messages import PNG, PNG_URL
from .test_query_engines import FACT, NODES, mode

# core calls what pydantic has deprecated, and so does how it builds its workflows: by reading every attribute.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20"),
    pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince211"),
    pytest.mark.filterwarnings("ignore:is_running called from within a step"),
]


class Case(NamedTuple):
    """A component, what is asked of it, and what must come."""

    make: Callable[[CloudflareGemma], Any]
    method: str
    asked: dict[str, Any]
    result: Any
    read: Callable[[Any], Any] = lambda result: result
    """From what came to what is compared."""


class Cause(BaseModel):
    """What causes something."""

    topic: str
    causes: list[str]


CAUSE = Cause(topic="Tides", causes=["gravity", "Moon", "Sun"])


class Graph(SimplePropertyGraphStore):
    """A graph of one fact. It also takes queries: the query is what comes back."""

    supports_structured_queries = True
    text_to_cypher_template = DEFAULT_CYPHER_TEMPALTE

    def __init__(self) -> None:
        super().__init__()
        moon, tides = EntityNode(name="Moon", label="BODY"), EntityNode(name="Tides", label="EVENT")
        self.upsert_nodes([moon, tides])
        self.upsert_relations([Relation(label="CAUSES", source_id=moon.id, target_id=tides.id)])

    def structured_query(self, query: str, param_map: dict[str, Any] | None = None) -> Any:
        return {"query": query, **(param_map or {})}

    async def astructured_query(self, query: str, param_map: dict[str, Any] | None = None) -> Any:
        return self.structured_query(query, param_map)

    def get_schema_str(self, refresh: bool = False) -> str:
        return "(BODY)-[CAUSES]->(EVENT)"

    async def aget_schema_str(self, refresh: bool = False) -> str:
        return self.get_schema_str()


def node() -> TextNode:
    """A part of a document."""
    source = {NodeRelationship.SOURCE: RelatedNodeInfo(node_id="document")}
    return TextNode(text=FACT, metadata={"topic": "tides"}, relationships=source)


def texts(nodes: list[NodeWithScore]) -> list[str]:
    """What the nodes say, as they are ranked."""
    return [scored.node.get_content() for scored in nodes]


def one(key: str) -> Callable[[list[dict[str, Any]]], str]:
    """Reads one entry of the only metadata."""
    return lambda extracted: extracted[0][key].strip()


def triplets(read: list[TextNode]) -> list[tuple[str, str, str]]:
    """Reads the paths that an extractor left in the only node."""
    named = {entity.id: entity.name for entity in read[0].metadata[KG_NODES_KEY]}
    return [(named[path.source_id], path.label, named[path.target_id]) for path in read[0].metadata[KG_RELATIONS_KEY]]


def extractor(kind: Any, key: str, result: str, **options: Any) -> Case:
    """A metadata extractor."""
    return Case(lambda llm: kind(llm=llm, **options), "extract", {"nodes": [node()]}, result, one(key))


def document_context(llm: CloudflareGemma) -> DocumentContextExtractor:
    """Told not to think: see `test_core_limits`."""
    store = SimpleDocumentStore()
    store.add_documents([Document(id_="document", text=FACT)])
    return DocumentContextExtractor(docstore=store, llm=llm.model_copy(update={"thinking": False}))


def paths(kind: Any, label: str, **options: Any) -> Case:
    """A property-graph extractor."""
    result = [("Moon", label, "Tides")]
    return Case(lambda llm: kind(llm=llm, **options), "__call__", {"nodes": [node()]}, result, triplets)


def selector(kind: Any) -> Case:
    """A router's selector, among three tools of which the last fits."""
    choices = [ToolMetadata(f"Tells about {topic}.", name=topic) for topic in ("bread", "glass", "tides")]
    asked = {"choices": choices, "query": QUESTION}
    return Case(lambda llm: kind.from_defaults(llm=llm), "select", asked, [2], lambda selected: selected.inds)


def reranker(kind: Any) -> Case:
    """A reranker, given the node that fits last."""
    asked = {"nodes": [NodeWithScore(node=one) for one in NODES], "query_str": QUESTION}
    return Case(lambda llm: kind(llm=llm, top_n=1), "postprocess_nodes", asked, [FACT], texts)


def evaluator(kind: Any, passing: bool | None, score: float, response: str = FACT, **more: Any) -> Case:
    """An evaluator, with one response to judge."""
    asked = {"query": QUESTION, "response": response, "contexts": [FACT], **more}
    llm_name = "multi_modal_llm" if "image_urls" in more else "llm"
    return Case(
        lambda llm: kind(**{llm_name: llm}),
        "evaluate", asked, (passing, score), lambda judged: (judged.passing, judged.score),
    )  # fmt: skip


def program(kind: Any, method: str = "__call__", read: Callable[[Any], Any] = lambda made: made) -> Case:
    """A program that makes an object of a text."""
    return Case(
        lambda llm: kind.from_defaults(output_cls=Cause, llm=llm, prompt_template_str="{text}\n" + QUESTION),
        method, {"text": FACT}, CAUSE, read,
    )  # fmt: skip


def summarized(llm: CloudflareGemma) -> ChatSummaryMemoryBuffer:
    """A memory that has room for the last message only."""
    history = [ChatMessage(FACT), ChatMessage("I see.", role="assistant"), ChatMessage("Go on.")]
    return ChatSummaryMemoryBuffer.from_defaults(history, llm=llm, token_limit=5)


BREAD = FACTS["bread"]
BM25 = {"similarity_top_k": 1}
SCHEMA = {
    "possible_entities": Literal["BODY", "EVENT"],
    "possible_relations": Literal["CAUSES"],
    "kg_validation_schema": [("BODY", "CAUSES", "EVENT")],
}
ASKED = {"str_or_query_bundle": QUESTION}
COMPONENTS = {
    "title": extractor(TitleExtractor, "document_title", "On Tides"),
    "keywords": extractor(KeywordExtractor, "excerpt_keywords", "Tides, caused, gravity"),
    "questions": extractor(
        QuestionsAnsweredExtractor, "questions_this_excerpt_can_answer", "1. What about Tides?", questions=1
    ),
    "summary": extractor(SummaryExtractor, "section_summary", "This is about Tides."),
    "document-context": Case(
        document_context, "extract", {"nodes": [node()]}, "This is about Tides.", one("context")
    ),
    "paths-simple": paths(SimpleLLMPathExtractor, "Causes"),
    "paths-dynamic": paths(DynamicLLMPathExtractor, "CAUSES"),
    "paths-schema": paths(SchemaLLMPathExtractor, "CAUSES", **SCHEMA),
    "synonyms": Case(
        lambda llm: LLMSynonymRetriever(Graph(), include_text=False, llm=llm),
        "retrieve", ASKED, ["Moon -> CAUSES -> Tides"], texts,
    ),
    "cypher": Case(
        lambda llm: TextToCypherRetriever(Graph(), llm=llm, response_template="{response}"),
        "retrieve", ASKED, ["{'query': 'MATCH (n) RETURN n'}"], texts,
    ),
    "cypher-template": Case(
        lambda llm: CypherTemplateRetriever(Graph(), Cause, "MATCH (n) RETURN n", llm=llm),
        "retrieve", {"str_or_query_bundle": f"{FACT} {QUESTION}"},
        [str({"query": "MATCH (n) RETURN n", **CAUSE.model_dump()})], texts,
    ),
    "select-llm-single": selector(LLMSingleSelector),
    "select-llm-multi": selector(LLMMultiSelector),
    "select-pydantic-single": selector(PydanticSingleSelector),
    "select-pydantic-multi": selector(PydanticMultiSelector),
    "rerank-llm": reranker(LLMRerank),
    "rerank-rankgpt": reranker(RankGPTRerank),
    "rerank-structured": reranker(StructuredLLMRerank),
    "fusion": Case(
        lambda llm: QueryFusionRetriever(
            [BM25Retriever.from_defaults(nodes=NODES, **BM25)], llm=llm, num_queries=3, use_async=False, **BM25
        ),
        "retrieve", ASKED, [FACT], texts,
    ),
    "router-retriever": Case(
        lambda llm: RouterRetriever.from_defaults(
            [
                RetrieverTool.from_defaults(SummaryIndex([leaf]).as_retriever(), description=leaf.text, name=topic)
                for topic, leaf in zip(FACTS, reversed(NODES), strict=True)
            ],
            llm=llm,
        ),
        "retrieve", ASKED, [FACT], texts,
    ),
    "auto-retriever": Case(
        lambda llm: VectorIndexAutoRetriever(
            VectorStoreIndex([node()], embed_model=MockEmbedding(8)),
            VectorStoreInfo(content_info="Facts", metadata_info=[]), llm=llm,
        ),
        "retrieve", ASKED, [FACT], texts,
    ),
    "question-generator": Case(
        lambda llm: LLMQuestionGenerator.from_defaults(llm),
        "generate", {"tools": [ToolMetadata("Tells about tides.", name="tides")], "query": QueryBundle(QUESTION)},
        ["tides"], lambda questions: [question.tool_name for question in questions],
    ),
    "faithful": evaluator(FaithfulnessEvaluator, True, 1),
    "not-faithful": evaluator(FaithfulnessEvaluator, False, 0, BREAD),
    "relevant": evaluator(RelevancyEvaluator, True, 1),
    "not-relevant": evaluator(RelevancyEvaluator, False, 0, BREAD),
    "correct": evaluator(CorrectnessEvaluator, True, 4.5, reference=FACT),
    "answer-relevant": evaluator(AnswerRelevancyEvaluator, None, 1),
    "context-relevant": evaluator(ContextRelevancyEvaluator, None, 1),
    "guideline": evaluator(GuidelineEvaluator, True, 1),
    "not-by-guideline": evaluator(GuidelineEvaluator, False, 0, BREAD),
    "better": evaluator(PairwiseComparisonEvaluator, True, 1, second_response=BREAD, reference=FACT),
    "worse": evaluator(PairwiseComparisonEvaluator, False, 0, BREAD, second_response=FACT, reference=FACT),
    "faithful-to-pictures": evaluator(MultiModalFaithfulnessEvaluator, True, 1, SEEN, image_urls=[PNG_URL]),
    "relevant-to-pictures": evaluator(MultiModalRelevancyEvaluator, True, 1, SEEN, image_urls=[PNG_URL]),
    **{
        f"engine-output_cls-{name}": Case(
            lambda llm, name=name: mode(ResponseMode(name), output_cls=Cause)(llm),
            "query", {"str_or_query_bundle": QUESTION}, CAUSE, lambda response: response.response,
        )
        for name in ("refine", "compact", "tree_summarize")
    },
    "program-function": program(FunctionCallingProgram),
    "program-function-streamed": program(
        FunctionCallingProgram, method="stream_call", read=lambda objects: objects[-1]
    ),
    "program-text": program(LLMTextCompletionProgram),
    "program-pictures": Case(
        lambda llm: MultiModalLLMCompletionProgram.from_defaults(
            PydanticOutputParser(Cause), multi_modal_llm=llm, prompt_template_str=f"{FACT} {QUESTION}"
        ),
        "__call__", {"image_documents": [ImageBlock(image=PNG)]}, CAUSE,
    ),
    "structured-llm": Case(
        lambda llm: llm.as_structured_llm(Cause),
        "chat", {"messages": [ChatMessage(f"{FACT} {QUESTION}")]}, CAUSE, lambda response: response.raw,
    ),
    "structured-llm-streamed": Case(
        lambda llm: llm.as_structured_llm(Cause),
        "stream_chat", {"messages": [ChatMessage(f"{FACT} {QUESTION}")]}, CAUSE, lambda responses: responses[-1].raw,
    ),
    "memory-summary": Case(
        summarized, "get", {}, ["This is about Tides.", "Go on."],
        lambda history: [message.content for message in history],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", COMPONENTS)
def test_component(sensible_llm: CloudflareGemma, call: Call, name: str) -> None:
    """The component makes of the answer what it is there for."""
    case = COMPONENTS[name]
    result = call(case.make(sensible_llm), case.method, **copy.deepcopy(case.asked))
    assert case.read(result) == case.result
    assert THOUGHT not in str(result)


async def test_facts_of_a_conversation(sensible_llm: CloudflareGemma) -> None:
    """The memory block that keeps facts finds them in the conversation; it is asynchronous only."""
    block = FactExtractionMemoryBlock(llm=sensible_llm)
    await block.aput(
        [ChatMessage("I live in Oslo."), ChatMessage("Nice.", role="assistant")], from_short_term_memory=True
    )
    assert await block.aget() == "<fact>I live in Oslo</fact>"


def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


def execute(code: str) -> str:
    """Runs a program and gives what it prints."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(code, {"add": add})  # noqa: S102 - the sensible model's
    return printed.getvalue()


class Agent(NamedTuple):
    """An agent, what it is asked, and what must come."""

    make: Callable[..., Any]
    """Takes the model, and `streaming`."""
    asked: str = "Add 2 and 3."
    answer: str = "The result is 5."


def team(**how: Any) -> AgentWorkflow:
    """Two agents, of which only the second knows anything."""
    clerk = FunctionAgent("clerk", "Answers the door.", system_prompt="You know nothing.", **how)
    expert = FunctionAgent("expert", "Knows about tides.", system_prompt=FACT, can_handoff_to=[], **how)
    return AgentWorkflow([clerk, expert], root_agent="clerk")


AGENTS = {
    "function": Agent(lambda **how: FunctionAgent(tools=[add], **how)),
    "react": Agent(lambda **how: ReActAgent(tools=[add], **how)),
    "code": Agent(lambda **how: CodeActAgent(execute, tools=[add], **how)),
    "workflow": Agent(lambda **how: AgentWorkflow([FunctionAgent(tools=[add], **how)])),
    "hand-off": Agent(team, QUESTION, FACT),
}


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("name", AGENTS)
async def test_agent(sensible_llm: CloudflareGemma, name: str, streaming: bool) -> None:
    """The agent uses its tool, or the other agent, and answers; what it thinks shows in its stream and nowhere else."""
    make, asked, answer = AGENTS[name]
    handler = make(llm=sensible_llm, streaming=streaming).run(asked)
    thoughts = [event.thinking_delta async for event in handler.stream_events() if type(event) is AgentStream]
    assert str(await handler) == answer
    assert "".join(thought or "" for thought in thoughts) == (2 * THOUGHT if streaming else "")
