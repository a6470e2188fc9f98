"""Both frameworks' models as a type checker sees them. Checked, never run."""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from typing import TYPE_CHECKING, Any, assert_type

from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable
from pydantic import BaseModel
from typing_extensions import TypedDict

from cf_gemma import Budget, Gateway
from langchain_cf_gemma import ChatCloudflareGemma, WithRaw
from llama_index_cf_gemma import CloudflareGemma

if TYPE_CHECKING:
    from llama_index.core import PromptTemplate


class Person(BaseModel):
    """A person."""

    name: str


class Place(TypedDict):
    """A place."""

    city: str


def making(budget: Budget) -> None:
    """What a model is made of, whichever the framework."""
    ChatCloudflareGemma(temperature=0.5, gateway=Gateway("shop", cache_ttl=60), budget=budget, validate=True)
    CloudflareGemma(temperature=0.5, gateway="shop", budget=budget, validate=True)


def structured(model: ChatCloudflareGemma, schema: dict[str, Any]) -> None:
    """A class gives its instances, a schema dicts; with the raw message, what a WithRaw has."""
    assert_type(model.with_structured_output(Person), Runnable[LanguageModelInput, Person])
    assert_type(model.with_structured_output(Person).invoke("hi").name, str)
    assert_type(model.with_structured_output(Place).invoke("hi")["city"], str)
    assert_type(model.with_structured_output(schema).invoke("hi"), dict[str, Any])
    assert_type(model.with_structured_output(method="json_mode").invoke("hi"), dict[str, Any])
    both = model.with_structured_output(Person, method="function_calling", include_raw=True).invoke("hi")
    assert_type(both, WithRaw[Person])
    assert_type(both["raw"], AIMessage)
    assert_type(both["parsed"], Person | None)


async def predicted(llm: CloudflareGemma, prompt: PromptTemplate) -> None:
    """A class gives its instances."""
    assert_type(llm.structured_predict(Person, prompt), Person)
    assert_type(await llm.astructured_predict(Person, prompt), Person)
