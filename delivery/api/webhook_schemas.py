"""What only webhooks have: a secret, and a test. Bodies and answers, as for subscriptions."""

from typing import Annotated

from msgspec import Meta, Raw, Struct, field

from delivery.api.delivery_schemas import EXAMPLE_TEST, TestResult
from ingestion.formats.decoding import TypeName
from rest.openapi import EXAMPLE_TIME, Time, answer, get, json_of, post

MAX_OVERLAP = 30 * 24 * 3600
EXAMPLE_SECRET = "whsec_" + "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="


class SecretRotation(Struct, forbid_unknown_fields=True):
    """How long the previous secret signs too."""

    overlap_seconds: Annotated[int, Meta(ge=0, le=MAX_OVERLAP)] = 86_400


class TestEvent(Struct, forbid_unknown_fields=True):
    """The event to send."""

    __test__ = False  # It is none of pytest's.

    type: TypeName = "webhook.test"
    data: Annotated[Raw, Meta(description="Any JSON.", extra_json_schema={})] = field(
        default_factory=lambda: Raw(b'{"test":true}')
    )


class SecretShown(Struct):
    """The secret of a webhook; with `v1a` the public key, as nobody is shown the private one."""

    secret: Annotated[str, Meta(pattern="^whsec_")] | None
    public_key: Annotated[str, Meta(pattern="^whpk_")] | None
    previous_secret_expires_at: Annotated[
        Time | None, Meta(description="Until when the secret before this one signs too; null when it does not.")
    ]


_ANSWER = answer(
    "The secret.",
    SecretShown,
    secret={"secret": EXAMPLE_SECRET, "public_key": None, "previous_secret_expires_at": EXAMPLE_TIME},
)
SECRET = get(
    "get_subscription_secret",
    "Show the secret of a webhook",
    "This is recorded in the audit log.",
    answers=_ANSWER,
    problems=("wrong_state",),
)
ROTATE_SECRET = post(
    "rotate_subscription_secret",
    "Rotate the secret of a webhook",
    "The new secret signs at once; the previous one also signs for `overlap_seconds`, a day by"
    " default. After two rotations in a row, only the second-to-last secret is still valid beside it.",
    body=json_of(SecretRotation, one_hour={"overlap_seconds": 3600}, at_once={"overlap_seconds": 0}),
    body_required=False,
    answers=_ANSWER,
    problems=("wrong_state",),
)
TEST = post(
    "test_subscription",
    "Test a webhook",
    "Sends one event to the webhook, signed like any other and whatever its status, and waits for the"
    " response. The event is not stored.",
    body=json_of(TestEvent, invoice={"type": "invoice.paid", "data": {"amount": 12900}}),
    body_required=False,
    answers=answer("The outcome, whether it was delivered or not.", TestResult, refused=EXAMPLE_TEST),
    problems=("wrong_state", "rate_limited"),
)
