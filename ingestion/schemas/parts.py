"""What the parts of a JSON Schema are called, by `$id`, anchor and JSON pointer, and where references lead. Pure.

The validator finds parts by itself. What is bounded here must be what it applies, so a schema whose names it might read
otherwise is refused.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit, uses_relative

from core.field_errors import cut, steps_of

DIALECT = "https://json-schema.org/draft/2020-12/schema"

LISTS = ("allOf", "anyOf", "oneOf")
SINGLES = ("not", "if", "then", "else")
# Of a schema without a name of its own. Relative names are joined to it.
_NO_NAME = "http://schema.invalid/"
_HOLD_LISTS = (*LISTS, "prefixItems")
_HOLD_ONE = (*SINGLES, "additionalProperties", "contains", "contentSchema", "items", "propertyNames",
             "unevaluatedItems", "unevaluatedProperties")  # fmt: skip
_HOLD_NAMED = ("$defs", "definitions", "dependencies", "dependentSchemas", "patternProperties", "properties")
_NAMES = ("$id", "$anchor", "$dynamicAnchor")
# Without what a validator may write in another way: escapes, and steps that lead nowhere or up.
_PLAIN = re.compile(r"(?!.*/\.{1,2}(?:/|\Z))[a-z][a-z0-9+.-]*:[A-Za-z0-9._~:@/-]+")
_PORT = re.compile(r":\d*(?=/|\Z)")


class SchemaError(ValueError):
    """The schema cannot be used; `code` is stable, the message says why."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


class Parts:
    """The subschemas of a document; `schemas` are the objects among them, with those that references have found."""

    def __init__(self, document: Any, is_schema: Callable[[Any], bool]) -> None:
        self.schemas: list[dict[str, Any]] = []
        self._document = document
        self._is_schema = is_schema
        self._by_name: dict[str, Any] = {_NO_NAME: document}
        self._anchors: dict[tuple[str, str], Any] = {}
        self._dynamic: defaultdict[str, list[Any]] = defaultdict(list)
        # The name of the document or part that each is in, by id().
        self._bases: dict[int, str] = {}
        self._look_through(document, _NO_NAME)

    def referred(self, schema: Any) -> Iterator[Any]:
        """The subschemas that a schema refers to. Raises SchemaError for a reference that leads to none of these.

        A dynamic one may lead to any anchor of its name, by the way on which the validator came.
        """
        if "$ref" in schema:
            yield self._find(schema, schema["$ref"])
        if "$dynamicRef" in schema:
            reference = schema["$dynamicRef"]
            found = self._find(schema, reference)
            yield found
            yield from (other for other in self._dynamic[reference.partition("#")[2]] if other is not found)

    def _look_through(self, schema: Any, base: str) -> None:
        """Learn the names of the schema and of all in it. What is data there, as in `const`, has no name."""
        if not isinstance(schema, dict) or id(schema) in self._bases:
            return
        self.schemas.append(schema)
        if isinstance(given := schema.get("$id"), str):
            base = self._join(base, given.removesuffix("#"))
            self._name_part(base, schema)
        self._bases[id(schema)] = base
        for name in ("$anchor", "$dynamicAnchor"):
            if isinstance(anchor := schema.get(name), str):
                if self._anchors.setdefault((base, anchor), schema) is not schema:
                    raise SchemaError("duplicate_name", f"Two parts of the schema are named {cut('#' + anchor)!r}.")
                if name == "$dynamicAnchor":
                    self._dynamic[anchor].append(schema)
        for child in _children(schema):
            self._look_through(child, base)

    def _name_part(self, uri: str, schema: dict[str, Any]) -> None:
        if schema is self._document:
            self._by_name = {uri: schema}
            return
        if schema.get("$schema", DIALECT).removesuffix("#") != DIALECT:
            raise SchemaError("unsupported_dialect", f"Schemas are read as {DIALECT}.")
        if any(_PLAIN.fullmatch(name) is None for name in (uri, *self._by_name)):
            detail = "The $id of a part, and of the schema around it, has only A-Za-z0-9._~:@/- and no steps of dots."
            raise SchemaError("unusual_id", detail)
        if _as_compared(uri) in map(_as_compared, self._by_name):
            raise SchemaError("duplicate_name", f"Two parts of the schema are named {cut(uri)!r}, or nearly so.")
        self._by_name[uri] = schema

    def _join(self, base: str, name: str) -> str:
        try:
            can_join = not name or urlsplit(name).scheme or urlsplit(base).scheme in uses_relative
            joined = urljoin(base, name)
        except ValueError as error:
            raise SchemaError("unusual_id", f"{cut(name)!r} is no URI.") from error
        if not can_join:
            raise SchemaError("unusual_id", f"{cut(name)!r} cannot be joined to {cut(base)!r}.")
        return joined

    def _find(self, schema: dict[str, Any], reference: str) -> Any:
        name, _, fragment = reference.partition("#")
        base = self._join(self._bases[id(schema)], name)
        if base not in self._by_name:
            detail = f"Only references within the schema are followed: {cut(reference)!r}."
            raise SchemaError("remote_reference", detail)
        if fragment and not fragment.startswith("/"):
            if (base, fragment) not in self._anchors:
                raise _unknown(reference)
            return self._anchors[base, fragment]
        found = self._by_name[base]
        for step in steps_of(unquote(fragment)):
            try:
                found = found[int(step)] if isinstance(found, list) else found[step]
            except (KeyError, IndexError, ValueError, TypeError) as error:
                raise _unknown(reference) from error
            base = self._bases.get(id(found), base)
        if id(found) not in self._bases:
            if not self._is_schema(found) or _has_names(found):
                raise SchemaError("unknown_reference", f"{cut(reference)!r} is not a schema.")
            self._look_through(found, base)
        return found


def _children(schema: dict[str, Any]) -> Iterator[Any]:
    for name, value in schema.items():
        if name in _HOLD_ONE:
            yield value
        elif name in _HOLD_LISTS and isinstance(value, list):
            yield from value
        elif name in _HOLD_NAMED and isinstance(value, dict):
            yield from value.values()


def _has_names(value: Any) -> bool:
    """Whether there is a name in what stands where no schema should: nobody would agree on what it names."""
    if isinstance(value, dict):
        return any(isinstance(value.get(name), str) for name in _NAMES) or any(map(_has_names, value.values()))
    return isinstance(value, list) and any(map(_has_names, value))


def _as_compared(uri: str) -> str:
    return _PORT.sub("", uri.lower(), count=1).removesuffix("/")


def _unknown(reference: str) -> SchemaError:
    return SchemaError("unknown_reference", f"There is no {cut(reference)!r} in the schema.")
