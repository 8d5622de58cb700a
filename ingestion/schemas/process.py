"""The process that compiles schemas and checks events, apart from the web server: `python -m
ingestion.schemas.process 5`.

A validation cannot be interrupted, and holds Python's lock while it runs. So it runs here, with a bound of memory and,
kept by the system, of CPU time for each step: a process that goes beyond one ends, and the web server starts another
one when it needs it. Its standard input is the socket to the web server; it ends with it.
"""

import os
import resource
import signal
import socket
import sys
import time
from collections import OrderedDict
from contextlib import suppress

from ingestion.schemas.compiling import CompiledSchema, compile_schema
from ingestion.schemas.messages import Question, Reply, receive, send
from ingestion.schemas.parts import SchemaError

# Of CPU time. The bound of an event's cost is meant to hold before: this holds when it was wrong.
EVENT_SECONDS = 0.25
COMPILE_SECONDS = 0.5
# After this the rest of a question is left for another one, and others have their turn. An ordinary one takes 3 ms.
QUESTION_SECONDS = 0.02
MEMORY_BYTES = 256 << 20
# Of compiled schemas: those of one organization, and all of them. Those that were used last are kept.
ORGANIZATION_BYTES = 8 << 20
ALL_BYTES = 32 << 20

Compiled = CompiledSchema | SchemaError


class CompiledSchemas:
    """The schemas of this process by organization and text, within bounds of bytes."""

    def __init__(self, *, each: int = ORGANIZATION_BYTES, together: int = ALL_BYTES) -> None:
        self._each, self._together = each, together
        self._found: OrderedDict[tuple[str, str, bool], tuple[Compiled, int]] = OrderedDict()
        self._bytes: dict[str, int] = {}

    def of(self, organization: str, text: str, *, asserts_format: bool = False) -> Compiled:
        """The schema, compiled now unless it is here already."""
        key = organization, text, asserts_format
        if known := self._found.get(key):
            self._found.move_to_end(key)
            return known[0]
        with _at_most(COMPILE_SECONDS):
            made, size = _compile(text, asserts_format=asserts_format)
        self._found[key] = made, size
        self._bytes[organization] = self._bytes.get(organization, 0) + size
        self._make_room(organization)
        return made

    @property
    def bytes(self) -> int:
        return sum(self._bytes.values())

    def _make_room(self, organization: str) -> None:
        """The newest one stays, whatever its size."""
        while self._bytes[organization] > self._each and self._drop(organization):
            pass
        while self.bytes > self._together and self._drop(None):
            pass

    def _drop(self, organization: str | None) -> bool:
        """The one that was used longest ago, of this organization or of any; whether there was one to drop."""
        newest = next(reversed(self._found))
        for key in self._found:
            if key != newest and organization in (None, key[0]):
                _, size = self._found.pop(key)
                self._bytes[key[0]] -= size
                if not self._bytes[key[0]]:
                    del self._bytes[key[0]]
                return True
        return False


def answer(question: Question, compiled: CompiledSchemas) -> Reply:
    """Check the first events, of which those of a schema that cannot be used pass; or the schemas, without any event.

    At least one event is checked.
    """
    started = time.process_time()
    if not question.events:
        refusals = [_refusal(_to_be_saved(text)) for text in question.schemas]
        return Reply([], refusals, time.process_time() - started)
    used: dict[int, Compiled] = {}
    findings = []
    for number, data in question.events:
        if number not in used:
            text, asserts = question.schemas[number], number in question.asserting
            used[number] = compiled.of(question.organization, text, asserts_format=asserts)
        schema = used[number]
        with _at_most(EVENT_SECONDS):
            findings.append(schema.errors(data) if isinstance(schema, CompiledSchema) else ())
        if time.process_time() - started > QUESTION_SECONDS:
            break
    refusals = [_refusal(schema) for schema in used.values()]
    return Reply(findings, refusals, time.process_time() - started)


def _to_be_saved(text: str) -> Compiled:
    try:
        with _at_most(COMPILE_SECONDS):
            return compile_schema(text, to_be_saved=True)
    except SchemaError as error:
        return error


def _refusal(schema: Compiled) -> tuple[str, str] | None:
    return (schema.code, str(schema)) if isinstance(schema, SchemaError) else None


def _compile(text: str, *, asserts_format: bool) -> tuple[Compiled, int]:
    """The schema and the bytes that it takes; an error is kept too, or it would be looked for again with each event."""
    try:
        made = compile_schema(text, asserts_format=asserts_format)
    except SchemaError as error:
        return SchemaError(error.code, str(error)), len(text)
    return made, made.size


class _at_most:  # noqa: N801 - it reads as a statement
    """Ends the process when what is inside takes more CPU time, by a signal of the system that nothing holds up."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __enter__(self) -> None:
        signal.setitimer(signal.ITIMER_PROF, self._seconds)

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)


def main() -> None:
    """Answer questions until the web server is gone. The argument: how far to stand behind other programs."""
    # Ctrl-C reaches the whole group of processes; the web server may need this one until it has finished.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    with suppress(ValueError, OSError):  # where the system has no such limit
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    os.nice(int(sys.argv[1]))
    # Ending by a signal or for want of memory is foreseen: it leaves no dump on the disk.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    compiled = CompiledSchemas()
    with socket.socket(fileno=os.dup(0)) as connection, suppress(EOFError, ConnectionError):
        while True:
            send(connection, answer(receive(connection, Question), compiled))


if __name__ == "__main__":
    main()
