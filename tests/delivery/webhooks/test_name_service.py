"""Names of webhooks are looked up without threads: name servers that hang hold up nobody else."""

import asyncio
import socket
from typing import Any

import pytest

from delivery.webhooks import name_service
from delivery.webhooks.name_service import NameService, look_up_once


def test_a_name_of_the_hosts_file_is_found() -> None:
    addresses = asyncio.run(look_up_once("localhost", 443))
    assert ("127.0.0.1", 443) in addresses


def test_a_literal_address_is_itself() -> None:
    assert asyncio.run(look_up_once("192.0.2.7", 80)) == [("192.0.2.7", 80)]


def test_name_servers_that_hang_hold_up_no_other_name_and_end_as_an_error(
    monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    monkeypatch.setattr(name_service, "LOOK_UP_SECONDS", 1.0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        settings.WEBHOOK_NAME_SERVERS = [f"127.0.0.1:{silent.getsockname()[1]}"]
        asyncio.run(_ask_many())
        silent.setblocking(False)
        assert silent.recv(512), "it was asked"


async def _ask_many() -> None:
    service = NameService()
    hanging = [asyncio.create_task(service.look_up(f"host-{number}.example", 443)) for number in range(500)]
    await asyncio.sleep(0)
    assert await service.look_up("localhost", 443)
    assert not any(task.done() for task in hanging)
    outcomes = await asyncio.gather(*hanging, return_exceptions=True)
    assert all(isinstance(each, OSError) and not isinstance(each, TimeoutError) for each in outcomes)
    await service.close()
