"""Write docs/api.md, the API reference for people, from the OpenAPI document that the platform serves.

`python -m scripts.write_api_page` writes it; a test fails when the page is not what this makes.
"""

import re
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from scripts.openapi_document import load

PAGE = Path(__file__).parent.parent / "docs/api.md"
_OF_EVERY_OPERATION = frozenset({"400", "401", "403", "500", "503"})
_COLUMNS = 118
_METHODS = ("get", "post", "patch", "put", "delete")
_HEAD = """\
# API

<!-- Made by scripts/write_api_page.py from the OpenAPI document: do not edit. -->

Every path is below the platform's own address. A running platform has the same as an OpenAPI 3.1 document at
`/api/schema`, with every schema and example, and a page to try it at `/api/docs`.

Authenticate with `Authorization: Bearer <key>` or `X-API-Key: <key>`. The codes of errors are explained in
[errors](errors.md). Each answer has the header `Request-Id`, and most have `RateLimit-Policy` and `RateLimit`. Lists
take `limit` and `cursor`, and answer `{"data": […], "next_cursor": …}`; give `next_cursor` as `cursor` to get the next
page. Any operation may answer 400 to a request that is not valid HTTP, 401 or 403 to a key that may not do this, and
500 or 503 when the platform cannot; the tables leave these out.
"""


def render(document: Mapping[str, Any]) -> str:
    """The page of an OpenAPI 3.1 document: a section for each tag, a part for each operation."""
    sections: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method in _METHODS:
            if method in operations:
                operation = operations[method]
                lines = [*_operation(document, method, path, operation)]
                sections.setdefault(operation["tags"][0], []).extend(lines)
    parts = [_HEAD.rstrip("\n")]
    for tag, lines in sections.items():
        title = tag.replace("-", " ")
        parts.append(f"\n\n## {title[0].upper()}{title[1:]}\n".replace("Api keys", "API keys") + "\n".join(lines))
    return "".join(parts).rstrip("\n") + "\n"


def _operation(document: Mapping[str, Any], method: str, path: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield f"\n### {operation['summary']}\n\n`{method.upper()} {path}`\n"
    if operation.get("description"):
        yield "\n".join(_wrapped(operation["description"])) + "\n"
    parameters = [_resolve(document, parameter) for parameter in operation.get("parameters", [])]
    shown = [one for one in parameters if one["name"].lower() not in ("limit", "cursor", "request-id")]
    if shown:
        yield "| parameter | in | meaning |\n|---|---|---|"
        yield from (f"| `{one['name']}` | {one['in']} | {_cell(one.get('description', ''))} |" for one in shown)
        yield ""
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        fields = _resolve(document, content.get("schema", {})).get("properties", {})
        if media_type == "application/json" and fields:
            required = _resolve(document, content["schema"]).get("required", [])
            yield "| field | type | meaning |\n|---|---|---|"
            yield from (_field(document, name, schema, required=name in required) for name, schema in fields.items())
            yield ""
    if types := list(operation.get("requestBody", {}).get("content", {})):
        yield "Body: " + ", ".join(f"`{one}`" for one in types) + ".\n"
    yield "| status | meaning |\n|---|---|"
    for status, answer in sorted(operation["responses"].items()):
        if status in _OF_EVERY_OPERATION:
            continue
        resolved = _resolve(document, answer)
        codes = re.findall(r"`(\w+)`: ", resolved["description"]) if int(status) >= 400 else []
        meaning = ", ".join(f"`{code}`" for code in codes) or _cell(resolved["description"])
        yield f"| {status} | {meaning} |"


def _field(document: Mapping[str, Any], name: str, schema: Mapping[str, Any], *, required: bool) -> str:
    meaning = _cell(schema.get("description") or _resolve(document, schema).get("description", ""))
    return f"| `{name}`{' (required)' if required else ''} | {_kind(document, schema)} | {meaning} |"


def _kind(document: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    schema = _resolve(document, schema)
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_kind(document, one) for one in schema["anyOf"]))
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"array of {_kind(document, schema.get('items', {}))}"
    kind = schema.get("type", "any")
    return " or ".join(kind) if isinstance(kind, list) else str(kind)


def _resolve(document: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = schema.get("$ref")
    if not reference:
        return schema
    found: Any = document
    for name in reference.removeprefix("#/").split("/"):
        found = found[name]
    return _resolve(document, found)


def _wrapped(text: str) -> Iterator[str]:
    """Lines of at most _COLUMNS, paragraphs kept apart."""
    for number, paragraph in enumerate(text.split("\n\n")):
        if number:
            yield ""
        yield from textwrap.wrap(paragraph, _COLUMNS, break_long_words=False, break_on_hyphens=False)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def main() -> None:
    PAGE.write_text(render(load()))


if __name__ == "__main__":
    main()
