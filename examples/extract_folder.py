"""Structured extraction: each letter of a folder becomes an object, eight letters at a time."""

from pathlib import Path
from typing import Literal

from langchain_core.language_models import LanguageModelInput
from pydantic import BaseModel, Field

from langchain_cf_gemma import ChatCloudflareGemma


class Letter(BaseModel):
    """What a letter to the library is about."""

    sender: str = Field(description="Who wrote the letter: first and last name")
    topic: Literal["book", "room", "fee", "other"]
    urgent: bool = Field(description="Whether the sender asks for an answer within a day")


# The object is checked: it fits the class, or the call raises an error.
extractor = ChatCloudflareGemma(temperature=0).with_structured_output(Letter)
files = sorted((Path(__file__).parent / "data" / "letters").glob("*.txt"))
prompts: list[LanguageModelInput] = [f"Sort this letter.\n\n{file.read_text('utf-8')}" for file in files]

# return_exceptions: a letter that fails doesn't take the others with it.
letters = extractor.batch(prompts, {"max_concurrency": 8}, return_exceptions=True)
for file, letter in zip(files, letters, strict=True):
    print(file.name, letter, sep=": ")
