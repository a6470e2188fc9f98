"""Answers in JSON: the schema, checked before anything is sent, and whether an answer fits it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from cf_gemma.errors import ConfigurationError, InvalidRequest
from cf_gemma.model.json_object import as_object
from cf_gemma.structured import response_format, unfenced

if TYPE_CHECKING:
    from jsonschema.protocols import Validator


class JsonFormat:
    """The form of an answer: JSON, and perhaps a JSON Schema that it must fit.

    Raises InvalidRequest for what isn't a JSON Schema, ConfigurationError where jsonschema isn't installed.
    """

    def __init__(self, schema: object = None) -> None:
        self._validator = None if schema is None else _validator(schema)
        self.options: dict[str, Any] = {}
        if schema is not None:
            self.options["response_format"] = response_format(as_object(schema) or {})
        """The parameters that ask for it."""

    def read(self, text: str) -> Any:
        """The value in an answer's text. Raises ValueError, which says what is wrong with it."""
        try:
            value = json.loads(unfenced(text))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"the answer is not JSON: {error}") from None
        if self._validator is not None:
            _check(self._validator, value)
        return value


def _validator(schema: object) -> Validator:
    try:
        from jsonschema.exceptions import SchemaError
        from jsonschema.validators import Draft202012Validator, validator_for
        from referencing import Registry
    except ImportError:
        raise ConfigurationError("jsonschema is missing; type: pip install 'cf-gemma[bulk]'") from None
    fields = as_object(schema)
    if fields is None:
        raise InvalidRequest("schema is not a JSON Schema: it must be an object")
    validator: type[Validator] = validator_for(fields, Draft202012Validator)
    if not fields.keys() & validator.VALIDATORS.keys():
        raise InvalidRequest(f"schema is not a JSON Schema: it has none of {', '.join(_USUAL)}")
    try:
        validator.check_schema(fields)
    except SchemaError as error:
        raise InvalidRequest(f"schema is not a JSON Schema: {error.json_path}: {error.message}") from None
    return validator(fields, registry=Registry())  # an empty one: references are not fetched from the web


def _check(validator: Validator, value: Any) -> None:
    from referencing.exceptions import Unresolvable

    try:
        error = next(iter(validator.iter_errors(value)), None)
    except Unresolvable as error:
        raise ValueError(f"the schema has a reference that leads nowhere: {error.ref}") from None
    except RecursionError:
        raise ValueError("the answer, or the schema, is nested too deep to be compared") from None
    if error is not None:
        raise ValueError(f"the answer doesn't fit the schema: {error.json_path}: {error.message}")


_USUAL = ("type", "properties", "items", "enum", "const", "anyOf", "oneOf", "allOf", "$ref")
