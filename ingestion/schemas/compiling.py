"""JSON Schemas of event types: what is taken as one, and what it says of an event. Pure, and without the framework.

Web servers do not run this themselves: `ingestion.schemas.process` does, where it can be stopped.
"""

import re
from dataclasses import dataclass
from itertools import islice

import msgspec
from jsonschema_rs import Draft202012Validator, RegexOptions, ValidationError

from core.field_errors import MAX_ERRORS, FieldError, cut, pointer_to
from ingestion.schemas.cost import SchemaCost, estimate_cost
from ingestion.schemas.parts import DIALECT, SchemaError

# In steps, of 10 ns or less: an event takes a tenth of a second at most.
MAX_COST = 10_000_000
# Telling what is wrong is dearer than telling that something is: up to 0.7 µs a step for the first error, as much
# again for each one that is listed. Beyond these, the first error alone, then only that there is one.
MAX_COST_OF_LISTING = 10_000
MAX_COST_OF_FIRST_ERROR = 200_000
# The smallest event that a schema must be able to check: else it is no use, and not saved.
_LEAST_DATA = "[" * 8 + "0," * 500 + "0" + "]" * 8

# Bytes that a compiled pattern may take, and all of a schema's together. `.{1,255}` takes 0.5 MB.
PATTERN_BYTES = 1 << 20
PATTERNS_BYTES = 4 << 20
# Measured: what a schema takes at least, for each character of it, and for each pattern and state of one.
SCHEMA_BYTES = 32 << 10
CHARACTER_BYTES = 30
STATE_BYTES = 4 << 10
_META = Draft202012Validator({"$ref": DIALECT}, offline=True)
# The library quotes the pattern, which is for programs.
_OWN_WORDS = {
    "pattern": "The text does not have the form that the schema's pattern describes.",
    "not": "The value fits what the schema says that it may not fit.",
    "propertyNames": "A name does not fit what the schema says of names.",
}
_CAPITAL = re.compile(r"(?<!^)(?=[A-Z])")


@dataclass(frozen=True, kw_only=True)
class CompiledSchema:
    """A schema that is ready to check events, the bound of what that costs, and about how many bytes it takes."""

    validator: Draft202012Validator
    cost: SchemaCost
    size: int

    def errors(self, data: str) -> tuple[FieldError, ...]:
        """What is wrong with `data`, JSON text: at most MAX_ERRORS, none when it is valid."""
        try:
            value = msgspec.json.decode(data)
        except msgspec.ValidationError:
            return (
                FieldError(pointer="/data", code="number_out_of_range", detail="The data holds an infinite number."),
            )
        cost = self.cost.of(data, value, enough=MAX_COST_OF_LISTING)
        if cost > MAX_COST:
            return (FieldError(pointer="/data", code="too_costly", detail="Checking this data would take too long."),)
        if self.validator.is_valid(value):
            return ()
        if cost <= MAX_COST_OF_LISTING:
            return tuple(map(_field_error, islice(self.validator.iter_errors(value), MAX_ERRORS)))
        if cost <= MAX_COST_OF_FIRST_ERROR:
            try:
                self.validator.validate(value)
            except ValidationError as error:
                return (_field_error(error),)
        return (FieldError(pointer="/data", code="invalid", detail="The data does not fit the schema."),)


def compile_schema(text: str, *, to_be_saved: bool = False, asserts_format: bool = False) -> CompiledSchema:
    """The schema in `text`, JSON that check_jsonb() has passed. Never opens a connection. Raises SchemaError.

    `asserts_format`: values have to have the formats that it names, as far as the validator knows these.
    One that could check no event of a useful size is not saved. If it was before there was this bound, or it was
    another one, small events are still checked.
    """
    schema = msgspec.json.decode(text)
    try:
        _META.validate(schema)
    except ValidationError as error:
        raise _schema_error(error) from error
    if isinstance(schema, dict) and schema.get("$schema", DIALECT).removesuffix("#") != DIALECT:
        raise SchemaError("unsupported_dialect", f"Schemas are read as {DIALECT}.")
    # What is saved may come to assert its formats without being looked at again.
    cost = estimate_cost(schema, is_schema=_META.is_valid, asserts_format=asserts_format or to_be_saved)
    if to_be_saved and cost.of(_LEAST_DATA, msgspec.json.decode(_LEAST_DATA)) > MAX_COST:
        raise SchemaError("too_costly", "Checking events against this schema could take too long.")
    share = min(PATTERN_BYTES, PATTERNS_BYTES // max(cost.patterns, 1))
    # This engine is linear in the text: it does not backtrack, so it knows no look-around.
    patterns = RegexOptions(size_limit=share, dfa_size_limit=share)
    try:
        validator = Draft202012Validator(
            schema,
            validate_formats=asserts_format,
            mask="The value",
            pattern_options=patterns,
            offline=True,
        )
    except ValidationError as error:
        raise _schema_error(error) from error
    except ValueError as error:
        raise SchemaError("invalid_schema", cut(str(error))) from error
    in_patterns = min(2 * share * cost.patterns, STATE_BYTES * (cost.patterns + cost.pattern_states))
    size = SCHEMA_BYTES + CHARACTER_BYTES * len(text) + in_patterns
    return CompiledSchema(validator=validator, cost=cost, size=size)


def _schema_error(error: ValidationError) -> SchemaError:
    message = error.message
    if error.kind.name == "format":
        message = "This is no pattern that can be used; look-around, back-references and huge repetitions are not."
    place = pointer_to(*error.instance_path)
    return SchemaError("invalid_schema", f"At {cut(place) or 'the top'}: {cut(message)}")


def _field_error(error: ValidationError) -> FieldError:
    return FieldError(
        pointer=pointer_to("data", *error.instance_path),
        code=_CAPITAL.sub("_", error.kind.name).lower(),
        detail=_OWN_WORDS.get(error.kind.name) or cut(error.message),
    )
