"""Whatever a text names is there: commands, options, make targets, files, settings, units, requests, SQL."""

import re
import shlex
from collections.abc import Iterator
from functools import cache

import pytest
from django.core.management import CommandError, get_commands, load_command_class
from django.core.management.base import CommandParser
from django.db import DatabaseError, connection, transaction

from benchmarks.__main__ import BENCHMARKS
from benchmarks.options import read_options
from installation.local.data_dir import CHECKOUT
from rest.openapi.document import build_document
from tests.support.pages import Piece, all_pages, blocks, pieces_of_pages

# Variables that other programs read.
_FOREIGN = {"HTTPS_PROXY", "COMPOSE_FILE", "IMAGE_REGISTRY", "SSL_CERT_FILE"}
# And those of the Python client and of evp.
_FOREIGN |= {"EVP_URL", "EVP_API_KEY", "EVP_WEBHOOK_SECRET", "EVP_LISTEN_SECRET", "EVENTS_CLIENT", "WEBHOOK_SECRETS"}
_FOREIGN |= {"INSTALLED_APPS"}
_PACKAGES = sorted(path.parent.name for path in CHECKOUT.glob("*/__init__.py"))
_FOLDERS = (*_PACKAGES, "deploy", "docs", "static", "templates", ".ci", ".github")
_UNITS = {path.name for path in (CHECKOUT / "deploy/systemd").iterdir()}
_MAKEFILE = (CHECKOUT / "Makefile").read_text()
_PLACEHOLDER = re.compile(r"<[a-z][^<>]*>|…")


@cache
def pieces_of_files() -> tuple[Piece, ...]:
    return tuple(_pieces_of_files())


def _pieces_of_files() -> Iterator[Piece]:
    """Lines that name a command, in programs, messages, templates and the files of deploy/."""
    names = ("compose.yaml", "Makefile", ".ci/run", "scripts/check")
    folders = [*(name for name in _PACKAGES if name != "tests"), "deploy", "templates", ".github"]
    below = [path for name in folders for path in (CHECKOUT / name).rglob("*") if path.is_file()]
    for path in [*(CHECKOUT / name for name in names), *below]:
        if path.suffix in (".pyc", ".png", ".woff2"):
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            plain = re.sub(r"[\"']?, [\"']?" if path.suffix == ".yaml" else r"[\"'], ?[\"']", " ", line)
            for text in re.findall(r"(?:\bmanage\.py|(?:`|^)make) [a-z][^\"'`\])}]*", plain):
                yield Piece(text=text.strip("`"), place=f"{path.relative_to(CHECKOUT)}:{number}", whole=False)


def words_after(program: str, text: str) -> list[str]:
    """The words of the command line that begins with this program, up to the next operator of the shell."""
    _, found, rest = _PLACEHOLDER.sub("placeholder", text).partition(f"{program} ")
    if not found:
        return []
    lexer = shlex.shlex(rest, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words = []
    try:
        for word in lexer:
            if set(word) <= set("();<>|&"):
                break
            words.append(word)
    except ValueError:  # a quotation that goes on in the next line
        return words
    return words


def wrong_call(words: list[str], *, whole: bool) -> str:
    """What `manage.py` would object to, or nothing."""
    name, *arguments = words
    if name == "up":
        return "up takes no arguments" if arguments else ""
    if name not in get_commands():
        return f"there is no command {name}"
    parser = load_command_class(get_commands()[name], name).create_parser("manage.py", name)
    if whole:
        try:
            parser.parse_args(arguments)
        except CommandError as error:
            return str(error)
    unknown = [word for word in arguments if word.startswith("--") and not _knows(parser, word)]
    return f"{name} has no option {unknown}" if unknown else ""


def _knows(parser: CommandParser, word: str) -> bool:
    return word.partition("=")[0] in parser._option_string_actions


def test_commands_of_manage_py_exist_and_take_what_they_are_given() -> None:
    found = [
        (piece, words)
        for piece in [*pieces_of_pages(), *pieces_of_files()]
        if (words := words_after("manage.py", piece.text))
    ]
    assert len(found) > 30, "the search finds nothing any more"
    wrong = [(piece, wrong_call(words, whole=piece.whole)) for piece, words in found]
    assert [f"{piece.place}: {why}" for piece, why in wrong if why] == []


@pytest.mark.parametrize("call", ["retane", "retain --dry", "retain --dry-run now", "issue_key", "up --port 1"])
def test_a_wrong_call_is_found(call: str) -> None:
    assert wrong_call(shlex.split(call), whole=True)


def test_the_benchmarks_take_what_they_are_given() -> None:
    called = [words for piece in pieces_of_pages() if (words := words_after("python -m benchmarks", piece.text))]
    assert called
    for words in called:
        read_options(words, names=BENCHMARKS)


def test_make_has_the_targets_that_are_named() -> None:
    targets = set(re.findall(r"^([a-z-]+):", _MAKEFILE, re.MULTILINE))
    named = {
        words[0]: piece.place
        for piece in [*pieces_of_pages(), *pieces_of_files()]
        if piece.text.startswith("make ") and (words := words_after("make", piece.text))
    }
    assert {"run", "test"} <= named.keys()
    assert {name: place for name, place in named.items() if name not in targets | {"placeholder"}} == {}


def test_files_and_folders_that_are_named_exist() -> None:
    pattern = re.compile(rf"(?<![\w/.-])(?:{'|'.join(map(re.escape, _FOLDERS))})/[\w./-]*[\w/]")
    named = {
        path: piece.place
        for piece in pieces_of_pages()
        if piece.whole or re.fullmatch(r"[\w./-]+", piece.text)
        for path in pattern.findall(piece.text)
    }
    pages = {
        page: str(path.relative_to(CHECKOUT))
        for package in (*_PACKAGES, "deploy")
        for path in (CHECKOUT / package).rglob("*")
        if path.suffix in (".py", ".yaml", ".yml", ".conf", ".example")
        for page in re.findall(r"\bdocs/[\w/.-]+\.md", path.read_text())
    }
    assert len(named) > 10
    assert len(pages) > 3
    assert {path: place for path, place in {**named, **pages}.items() if not (CHECKOUT / path).exists()} == {}


def test_the_readme_tells_where_everything_lives() -> None:
    (tree,) = [block.text for block in blocks("README.md") if "ingestion/" in block.text and not block.language]
    told = re.findall(r"^(?:[\w./]+ )*[\w./]+(?=  )|^[\w./]+ [\w./]+(?= )", tree, re.MULTILINE)
    names = {name.rstrip("/") for line in told for name in line.split()}
    assert [name for name in names if not (CHECKOUT / name).exists()] == []
    assert set(_PACKAGES) - {"scripts"} <= names


def test_variables_that_are_named_are_settings() -> None:
    settings = (CHECKOUT / "docs/settings.md").read_text()
    known = set(re.findall(r"\b[A-Z][A-Z0-9_]+\b", settings)) | _FOREIGN
    known |= set(re.findall(r"\$\{(\w+)", (CHECKOUT / "compose.yaml").read_text()))
    known |= set(re.findall(r"\b([A-Z_]+) :=|\$\(([A-Z]+)\)", _MAKEFILE)[0])
    pieces = pieces_of_pages()
    # What a block of the same page sets for itself and uses.
    own = {(piece.place.partition(":")[0], name) for piece in pieces for name in re.findall(r"\$\{?(\w+)", piece.text)}
    named = {
        (piece.place, name) for piece in pieces for name in re.findall(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b", piece.text)
    }
    unknown = {(place, name) for place, name in named if name not in known}
    assert {(place, name) for place, name in unknown if (place.partition(":")[0], name) not in own} == set()
    assert len(named) > 50


def test_units_that_are_named_exist() -> None:
    for piece in pieces_of_pages():
        _, found, rest = piece.text.partition("systemctl ")
        for name in _expanded(rest) if found else ():
            unit = re.sub(r"@[\w%]+", "@", name)
            assert unit in _UNITS or f"{unit}.service" in _UNITS, f"{piece.place}: there is no unit {name}"


def _expanded(text: str) -> list[str]:
    """The names of units in a command line; `events-{web,beat}` are two."""
    names = []
    for word in re.findall(r"\bevents[-.@][\w@.,{}-]+", text):
        listed = re.fullmatch(r"(.*)\{(.*)\}(.*)", word)
        names += [f"{listed[1]}{one}{listed[3]}" for one in listed[2].split(",")] if listed else [word]
    return names


def test_requests_that_are_named_are_answered() -> None:
    """Outside of the API page, which is made from the same document."""
    operations = {
        f"{method.upper()} {re.sub(r'{[^}]*}', '{}', path)}"
        for path, methods in build_document()["paths"].items()
        for method in methods
    }
    named = {
        re.sub(r"{[^}]*}|…|<[^>]*>", "{}", request): piece.place
        for piece in pieces_of_pages()
        if not piece.place.startswith("docs/api.md")
        for request in re.findall(r"^(?:GET|POST|PUT|PATCH|DELETE) /api/\S+$", piece.text)
    }
    assert named
    assert {request: place for request, place in named.items() if request not in operations} == {}


def test_messages_that_the_quick_start_explains_are_printed() -> None:
    page = (CHECKOUT / "docs/quickstart.md").read_text()
    _, _, table = page.partition("### When it does not start")
    told = re.findall(r"^\| `([^`]+)` \|", table.partition("\n## ")[0], re.MULTILINE)
    assert len(told) > 5
    ours = [message for message in told if message != "make: command not found"]
    programs = (CHECKOUT / "scripts/install").read_text() + "".join(
        path.read_text()
        for room in ("events_platform/up", "installation/local")
        for path in (CHECKOUT / room).glob("*.py")
    )
    assert [message for message in ours if message.replace("8000", "{port}") not in programs] == []


def statements() -> list[tuple[str, str]]:
    """Every whole statement of SQL in the pages, with its place."""
    inline = [
        (piece.place, piece.text) for piece in pieces_of_pages() if re.match(r"(?:SELECT|WITH) .* FROM ", piece.text)
    ]
    fenced = [
        (f"{page}:{block.line}", statement)
        for page in all_pages()
        for block in blocks(page)
        if block.language == "sql"
        for statement in re.sub(r"--.*", "", block.text).split(";")
        if statement.strip()
    ]
    return [(place, sql) for place, sql in inline + fenced if not _PLACEHOLDER.search(sql)]


@pytest.mark.django_db
def test_sql_of_the_pages_fits_the_schema() -> None:
    """Queries are planned; of everything else the syntax is checked, by a block that returns before it."""
    found = statements()
    assert found
    for place, sql in found:
        query = re.match(r"\s*(?:SELECT|WITH|INSERT|UPDATE|DELETE)\b", sql, re.IGNORECASE)
        check = f"EXPLAIN {sql}" if query else f"DO $check$ BEGIN RETURN; {sql}; END $check$"
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(check.replace("%", "%%"))
        except DatabaseError as error:
            raise AssertionError(f"{place}: {error}") from error
