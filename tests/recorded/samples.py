"""What the recorded tests send. Fixed to the byte: a cassette answers only the request that it was recorded for."""

from __future__ import annotations

import base64

from pydantic import BaseModel

RED_SQUARE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAABAAAAAQCAIAAACQkWg2AAAAFklEQVR42mP4z8BAEmIY1TCqYfhqAACQ+f8B8u7oVwAAAABJRU5ErkJggg=="
)
"""A red PNG of 16 x 16 pixels."""


class Person(BaseModel):
    """A person."""

    name: str
    age: int


def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"Sunny in {city}"


TWO_CITIES = "What is the weather in Lisbon and in Oslo? Call the tool once for each city, both at once."
COUNT = "Count from one to five, in words, with commas. Say nothing else."
