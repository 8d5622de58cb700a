"""The inbox: events are leased, then acknowledged, given back, or come back by themselves."""

import json
import re
import threading
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from uuid_utils.compat import uuid7

from delivery.delivery_ids import delivery_id
from delivery.models import Delivery, DeliveryStatus, Replay, Subscription, SubscriptionKind, SubscriptionStatus
from delivery.operations import Lease, ack_events, extend_lease, find_inbox, lease_events, nack_events
from ingestion.models import Event
from ingestion.operations import process_outbox
from organizations.keys.scopes import Scope
from rest import large_answers
from tests.conftest import Tenant, make_tenant
from tests.factories import inbox_of as awake_inbox_of

HALF_A_MINUTE = timedelta(seconds=30)
AN_HOUR = timedelta(hours=1)


@pytest.fixture
def tenant(tenant: Tenant) -> Tenant:
    """Its inbox `default` is awake; test_sleeping_inboxes.py has those that are not."""
    awake_inbox_of(tenant.organization)
    return tenant


def send(tenant: Tenant, count: int, *, event_type: str = "invoice.paid", data: Any = 1) -> list[str]:
    """The ids of new events, in the order of the inbox: each is received some milliseconds after the one before."""
    event = {"type": event_type, "data": data}
    ids = [tenant.post("/api/v1/events", event).json()["id"] for _ in range(count)]
    process_outbox()
    return ids


def sent(tenant: Tenant, count: int, **values: Any) -> tuple[Subscription, list[UUID]]:
    """The inbox `default`, and the ids of the new events in it, in its order."""
    ids = send(tenant, count, **values)
    return inbox_of(tenant), [UUID(event_id) for event_id in ids]


def inbox_of(tenant: Tenant, name: str = "default") -> Subscription:
    inbox = find_inbox(organization_id=tenant.organization.pk, name=name)
    assert inbox
    return inbox


def lease(inbox: Subscription, *, now: datetime | None = None, limit: int = 100) -> Lease:
    taken = lease_events(inbox=inbox, limit=limit, duration=HALF_A_MINUTE, now=now or timezone.now())
    assert taken
    return taken


def ids_of(taken: Lease) -> list[UUID]:
    return [delivery.event_id for delivery in taken.deliveries]


def ids_in(answer: Any) -> list[str]:
    return [event["id"] for event in answer.json()["events"]]


def make_inbox(tenant: Tenant, name: str, event_types: Sequence[str] = ("*",), **values: Any) -> Subscription:
    return Subscription.objects.create(
        organization=tenant.organization,
        kind=SubscriptionKind.INBOX,
        name=name,
        event_types=list(event_types),
        **values,
    )


def test_it_works(tenant: Tenant) -> None:
    ids = send(tenant, 3)
    answer = tenant.post("/api/v1/inbox/lease", {"max": 2, "lease_seconds": 60})
    assert answer.status_code == 200
    leased = answer.json()
    assert [event["id"] for event in leased["events"]] == ids[:2]
    first = leased["events"][0]
    assert (first["type"], first["data"], first["status"], first["leases"]) == ("invoice.paid", 1, "pending", 1)
    assert first["leased_until"] == leased["expires_at"]
    body = {"event_ids": ids[:2], "lease_id": leased["lease_id"]}
    acked = tenant.post("/api/v1/inbox/ack", body)
    assert acked.json() == {"acknowledged": ids[:2], "already_acknowledged": [], "stale": [], "unknown": []}
    again = tenant.post("/api/v1/inbox/ack", body)
    assert again.json() == {"acknowledged": [], "already_acknowledged": ids[:2], "stale": [], "unknown": []}
    assert ids_in(tenant.post("/api/v1/inbox/lease", {})) == ids[2:]


# --- Leasing -----------------------------------------------------------------------------------------------------


def test_an_empty_inbox_gives_an_empty_lease(tenant: Tenant) -> None:
    for body in ({"max": 10}, None, b""):
        answer = tenant.post("/api/v1/inbox/lease", body)
        assert (answer.status_code, answer.json()) == (200, {"lease_id": None, "expires_at": None, "events": []})


def test_a_leased_event_is_listed_and_not_leased_again(tenant: Tenant) -> None:
    ids = send(tenant, 2)
    leased = tenant.post("/api/v1/inbox/lease", {"max": 1}).json()
    listed = tenant.get("/api/v1/inbox").json()["data"]
    assert [(event["id"], event["leases"], event["leased_until"]) for event in listed] == [
        (ids[1], 0, None),
        (ids[0], 1, leased["expires_at"]),
    ]
    assert ids_in(tenant.post("/api/v1/inbox/lease", {})) == ids[1:]
    assert ids_in(tenant.post("/api/v1/inbox/lease", {})) == []


def test_the_longest_waiting_come_first(tenant: Tenant) -> None:
    inbox, ids = sent(tenant, 5)
    later = sent(tenant, 5)[1]
    assert ids_of(lease(inbox, limit=7)) == [*ids, *later[:2]]
    assert ids_of(lease(inbox)) == later[2:]


def test_an_expired_lease_gives_its_events_back_by_itself(tenant: Tenant) -> None:
    inbox, ids = sent(tenant, 2)
    now = timezone.now()
    first = lease(inbox, now=now)
    assert lease_events(inbox=inbox, limit=100, duration=HALF_A_MINUTE, now=first.expires_at - AN_HOUR) is None
    just_before = first.expires_at - timedelta(microseconds=1)
    assert lease_events(inbox=inbox, limit=100, duration=HALF_A_MINUTE, now=just_before) is None
    second = lease(inbox, now=first.expires_at)
    assert ids_of(second) == ids
    assert [delivery.attempts for delivery in second.deliveries] == [2, 2]


def test_a_lease_holds_no_more_data_than_an_answer_can(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_answers, "MAX_BYTES", 1000)
    ids = [*send(tenant, 1, data="x" * 2000), *send(tenant, 3, data="x" * 400)]
    assert [ids_in(tenant.post("/api/v1/inbox/lease", {})) for _ in range(4)] == [ids[:1], ids[1:3], ids[3:], []]
    assert set(Delivery.objects.values_list("attempts", flat=True)) == {1}


def test_an_event_that_is_not_kept_any_more_is_a_dead_letter(tenant: Tenant) -> None:
    ids = send(tenant, 2)
    Event.objects.filter(pk=ids[0]).delete()
    assert ids_in(tenant.post("/api/v1/inbox/lease", {"max": 1})) == ids[1:]
    gone = Delivery.objects.get(event_id=ids[0])
    assert (gone.status, gone.last_error, gone.next_attempt_at) == (DeliveryStatus.DEAD_LETTER, "event_gone", None)
    assert tenant.get("/api/v1/inbox?status=dead_letter").json()["data"] == []


def test_a_lease_reads_the_due_ones_from_the_index(tenant: Tenant) -> None:
    """Also when the tables have no statistics: a backlog of a million must not be sorted."""
    with connection.cursor() as cursor:
        # What other tests analyzed keeps its size, even when they are rolled back.
        tables = "SELECT relid::regclass::text AS name FROM pg_partition_tree('delivery_delivery')"
        cursor.execute(f"SELECT pg_clear_relation_stats('public', name) FROM ({tables}) AS partitions")
    inbox, _ = sent(tenant, 3)
    with CaptureQueriesContext(connection) as queries:
        lease(inbox)
    claim = next(query["sql"] for query in queries if "SKIP LOCKED" in query["sql"])
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {claim}")
        plan = "\n".join(line for (line,) in cursor.fetchall())
    taking, updating = plan.split("->  Nested Loop")
    assert "Merge Append" in taking
    assert re.findall(r"->  (Sort|Incremental Sort|Seq Scan|Bitmap Heap Scan)", taking) == []
    assert "_pkey on delivery_delivery_" in updating


@pytest.mark.django_db(transaction=True)
def test_two_consumers_never_hold_one_event() -> None:
    tenant = make_tenant()
    inbox, ids = sent(tenant, 90)
    held: list[list[UUID]] = []
    start = threading.Barrier(4)

    def consume() -> None:
        try:
            start.wait()
            while taken := lease_events(inbox=inbox, limit=2, duration=AN_HOUR, now=timezone.now()):
                held.append(ids_of(taken))
        finally:
            connection.close()

    consumers = [threading.Thread(target=consume) for _ in range(4)]
    for consumer in consumers:
        consumer.start()
    for consumer in consumers:
        consumer.join()
    assert sorted(event_id for some in held for event_id in some) == sorted(ids)


# --- Acknowledging, giving back, extending: what of which state -----------------------------------------------------

# Each state of the event that is asked about: A held it first, and B is the lease of another consumer. `None` is an
# ack or a nack without a lease.
NEVER, HELD, EXPIRED, TAKEN_OVER, RETURNED, ACKED, DEAD = (
    "never leased", "held by A", "A expired", "held by B after A", "returned by A", "acknowledged by A", "dead letter",
)  # fmt: skip


def in_state(tenant: Tenant, state: str) -> tuple[Subscription, UUID, UUID, UUID, datetime]:
    """The inbox, the event, the leases A and B, and the time."""
    inbox, (event_id,) = sent(tenant, 1)
    now = timezone.now()
    if state == NEVER:
        return inbox, event_id, uuid7(), uuid7(), now
    a, b = lease(inbox, now=now), uuid7()
    if state in {EXPIRED, TAKEN_OVER}:
        now = a.expires_at
    if state == TAKEN_OVER:
        b = lease(inbox, now=now).id
    if state == RETURNED:
        nack_events(inbox=inbox, event_ids=[event_id], lease_id=a.id, now=now)
    if state == ACKED:
        ack_events(inbox=inbox, event_ids=[event_id], lease_id=a.id, now=now)
    if state == DEAD:
        inbox.max_leases, now = 1, a.expires_at
        assert lease_events(inbox=inbox, limit=1, duration=HALF_A_MINUTE, now=now) is None
    return inbox, event_id, a.id, b, now


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (NEVER, {"a": "stale", "b": "stale", "nobody": "done"}),
        (HELD, {"a": "done", "b": "stale", "nobody": "done"}),
        (EXPIRED, {"a": "stale", "b": "stale", "nobody": "done"}),
        (TAKEN_OVER, {"a": "stale", "b": "done", "nobody": "done"}),
        (RETURNED, {"a": "stale", "b": "stale", "nobody": "done"}),
        (ACKED, {"a": "already_acknowledged", "b": "already_acknowledged", "nobody": "already_acknowledged"}),
        (DEAD, {"a": "stale", "b": "stale", "nobody": "done"}),
    ],
)
@pytest.mark.parametrize("who", ["a", "b", "nobody"])
def test_an_ack_counts_for_the_holder(tenant: Tenant, state: str, expected: dict[str, str], who: str) -> None:
    inbox, event_id, a, b, now = in_state(tenant, state)
    before = Delivery.objects.values().get()
    outcome = ack_events(inbox=inbox, event_ids=[event_id], lease_id={"a": a, "b": b, "nobody": None}[who], now=now)
    assert {name: ids for name, ids in vars(outcome).items() if ids} == {expected[who]: [event_id]}
    after = Delivery.objects.get()
    if expected[who] == "done":
        assert (after.status, after.delivered_at) == (DeliveryStatus.DELIVERED, now)
        assert (after.next_attempt_at, after.lease_id) == (None, None)
    else:
        assert Delivery.objects.values().get() == before


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (NEVER, {"a": "stale", "b": "stale", "nobody": "done"}),
        (HELD, {"a": "done", "b": "stale", "nobody": "done"}),
        (EXPIRED, {"a": "stale", "b": "stale", "nobody": "done"}),
        (TAKEN_OVER, {"a": "stale", "b": "done", "nobody": "done"}),
        (RETURNED, {"a": "stale", "b": "stale", "nobody": "done"}),
        (ACKED, {"a": "already_acknowledged", "b": "already_acknowledged", "nobody": "already_acknowledged"}),
        (DEAD, {"a": "stale", "b": "stale", "nobody": "stale"}),
    ],
)
@pytest.mark.parametrize("who", ["a", "b", "nobody"])
def test_a_nack_counts_for_the_holder(tenant: Tenant, state: str, expected: dict[str, str], who: str) -> None:
    inbox, event_id, a, b, now = in_state(tenant, state)
    before = Delivery.objects.values().get()
    outcome = nack_events(inbox=inbox, event_ids=[event_id], lease_id={"a": a, "b": b, "nobody": None}[who], now=now)
    assert {name: ids for name, ids in vars(outcome).items() if ids} == {expected[who]: [event_id]}
    if expected[who] == "done":
        assert ids_of(lease(inbox, now=now)) == [event_id]
    else:
        assert Delivery.objects.values().get() == before


@pytest.mark.parametrize(
    ("state", "by_a", "by_b"),
    [(NEVER, 0, 0), (HELD, 1, 0), (EXPIRED, 0, 0), (TAKEN_OVER, 0, 1), (RETURNED, 0, 0), (ACKED, 0, 0), (DEAD, 0, 0)],
)
def test_only_a_lease_that_holds_something_is_extended(tenant: Tenant, state: str, by_a: int, by_b: int) -> None:
    inbox, _, a, b, now = in_state(tenant, state)
    until = now + AN_HOUR
    for lease_id, expected in ((a, by_a), (b, by_b)):
        before = Delivery.objects.values().get()
        assert extend_lease(inbox=inbox, lease_id=lease_id, expires_at=until, now=now) == expected
        assert Delivery.objects.values().get() == (before | {"next_attempt_at": until} if expected else before)


def test_an_extended_lease_holds_longer(tenant: Tenant) -> None:
    ids = send(tenant, 3)
    leased = tenant.post("/api/v1/inbox/lease", {"lease_seconds": 1}).json()
    of_it = {"lease_id": leased["lease_id"]}
    tenant.post("/api/v1/inbox/ack", {"event_ids": ids[:1], **of_it})
    answer = tenant.post("/api/v1/inbox/extend", {**of_it, "lease_seconds": 3600})
    assert answer.status_code == 200
    extended = answer.json()
    assert (extended["lease_id"], extended["extended"]) == (leased["lease_id"], 2)
    listed = tenant.get("/api/v1/inbox").json()["data"]
    assert {event["leased_until"] for event in listed} == {extended["expires_at"]}
    old_end = datetime.fromisoformat(leased["expires_at"])
    assert lease_events(inbox=inbox_of(tenant), limit=9, duration=AN_HOUR, now=old_end) is None
    assert tenant.post("/api/v1/inbox/ack", {"event_ids": ids[1:], **of_it}).json()["acknowledged"] == ids[1:]
    gone = tenant.post("/api/v1/inbox/extend", of_it)
    assert (gone.status_code, gone.json()["code"]) == (404, "not_found")


def test_returned_events_keep_their_place(tenant: Tenant) -> None:
    ids, later = send(tenant, 4), send(tenant, 1)
    leased = tenant.post("/api/v1/inbox/lease", {"max": 4}).json()
    answer = tenant.post("/api/v1/inbox/nack", {"event_ids": ids[2:0:-1], "lease_id": leased["lease_id"]})
    assert answer.json() == {"returned": ids[2:0:-1], "already_acknowledged": [], "stale": [], "unknown": []}
    assert ids_in(tenant.post("/api/v1/inbox/lease", {})) == [*ids[1:3], *later]


def test_each_id_is_answered_once(tenant: Tenant) -> None:
    ids = send(tenant, 3)
    unknown = str(uuid7())
    tenant.post("/api/v1/inbox/ack", {"event_ids": ids[:1]})
    leased = tenant.post("/api/v1/inbox/lease", {"max": 1}).json()
    body = {"event_ids": [unknown, *ids, *ids, unknown], "lease_id": leased["lease_id"]}
    assert tenant.post("/api/v1/inbox/ack", body).json() == {
        "acknowledged": [ids[1]],
        "already_acknowledged": [ids[0]],
        "stale": [ids[2]],
        "unknown": [unknown],
    }


# --- Dead letters ------------------------------------------------------------------------------------------------


def test_an_event_that_is_leased_too_often_becomes_a_dead_letter(tenant: Tenant) -> None:
    make_inbox(tenant, "careful", max_leases=3)
    (event_id,) = send(tenant, 1)
    inbox = inbox_of(tenant, "careful")
    now = timezone.now()
    for number in (1, 2, 3):
        taken = lease(inbox, now=now)
        assert [delivery.attempts for delivery in taken.deliveries] == [number]
        now = taken.expires_at
    assert lease_events(inbox=inbox, limit=100, duration=HALF_A_MINUTE, now=now) is None
    dead = Delivery.objects.get(subscription=inbox)
    assert (dead.status, dead.last_error, dead.attempts) == (DeliveryStatus.DEAD_LETTER, "max_leases", 3)
    assert json.loads(Event.objects.get(type="delivery.dead_letter").data)["delivery_id"] == str(dead.pk)
    assert (dead.next_attempt_at, dead.lease_id) == (None, None)
    listed = tenant.get("/api/v1/inbox?inbox=careful&status=dead_letter").json()["data"]
    assert [event["id"] for event in listed] == [event_id]


def test_dead_letters_do_not_hide_the_events_behind_them(tenant: Tenant) -> None:
    inbox, ids = sent(tenant, 4)
    Delivery.objects.filter(event_id__in=ids[:3]).update(attempts=inbox.max_leases)
    assert ids_of(lease(inbox, limit=1)) == ids[3:]
    assert Delivery.objects.filter(status=DeliveryStatus.DEAD_LETTER).count() == 3


# --- Inboxes and tenants -----------------------------------------------------------------------------------------


def test_named_inboxes_know_nothing_of_each_other(tenant: Tenant) -> None:
    make_inbox(tenant, "billing", ["invoice.*"])
    invoices, users = send(tenant, 2), send(tenant, 1, event_type="user.created")
    leased = tenant.post("/api/v1/inbox/lease?inbox=billing", {}).json()
    assert [event["id"] for event in leased["events"]] == invoices
    of_it = {"event_ids": invoices[:1], "lease_id": leased["lease_id"]}
    assert tenant.post("/api/v1/inbox/ack", of_it).json()["stale"] == invoices[:1]
    assert tenant.post("/api/v1/inbox/extend", {"lease_id": leased["lease_id"]}).status_code == 404
    assert tenant.post("/api/v1/inbox/ack?inbox=billing", of_it).json()["acknowledged"] == invoices[:1]
    assert tenant.post("/api/v1/inbox/ack?inbox=billing", {"event_ids": users}).json()["unknown"] == users
    assert ids_in(tenant.post("/api/v1/inbox/lease", {})) == [*invoices, *users]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("lease", {}),
        ("ack", {"event_ids": [str(uuid7())]}),
        ("nack", {"event_ids": [str(uuid7())]}),
        ("extend", {"lease_id": str(uuid7())}),
    ],
)
def test_another_tenants_inbox_is_not_there(tenant: Tenant, other_tenant: Tenant, path: str, body: Any) -> None:
    make_inbox(other_tenant, "theirs")
    make_inbox(tenant, "deleted", status=SubscriptionStatus.DELETED)
    for name in ("theirs", "deleted", "nobodys", ""):
        assert tenant.post(f"/api/v1/inbox/{path}?inbox={name}", body).status_code == 404
    assert tenant.get("/api/v1/inbox?inbox=theirs").status_code == 404


def test_another_tenants_lease_and_events_are_not_there(tenant: Tenant, other_tenant: Tenant) -> None:
    ids = send(tenant, 1)
    leased = tenant.post("/api/v1/inbox/lease", {}).json()
    before = Delivery.objects.values().get()
    for action in ("ack", "nack"):
        answer = other_tenant.post(f"/api/v1/inbox/{action}", {"event_ids": ids, "lease_id": leased["lease_id"]})
        assert answer.json()["unknown"] == ids
    assert other_tenant.post("/api/v1/inbox/extend", {"lease_id": leased["lease_id"]}).status_code == 404
    assert Delivery.objects.values().get() == before


def test_a_paused_inbox_hands_out_nothing(tenant: Tenant) -> None:
    ids = send(tenant, 2)
    leased = tenant.post("/api/v1/inbox/lease", {"max": 1}).json()
    inboxes = Subscription.objects.filter(organization=tenant.organization)
    inboxes.update(status=SubscriptionStatus.PAUSED)
    assert tenant.post("/api/v1/inbox/lease", {}).json()["lease_id"] is None
    assert tenant.get("/api/v1/inbox").json()["data"] == []
    assert [event["status"] for event in tenant.get("/api/v1/inbox?status=held").json()["data"]] == ["held", "held"]
    of_it = {"event_ids": ids[:1], "lease_id": leased["lease_id"]}
    assert tenant.post("/api/v1/inbox/ack", of_it).json()["acknowledged"] == ids[:1]
    inboxes.update(status=SubscriptionStatus.ACTIVE)
    assert tenant.get("/api/v1/inbox?status=held").json()["data"] == []
    assert ids_in(tenant.post("/api/v1/inbox/lease", {})) == ids[1:]


def test_an_ack_of_a_replayed_event_counts_for_all_its_deliveries(tenant: Tenant) -> None:
    inbox, (event_id,) = sent(tenant, 1)
    ack_events(inbox=inbox, event_ids=[event_id], lease_id=None, now=timezone.now())
    now = timezone.now()
    replay = Replay.objects.create(
        organization=tenant.organization,
        subscription=inbox,
        received_after=now - AN_HOUR,
        received_before=now,
        total=1,
    )
    Delivery.objects.create(
        id=delivery_id(event_id, inbox.pk, replay.pk),
        organization=tenant.organization,
        subscription=inbox,
        event_id=event_id,
        status=DeliveryStatus.PENDING,
        created_at=now,
        next_attempt_at=now,
        replay_id=replay.pk,
    )
    taken = lease(inbox)
    assert ids_of(taken) == [event_id]
    for expected in ("done", "already_acknowledged"):
        outcome = ack_events(inbox=inbox, event_ids=[event_id], lease_id=taken.id, now=timezone.now())
        assert getattr(outcome, expected) == [event_id]


# --- Requests ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body", "pointer"),
    [
        ("lease", {"max": 0}, "/max"),
        ("lease", {"max": 1001}, "/max"),
        ("lease", {"lease_seconds": 0}, "/lease_seconds"),
        ("lease", {"lease_seconds": 3601}, "/lease_seconds"),
        ("lease", {"count": 1}, "/count"),
        ("ack", {"event_ids": []}, "/event_ids"),
        ("ack", {"event_ids": [str(uuid7())] * 1001}, "/event_ids"),
        ("ack", {"event_ids": ["1"]}, "/event_ids/0"),
        ("ack", {"event_ids": [str(uuid7())], "lease_id": "1"}, "/lease_id"),
        ("nack", {"event_ids": []}, "/event_ids"),
        ("nack", {}, "/event_ids"),
        ("extend", {}, "/lease_id"),
        ("extend", {"lease_id": str(uuid7()), "lease_seconds": 3601}, "/lease_seconds"),
    ],
)
def test_bad_input_names_its_field(tenant: Tenant, path: str, body: Any, pointer: str) -> None:
    answer = tenant.post(f"/api/v1/inbox/{path}", body)
    assert answer.status_code == 422
    assert [error["pointer"].split("/...")[0] for error in answer.json()["errors"]] == [pointer]


def test_a_thousand_events_fit_in_a_request(tenant: Tenant) -> None:
    ids = [str(uuid7()) for _ in range(1000)]
    assert tenant.post("/api/v1/inbox/ack", {"event_ids": ids}).json()["unknown"] == ids


@pytest.mark.parametrize("path", ["lease", "ack", "nack", "extend"])
def test_it_needs_the_scope(db: None, path: str) -> None:
    tenant = make_tenant(scopes=[Scope.EVENTS_READ])
    answer = tenant.post(f"/api/v1/inbox/{path}", {})
    assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_scope")
    assert tenant.post(f"/api/v1/inbox/{path}?name=a", {}).status_code == 403
