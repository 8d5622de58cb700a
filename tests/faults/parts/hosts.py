"""Hosts as network namespaces, and links between them that can be cut: what is sent then vanishes, as in real life.

A closed socket says goodbye (FIN, RST), and so does a killed process. A host that loses its network says nothing.
"""

import ctypes
import itertools
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

Made = TypeVar("Made")
_CLONE_NEWNET = 0x40000000
_numbers = itertools.count(1)


class Host:
    """A network namespace with a loopback of its own, named after this process."""

    def __init__(self) -> None:
        self.name = f"faults-{os.getpid()}-{next(_numbers)}"
        self.device = ""
        _ip("netns", "add", self.name)
        self.ip("link", "set", "lo", "up")

    @property
    def prefix(self) -> tuple[str, ...]:
        """What a command begins with to run on this host."""
        return ("ip", "netns", "exec", self.name)

    def ip(self, *words: str) -> None:
        _ip("-n", self.name, *words)

    def listener(self, address: str) -> socket.socket:
        """A listening socket on this host, which this process serves."""
        return self._inside(lambda: socket.create_server((address, 0)))

    def _inside(self, make: Callable[[], Made]) -> Made:
        """Done by a thread, for only the thread changes over; what it makes stays on the host."""
        made: list[Made] = []

        def enter() -> None:
            with Path("/run/netns", self.name).open() as namespace:
                if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), _CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), f"no way into {self.name}")
            made.append(make())

        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
        return made[0]

    @contextmanager
    def cut_off(self) -> Iterator[None]:
        """Its link is dead until the block ends."""
        self.ip("link", "set", self.device, "down")
        try:
            yield
        finally:
            self.ip("link", "set", self.device, "up")

    def forget_peers(self, ports: Sequence[int]) -> None:
        """Nothing reaches the clients that came from these ports any more, no FIN and no RST either."""
        for port in set(ports):
            self.ip("rule", "add", "ipproto", "tcp", "dport", str(port), "blackhole")

    def remove(self) -> None:
        _ip("netns", "del", self.name)


def linked_hosts(stack: ExitStack) -> tuple[Host, Host, str, str]:
    """Two hosts with a link between them, and their addresses on it; skips the test where none can be made."""
    _skip_without()
    first, second = Host(), Host()
    stack.callback(first.remove)
    stack.callback(second.remove)
    addresses = _link(first, second)
    return first, second, *addresses


def host_beside(stack: ExitStack) -> tuple[Host, str]:
    """A host with a link to this machine, and its address on it; skips the test where none can be made."""
    _skip_without()
    host = Host()
    stack.callback(host.remove)
    return host, _link(host, None)[0]


def _link(first: Host, second: Host | None) -> tuple[str, str]:
    """Wire the two together, in a network of their own; None is this machine."""
    number = next(_numbers)
    network = f"10.213.{os.getpid() % 250}.{number % 60 * 4}"
    addresses = tuple(f"{network.rpartition('.')[0]}.{number % 60 * 4 + end}" for end in (1, 2))
    devices = (f"ev{os.getpid()}a{number}", f"ev{os.getpid()}b{number}")
    _ip("link", "add", devices[0], "type", "veth", "peer", "name", devices[1])
    for host, device, address in zip((first, second), devices, addresses, strict=True):
        if host is None:
            _ip("addr", "add", f"{address}/30", "dev", device)
            _ip("link", "set", device, "up")
        else:
            host.device = device
            _ip("link", "set", device, "netns", host.name)
            host.ip("addr", "add", f"{address}/30", "dev", device)
            host.ip("link", "set", device, "up")
    return addresses[0], addresses[1]


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise OSError(f"ip {' '.join(words)}: {done.stderr.strip()}")


def _skip_without() -> None:
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("hosts of their own need root and iproute2")
    try:
        Host().remove()
    except OSError as error:
        pytest.skip(f"no network namespace can be made here: {error}")
