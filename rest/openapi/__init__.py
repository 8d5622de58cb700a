"""What views say of their operations: for each method an Operation, with bodies and answers as msgspec types.

They are the same types that the view decodes and returns. `rest.openapi.document` makes the document of it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, Literal, TypeVar

from msgspec import UNSET, Meta, Struct, UnsetType

from core.field_errors import FieldError
from core.problems import PROBLEM_TYPES
from rest.lists import DEFAULT_LIMIT, MAX_LIMIT

JSON = "application/json"
EXAMPLE_ID = "019a1b2c-3d4e-7f50-8a6b-7c8d9e0f1a2b"
OTHER_ID = "019a1b2c-3d4e-7f51-9b7c-8d9e0f1a2b3c"
EXAMPLE_TIME = "2026-11-23T10:00:00.000000Z"

Time = Annotated[
    str,
    Meta(
        description="RFC 3339 in UTC, with microseconds.",
        pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$",
        extra_json_schema={"format": "date-time"},
    ),
]
T = TypeVar("T")


class Listed(Struct, Generic[T]):
    """One page of a list, newest first."""

    data: list[T]
    next_cursor: Annotated[str | None, Meta(description="`?cursor=` of the next page; null on the last one.")]


class ItemProblem(Struct, kw_only=True):
    """What is wrong with one item of a batch. `code` is stable; `errors` names each wrong field of a bad input."""

    type: Annotated[str, Meta(description="The page that explains the code.", extra_json_schema={"format": "uri"})]
    title: str
    status: Annotated[int, Meta(ge=400, le=599)]
    detail: str
    code: Annotated[str, Meta(extra_json_schema={"enum": list(PROBLEM_TYPES)})]
    errors: Annotated[list[FieldError], Meta(min_length=1)] | UnsetType = UNSET


class ProblemDocument(ItemProblem, kw_only=True):
    """An error, as in RFC 9457. `code` is stable; `errors` names each wrong field of a bad input."""

    request_id: str


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A parameter in `place`: query, header or path. `schema` is JSON Schema."""

    name: str
    description: str
    schema: Mapping[str, Any]
    place: str
    example: Any


@dataclass(frozen=True, kw_only=True)
class Content:
    """A body of one media type, with named examples. `kind` is a msgspec type, several in a tuple, or JSON Schema."""

    kind: Any
    examples: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a status says beside its content; `content` by media type, empty for no body."""

    description: str
    content: Mapping[str, Content] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One method of one view.

    `problems` adds codes to those that follow from the rest: from the key, the scope, the body, the parameters.
    `open_to_suspended`: keys of a suspended organization may do this, too. `refuses_parameters`: those of the query
    that it does not have; the doors of the intake look at no query. `version`: where the object's version plays a part,
    `shown` by an ETag in what is answered, or `expected` as well, by If-Match.
    """

    id: str
    summary: str
    answers: Mapping[int, Answer]
    description: str = ""
    parameters: tuple[Parameter, ...] = ()
    body: Mapping[str, Content] = field(default_factory=dict)
    body_required: bool = True
    problems: tuple[str, ...] = ()
    open_to_suspended: bool = False
    refuses_parameters: bool = True
    version: Literal["", "shown", "expected"] = ""


def parameter(name: str, description: str, *, place: str = "query", example: Any = None, **schema: Any) -> Parameter:
    """A string, unless `schema` says otherwise."""
    return Parameter(
        name=name, description=description, schema={"type": "string", **schema}, place=place, example=example
    )


def json_of(kind: Any, **examples: Any) -> dict[str, Content]:
    """`application/json` of a type, with named examples."""
    return {JSON: Content(kind=kind, examples=examples)}


def answer(
    description: str, kind: Any = None, *, status: int = 200, media_type: str = JSON, **examples: Any
) -> dict[int, Answer]:
    """What is answered with one status: a `kind` as Content takes it, or nothing, with named examples."""
    content = {} if kind is None else {media_type: Content(kind=kind, examples=examples)}
    return {status: Answer(description=description, content=content)}


def page_of(kind: Any, things: str, example: Any) -> dict[int, Answer]:
    """A page of a list, with an example of one of its `things`."""
    return answer(f"A page of {things}.", kind, page={"data": [example], "next_cursor": None})


def _operation_of(method: str) -> Callable[..., dict[str, Operation]]:
    def describe(name: str, summary: str, description: str = "", **rest: Any) -> dict[str, Operation]:
        return {method: Operation(id=name, summary=summary, description=description, **rest)}

    return describe


get, post, patch, delete = map(_operation_of, ("GET", "POST", "PATCH", "DELETE"))

LIMIT = parameter(
    "limit",
    "How many rows a page has at most. One of large rows ends before, at 16 MiB; `next_cursor` leads on.",
    type="integer",
    minimum=1,
    maximum=MAX_LIMIT,
    default=DEFAULT_LIMIT,
)
CURSOR = parameter("cursor", "`next_cursor` of the page before. An altered one is a 400.")
PAGE = (LIMIT, CURSOR)
