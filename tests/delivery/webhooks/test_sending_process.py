"""The sender's event loop in its process: what wakes it, and how it ends."""

import os
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

import pytest

from delivery.models import Delivery
from delivery.tasks import send_due
from delivery.webhooks.sending_process import SendingProcess
from installation.local.data_dir import CHECKOUT
from tests.factories import make_organization
from tests.support.events.delivering import SECRET, accept, webhook
from tests.support.http.receiver import Receiver, receiving
from tests.support.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

_STUCK = """
import time, django
django.setup()
from delivery.webhooks import sending_process as module
module.STUCK_SECONDS = 0.5
process = module.SendingProcess()
process.wake([])
process._serving._loop.call_soon_threadsafe(time.sleep, 60)
process.wake([])
print("still alive")
"""


@pytest.fixture
def receiver(settings: Any) -> Iterator[Receiver]:
    settings.WEBHOOK_ALLOW_HTTP = True
    settings.WEBHOOK_ALLOWED_NETWORKS = [ip_network("127.0.0.1/32")]
    with receiving(SECRET) as running:
        yield running


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Iterator[SendingProcess]:
    made = SendingProcess()
    monkeypatch.setattr("delivery.tasks.sending_process", made)
    yield made
    made.stop()


def test_a_task_that_names_what_is_due_has_it_sent_and_so_does_one_that_names_nothing(
    receiver: Receiver, process: SendingProcess
) -> None:
    organization = make_organization()
    subscription = webhook(organization, f"{receiver.url}/ok")
    accept(organization)
    send_due(due=[(str(organization.pk), str(subscription.pk))])
    receiver.wait_for(1)
    accept(organization)
    send_due()
    receiver.wait_for(2)
    done = Delivery.objects.filter(subscription=subscription, status="delivered")
    wait_until(lambda: done.count() == 2)


def test_the_end_of_the_process_waits_for_what_is_in_flight(receiver: Receiver, process: SendingProcess) -> None:
    organization = make_organization()
    subscription = webhook(organization, f"{receiver.url}/slow/0.5")
    accept(organization)
    send_due()
    receiver.wait_for(1)
    process.stop()
    assert Delivery.objects.get(subscription=subscription).status == "delivered"


def test_a_process_whose_loop_does_not_answer_ends() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _STUCK], cwd=CHECKOUT, env=dict(os.environ), capture_output=True, text=True, check=False
    )
    assert done.returncode == os.EX_SOFTWARE
    assert "still alive" not in done.stdout
    assert "made no progress" in done.stdout + done.stderr
