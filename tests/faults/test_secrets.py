"""Row 50: models that are written down or copied show no secret, before and after use, and a copy still works."""

from __future__ import annotations

import copy
import pickle
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.load import dumpd, dumps

from tests.faults.faces import CANARY, FACES, SETTINGS, Face
from tests.faults.scenarios import GOOD
from tests.faultserver import FaultServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ANY: dict[str, Callable[[Any], object]] = {"repr": repr, "str": str}
WRITTEN: dict[str, dict[str, Callable[[Any], object]]] = {
    "Gemma": {
        "attributes": lambda model: repr(vars(model)),
        "the resolved settings": lambda model: repr(model.settings),
    },
    "LangChain": {
        "dumps": dumps,
        "dumpd": dumpd,
        "to_json": lambda model: model.to_json(),
        "model_dump": lambda model: model.model_dump(),
        "model_dump_json": lambda model: model.model_dump_json(),
        "identifying params": lambda model: model._identifying_params,
        "LangSmith's params": lambda model: model._get_ls_params(),
        "the cache's key": lambda model: model._get_llm_string(),
    },
    "LlamaIndex": {
        "to_json": lambda model: model.to_json(),
        "to_dict": lambda model: model.to_dict(),
        "to_payload": lambda model: model.to_payload(),
        "model_dump": lambda model: model.model_dump(),
        "model_dump_json": lambda model: model.model_dump_json(),
        "metadata": lambda model: model.metadata,
    },
}
WRITTEN["AsyncGemma"] = WRITTEN["Gemma"]
CASES = [(name, how) for name in ("Gemma", "AsyncGemma", "LangChain", "LlamaIndex") for how in (*ANY, *WRITTEN[name])]


def _used(name: str, server: FaultServer) -> Iterator[Any]:
    """The model as it is made, with its clients, and after use; closed at the end."""
    face: Face = FACES[name]()
    yield face.kind(**SETTINGS, base_url=server.url)
    model = face.begin(base_url=server.url)
    yield model
    assert face.ask(stream=False, pieces=[], max_tokens=5).text == "ab"
    yield model
    face.close()


@pytest.mark.parametrize(("name", "how"), CASES)
def test_what_is_written_down(name: str, how: str) -> None:
    """In no form that a model is shown or stored in is there a token or a gateway's token."""
    write = (ANY | WRITTEN[name])[how]
    with FaultServer([GOOD]) as server:
        for model in _used(name, server):
            assert CANARY not in str(write(model))


@pytest.mark.filterwarnings("ignore:pickling leaves out default_headers")
@pytest.mark.parametrize("name", ["Gemma", "AsyncGemma", "LangChain", "LlamaIndex"])
def test_pickles(name: str) -> None:
    """A pickle holds no secret: it is refused, or leaves the token to where it is read."""
    with FaultServer([GOOD]) as server:
        for model in _used(name, server):
            for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
                try:
                    pickled = pickle.dumps(model, protocol)
                except TypeError as error:
                    pickled = str(error).encode()
                    assert b"can't be pickled" in pickled
                assert CANARY.encode() not in pickled


COPIES: dict[str, Callable[[Any], Any]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "model_copy": lambda model: model.model_copy() if hasattr(model, "model_copy") else copy.copy(model),
    "deep model_copy": lambda model: model.model_copy(deep=True) if hasattr(model, "model_copy") else model,
}


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("name", ["Gemma", "AsyncGemma", "LangChain", "LlamaIndex"])
def test_copies(name: str, how: str) -> None:
    """A copy works as the original does, made before or after its first use, and shows no secret either."""
    with FaultServer([GOOD]) as server:
        for model in _used(name, server):
            copied = COPIES[how](model)
            assert CANARY not in repr(copied)
            face = FACES[name]()
            face.model = copied
            assert face.ask(stream=False, pieces=[], max_tokens=5).text == "ab"
            face.close()
        assert len({request.headers["authorization"] for request in server.requests}) == 1
        assert len(server.requests) == 4
