"""Whole systems, from the web server to the sending of webhooks, as their makers would start them."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from benchmarks.lab import Lab
from benchmarks.servers import WebServer, pid_of
from benchmarks.targets import Target
from benchmarks.workers import (
    TEXTBOOK_DELIVERIES,
    TEXTBOOK_EVENTS,
    our_beat,
    our_sender,
    our_worker,
    textbook_worker,
)

# As `make run` has it.
_WORKER_PROCESSES = 2


@dataclass(frozen=True, kw_only=True)
class Platform:
    """The running programs of ours; `pids` by their names."""

    server: WebServer
    pids: Mapping[str, int]


@contextmanager
def platform_without_sender(lab: Lab, target: Target) -> Iterator[Platform]:
    """Web server, worker and beat of ours, on empty tables."""
    target.empty()
    with ExitStack() as stack:
        server = stack.enter_context(target.served())
        worker = stack.enter_context(our_worker(lab, target, processes=_WORKER_PROCESSES))
        beat = stack.enter_context(our_beat(lab, target))
        yield Platform(server=server, pids={"web": server.pid, "worker": pid_of(worker), "beat": pid_of(beat)})


@contextmanager
def whole_platform(lab: Lab, target: Target) -> Iterator[Platform]:
    """All programs of `make run`."""
    with platform_without_sender(lab, target) as platform, our_sender(lab, target) as sender:
        yield replace(platform, pids={**platform.pids, "sender": pid_of(sender)})


@contextmanager
def whole_textbook(lab: Lab, target: Target) -> Iterator[WebServer]:
    """Web server and one worker for each queue, on empty tables."""
    target.empty()
    with ExitStack() as stack:
        server = stack.enter_context(target.served())
        for queue in (TEXTBOOK_EVENTS, TEXTBOOK_DELIVERIES):
            stack.enter_context(textbook_worker(lab, target, queue=queue))
        yield server
