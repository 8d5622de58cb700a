"""From what the views say of themselves to the OpenAPI 3.1 document of `/api/schema`.

What all operations share (authentication, headers, errors) is added here, from the code it is true of: the view's
scopes, the registry of problems.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from django.db.models.enums import Choices
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import ComponentRegistry, ResolvedComponent
from msgspec import Struct

from core.field_errors import FieldError
from core.problems import PROBLEM_TYPES, Problem
from rest.openapi import CURSOR, EXAMPLE_ID, LIMIT, Content, Operation, Parameter, ProblemDocument, parameter
from rest.problems import MEDIA_TYPE, problem_body

_REQUEST_ID = parameter(
    "Request-Id",
    "Your own id of this request, up to 128 of `A-Za-z0-9._-`. It comes back in the answer; another is made when it is"
    " missing or has another form.",
    place="header",
    example="checkout-42",
)
_IF_MATCH = parameter(
    "If-Match",
    "The `ETag` with which you read the object. If it has changed since, nothing is done, and the response is a 412"
    " that names what has changed. Without this header the change is made in any case.",
    place="header",
)


def _header(description: str, example: Any, **schema: Any) -> dict[str, Any]:
    return {"description": description, "required": True, "schema": {"type": "string", **schema}, "example": example}


_HEADERS = {
    "Request-Id": _header(
        "The request's id, to quote in questions about it.", EXAMPLE_ID, pattern="^[A-Za-z0-9._-]{1,128}$"
    ),
    "Server-Timing": _header(
        "How long the platform worked on the answer, in milliseconds.", "app;dur=3.21", pattern=r"^app;dur=\d+(\.\d+)?$"
    ),
    "RateLimit-Policy": _header(
        "The organization's limit: `q` events in `w` seconds.", '"plan";q=100;w=60', pattern=r'^"plan";q=\d+;w=60$'
    ),
    "RateLimit": _header(
        "`r` events are left; in `t` seconds the window ends.", '"plan";r=99;t=42', pattern=r'^"plan";r=\d+;t=\d+$'
    ),
    "Retry-After": _header("Seconds to wait before the next try.", 1, type="integer", minimum=0),
    "ETag": _header(
        "The version of all that can be changed of the object, for `If-Match`.",
        '"k3Jx9QaZ"',
        pattern='^"[A-Za-z0-9_-]+"$',
    ),
    "WWW-Authenticate": _header("How to authenticate.", 'Bearer realm="events"', pattern="^Bearer "),
}
_ALWAYS = ("Request-Id", "Server-Timing")
_LIMITS = ("RateLimit-Policy", "RateLimit")
# These can come before it is known who asks, and then say nothing of limits.
_MAYBE_UNKNOWN_CALLER = {400, 403, 404, 413, 500, 503}

_SECURITY_SCHEMES = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "`Authorization: Bearer <key>`, with an API key of the organization.",
    },
    "apiKey": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "The same API key in a header of its own.",
    },
}
_KEY_PROBLEMS = ("missing_api_key", "invalid_api_key", "api_key_expired", "api_key_revoked", "organization_suspended")
_ALWAYS_PROBLEMS = ("bad_request", *_KEY_PROBLEMS, "rate_limited", "internal_error", "service_unavailable")
_BODY_PROBLEMS = ("malformed_json", "payload_too_large", "unsupported_media_type", "validation_failed")


def build_document() -> dict[str, Any]:
    """The OpenAPI document of every route that DRF serves; the paths come from the URL configuration."""
    document: dict[str, Any] = SchemaGenerator().get_schema(public=True)  # type: ignore[no-untyped-call]
    return document


def add_shared_components(
    *, result: dict[str, Any], generator: SchemaGenerator, request: Any, public: bool
) -> dict[str, Any]:
    """drf-spectacular's hook: what operations refer to beside the schemas."""
    components = result["components"]
    components["securitySchemes"] = _SECURITY_SCHEMES
    components["headers"] = _HEADERS | {f"Optional-{name}": {**_HEADERS[name], "required": False} for name in _LIMITS}
    components["parameters"] = {name: _parameter(given) for name, given in _SHARED_PARAMETERS.items()}
    given = {code for item in result["paths"].values() for operation in item.values() for code in _codes_of(operation)}
    components["examples"] = {code: {"value": _problem_example(code)} for code in PROBLEM_TYPES if code in given}
    return result


def _codes_of(operation: Mapping[str, Any]) -> Iterator[str]:
    for answer in operation["responses"].values():
        yield from answer.get("content", {}).get(MEDIA_TYPE, {}).get("examples", ())


class DocumentedView(AutoSchema):
    """drf-spectacular's inspector of a view: takes all from `view.operations`, guesses nothing."""

    view: Any

    def get_operation(
        self, path: str, path_regex: str, path_prefix: str, method: str, registry: ComponentRegistry
    ) -> dict[str, Any]:
        operation: Operation = self.view.operations[method]
        scope = self.view.scopes.get(method)
        own = (*operation.parameters, *((_IF_MATCH,) if operation.version == "expected" else ()))
        parameters = [*_path_parameters(path, operation), *map(_parameter_or_reference, own)]
        described = {
            "operationId": operation.id,
            "summary": operation.summary,
            "description": _description(operation, scope),
            "tags": [path.removeprefix(path_prefix).split("/")[3]],
            "security": [{name: [scope] if scope else []} for name in _SECURITY_SCHEMES],
            "parameters": [*parameters, _parameter_or_reference(_REQUEST_ID)],
            "responses": dict(_responses(operation, scope, path, registry)),
        }
        if operation.body:
            content = _content(operation.body, registry, sent=True)
            _name_choices(content, f"{operation.id.title().replace('_', '')}Body", registry)
            described["requestBody"] = {"required": operation.body_required, "content": content}
        return described


def _description(operation: Operation, scope: str | None) -> str:
    needed = f"Needs a key with the scope `{scope}`." if scope else "Any key will do."
    return f"{operation.description}\n\n{needed}".strip()


_SHARED_PARAMETERS = {"limit": LIMIT, "cursor": CURSOR, "if_match": _IF_MATCH, "request_id": _REQUEST_ID}


def _parameter_or_reference(parameter: Parameter) -> dict[str, Any]:
    for name, shared in _SHARED_PARAMETERS.items():
        if parameter is shared:
            return {"$ref": f"#/components/parameters/{name}"}
    return _parameter(parameter)


def _parameter(parameter: Parameter) -> dict[str, Any]:
    described: dict[str, Any] = {
        "name": parameter.name,
        "in": parameter.place,
        "description": parameter.description,
        "schema": dict(parameter.schema),
    }
    if parameter.place == "path":
        described["required"] = True
    if parameter.example is not None:
        described["example"] = parameter.example
    return described


def _path_parameters(path: str, operation: Operation) -> Iterator[dict[str, Any]]:
    """Those of the path that the operation does not describe itself; they are ids."""
    given = {parameter.name for parameter in operation.parameters if parameter.place == "path"}
    for name in _names_in(path):
        if name not in given:
            thing = name.removesuffix("_id").replace("_", " ")
            described = parameter(name, f"Id of the {thing}.", place="path", format="uuid", example=EXAMPLE_ID)
            yield _parameter(described)


def _names_in(path: str) -> list[str]:
    return [part[1:-1] for part in path.split("/") if part.startswith("{")]


def _responses(
    operation: Operation, scope: str | None, path: str, registry: ComponentRegistry
) -> Iterator[tuple[str, Any]]:
    for status, answer in operation.answers.items():
        described: dict[str, Any] = {"description": answer.description, "headers": _headers(status)}
        if answer.content and operation.version:
            described["headers"]["ETag"] = {"$ref": "#/components/headers/ETag"}
        if answer.content:
            described["content"] = _content(answer.content, registry)
        yield str(status), described
    by_status = defaultdict(list)
    for code in _problem_codes(operation, scope, path):
        by_status[PROBLEM_TYPES[code].status].append(code)
    for status, codes in sorted(by_status.items()):
        yield str(status), _problem_response(status, codes, operation, registry)


def _problem_codes(operation: Operation, scope: str | None, path: str) -> list[str]:
    """Every code that the operation can give, in the order of the registry."""
    codes = {*_ALWAYS_PROBLEMS, *operation.problems}
    if operation.open_to_suspended:
        codes.discard("organization_suspended")
    if operation.version == "expected":
        codes.add("precondition_failed")
    if scope:
        codes.add("insufficient_scope")
    if _names_in(path):
        codes.add("not_found")
    if operation.refuses_parameters:
        codes.add("validation_failed")
    if operation.body:
        codes.update(_BODY_PROBLEMS)
    if CURSOR in operation.parameters:
        codes.add("invalid_cursor")
    return [code for code in PROBLEM_TYPES if code in codes]


def _problem_response(
    status: int, codes: list[str], operation: Operation, registry: ComponentRegistry
) -> dict[str, Any]:
    """A problem with one of `codes`; where the operation answers with this status itself, that stays possible.

    The codes are told by examples: a schema of its own for each answer is one more class in a generated client.
    """
    examples = {code: {"$ref": f"#/components/examples/{code}"} for code in codes}
    content = {MEDIA_TYPE: {"schema": _schema(ProblemDocument, registry), "examples": examples}}
    description = " ".join(f"`{code}`: {PROBLEM_TYPES[code].meaning}" for code in codes)
    own = operation.answers.get(status)
    if own is not None:
        content |= _content(own.content, registry)
        description = f"{own.description} {description}"
    return {"description": description, "headers": _headers(status), "content": content}


def _problem_example(code: str) -> dict[str, Any]:
    errors = (FieldError(pointer="/name", code="required", detail="This field is required."),)
    return problem_body(Problem(code, errors=errors if code == "validation_failed" else ()), EXAMPLE_ID)


def _headers(status: int) -> dict[str, Any]:
    names = [*_ALWAYS, *(("WWW-Authenticate",) if status == 401 else _LIMITS)]
    names += ["Retry-After"] if status in (429, 503) else []
    optional = _LIMITS if status in _MAYBE_UNKNOWN_CALLER else ()
    return {name: {"$ref": f"#/components/headers/{'Optional-' * (name in optional)}{name}"} for name in names}


def _content(contents: Mapping[str, Content], registry: ComponentRegistry, *, sent: bool = False) -> dict[str, Any]:
    """`sent`: by clients."""
    return {
        media_type: {
            "schema": _schema(content.kind, registry, sent=sent),
            "examples": {name: {"value": msgspec.to_builtins(value)} for name, value in content.examples.items()},
        }
        for media_type, content in contents.items()
    }


def _name_choices(content: dict[str, Any], name: str, registry: ComponentRegistry) -> None:
    """Make a component of a body that has several forms: oapi-codegen's type for one without a name encodes as `{}`."""
    for described in content.values():
        if "anyOf" in described["schema"]:
            component = ResolvedComponent(name, "schemas", described["schema"], object=Struct)  # type: ignore[no-untyped-call]
            registry.register(component)
            described["schema"] = component.ref


def _schema(kind: Any, registry: ComponentRegistry, *, sent: bool = False) -> dict[str, Any]:
    """The type's schema; the structs in it become components. Two structs of one name are an error."""
    if isinstance(kind, dict):
        return kind
    if isinstance(kind, tuple):
        return {"anyOf": [_schema(each, registry, sent=sent) for each in kind]}
    (schema,), components = msgspec.json.schema_components(
        (kind,), schema_hook=_schema_of_choices, ref_template="#/components/schemas/{name}"
    )
    for name, found in components.items():
        portable = _without_defaults(_portable(found)) if sent else _portable(found)
        component = ResolvedComponent(name, "schemas", portable, object=Struct)  # type: ignore[no-untyped-call]
        registry.register_on_missing(component)
        if registry[component].schema != portable:
            raise ValueError(f"two different types are named {name}")
    portable_schema: dict[str, Any] = _portable(schema)
    return portable_schema


def _without_defaults(schema: dict[str, Any]) -> dict[str, Any]:
    """A member with a default may be left out, which generators read differently: openapi-typescript takes it for one
    that is always there. So the default of what is sent is told in words.
    """
    members = {}
    for name, member in schema.get("properties", {}).items():
        members[name] = {key: value for key, value in member.items() if key != "default"}
        if member.get("default") is not None:
            words = f"Default: `{msgspec.json.encode(member['default']).decode()}`."
            members[name]["description"] = f"{member.get('description', '')} {words}".strip()
    return {**schema, "properties": members} if members else schema


def _schema_of_choices(kind: type) -> dict[str, Any]:
    """msgspec's hook: Django's enumerations, which it takes for no enumerations."""
    if issubclass(kind, Choices):
        return {"enum": list(kind.values)}
    raise NotImplementedError


def _portable(schema: Any) -> Any:
    """Python's own signs for the start and the end of a string in patterns become those of JSON Schema."""
    if isinstance(schema, list):
        return [_portable(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: value.replace(r"\A", "^").replace(r"\Z", "$") if key == "pattern" else _portable(value)
        for key, value in schema.items()
    }
