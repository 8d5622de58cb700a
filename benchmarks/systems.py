"""Whole systems, from the web server to the sending of webhooks, as their makers would start them."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from benchmarks.lab import Lab
from benchmarks.servers import WebServer
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


@contextmanager
def platform_without_sender(lab: Lab, target: Target) -> Iterator[WebServer]:
    """Web server, worker and beat of ours, on empty tables."""
    target.empty()
    with ExitStack() as stack:
        server = stack.enter_context(target.served())
        stack.enter_context(our_worker(lab, target, processes=_WORKER_PROCESSES))
        stack.enter_context(our_beat(lab, target))
        yield server


@contextmanager
def whole_platform(lab: Lab, target: Target) -> Iterator[WebServer]:
    """All programs of `make run`."""
    with platform_without_sender(lab, target) as server, our_sender(lab, target):
        yield server


@contextmanager
def whole_textbook(lab: Lab, target: Target) -> Iterator[WebServer]:
    """Web server and one worker for each queue, on empty tables."""
    target.empty()
    with ExitStack() as stack:
        server = stack.enter_context(target.served())
        for queue in (TEXTBOOK_EVENTS, TEXTBOOK_DELIVERIES):
            stack.enter_context(textbook_worker(lab, target, queue=queue))
        yield server
