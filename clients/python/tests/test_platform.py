"""Against a started platform: what is sent is there, word by word, and comes as often as it should."""

import uuid

import pytest

from events_client import Client, ProblemError, Raw


def test_what_was_sent_is_found(platform: Client) -> None:
    key = uuid.uuid4().hex
    text = b'{"b":1.10,"a":[1e2,"\xc3\xa9"]}'
    sent = platform.events.send("client.test", Raw(text), subject=key, idempotency_key=key)
    again = platform.events.send("client.test", Raw(text), subject=key, idempotency_key=key)
    assert (again.id, again.duplicate) == (sent.id, True)
    (found,) = platform.events.list(subject=key, type="client.*")
    assert (found.id, found.data) == (sent.id, {"b": 1.1, "a": [100.0, "é"]})
    assert platform.events.get(sent.id).idempotency_key == key


def test_another_event_with_the_same_key_is_refused(platform: Client) -> None:
    key = uuid.uuid4().hex
    platform.events.send("client.test", 1, idempotency_key=key)
    with pytest.raises(ProblemError) as raised:
        platform.events.send("client.test", 2, idempotency_key=key)
    assert (raised.value.status, raised.value.code) == (409, "idempotency_key_reused")


def test_all_pages_of_a_list(platform: Client) -> None:
    subject = uuid.uuid4().hex
    with platform.events.buffer() as buffer:
        for number in range(25):
            buffer.send("client.page", number, subject=subject)
    found = [event.data for event in platform.events.list(subject=subject, page_size=10)]
    assert found == [*reversed(range(25))]


def test_a_webhook_from_its_begin_to_its_end(platform: Client) -> None:
    made = platform.subscriptions.create_webhook("http://127.0.0.1:9/", event_types=["client.none"], name="first")
    assert (made.secret or "").startswith("whsec_")
    assert platform.subscriptions.secret(made.id).secret == made.secret
    assert platform.subscriptions.update(made.id, name="second").name == "second"
    assert platform.subscriptions.pause(made.id).status == "paused"
    assert platform.subscriptions.resume(made.id).status == "active"
    assert platform.subscriptions.rotate_secret(made.id).secret != made.secret
    assert not platform.subscriptions.test(made.id).delivered
    assert platform.subscriptions.retry_dead_letters(made.id, dry_run=True).total == 0
    assert made.id in [each.id for each in platform.subscriptions.list(kind="webhook")]
    platform.subscriptions.delete(made.id)
    with pytest.raises(ProblemError, match="not_found"):
        platform.subscriptions.get(made.id)
