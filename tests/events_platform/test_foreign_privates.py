"""Private names of foreign packages: they may change with any version, so few modules lean on them."""

import ast
from collections.abc import Iterator

from installation.local.data_dir import CHECKOUT
from tests.support.rooms import ROOMS

# Private by their form alone: Django, namedtuple and os document them.
_DOCUMENTED = {"_meta", "_default_manager", "_asdict", "_replace", "_exit"}
# Modules whose whole subject is how a foreign class behaves, in a class derived from it (or, of metrics, beside it).
# requirements.in bounds the version of each package but those of Python itself.
_DERIVED = {
    "accounts/forms.py": "allauth",
    "accounts/sessions.py": "django",
    "core/broker/redis_transport.py": "kombu",
    "core/environment.py": "environs",
    "core/metrics.py": "prometheus_client",
    "core/postgresql/base.py": "django",
    "delivery/egress/proxy.py": "aiohttp",
    "delivery/webhooks/answers.py": "ssl",
    "observability/metrics/files.py": "prometheus_client",
}


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__") and name != "_" and name not in _DOCUMENTED


def own_names(tree: ast.AST) -> Iterator[str]:
    """What a module defines: functions, classes, variables, arguments, and attributes that it sets on `self`."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name) | ast.keyword(arg=str(name)):
                yield name
            case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name, ctx=ast.Store()):
                yield name


def foreign_privates(tree: ast.AST, own: set[str]) -> Iterator[str]:
    """Names that are imported from a foreign package, taken of a foreign base class, or defined by no room."""
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom(module=str(module), level=0) if module.split(".")[0] not in ROOMS:
                yield from filter(is_private, [*module.split("."), *(alias.name for alias in node.names)])
            case ast.Import():
                yield from (part for alias in node.names for part in alias.name.split(".") if is_private(part))
            case ast.Attribute(value=ast.Call(func=ast.Name(id="super")), attr=name) if is_private(name):
                yield name
            case ast.Attribute(attr=name) if is_private(name) and name not in own:
                yield name
            case ast.Call(func=ast.Name(id="getattr" | "setattr" | "hasattr"), args=[_, ast.Constant(str(name)), *_]):
                if is_private(name) and name not in own:
                    yield name


def test_private_names_of_others_stand_where_they_are_known() -> None:
    trees = {path: ast.parse(path.read_text()) for room in ROOMS for path in (CHECKOUT / room).rglob("*.py")}
    own = {name for tree in trees.values() for name in own_names(tree)}
    leaning = {
        str(path.relative_to(CHECKOUT)): found
        for path, tree in trees.items()
        if path.name != "compat.py" and (found := {*foreign_privates(tree, own)})
    }
    assert {path: found for path, found in leaning.items() if path not in _DERIVED} == {}
    # What core.metrics takes of a histogram has names that classes of ours have, too.
    assert _DERIVED.keys() - leaning.keys() <= {"core/metrics.py"}


def test_what_is_private_is_found() -> None:
    code = """
from package._inner import one
from package import _other
class Derived(Base):
    def method(self):
        self._mine = super()._theirs() or thing._private or getattr(thing, "_hidden")
        return self._mine, thing._meta
"""
    tree = ast.parse(code)
    assert {*foreign_privates(tree, {*own_names(tree)})} == {"_inner", "_other", "_theirs", "_private", "_hidden"}
