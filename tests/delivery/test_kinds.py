"""Kinds of subscriptions: what is said of them in SQL and by their names must agree."""

import pytest

from core.problems import Problem
from delivery.kinds import IS_SENT, RULES
from delivery.models import Subscription, SubscriptionKind


def test_each_kind_has_rules_under_its_name() -> None:
    assert list(RULES) == SubscriptionKind.values
    assert all(rules.name == name for name, rules in RULES.items())


def test_no_two_kinds_claim_a_field() -> None:
    claimed = [name for rules in RULES.values() for name in rules.own_fields]
    assert len(claimed) == len(set(claimed)) > 0


def test_only_an_inbox_is_found_by_its_name() -> None:
    RULES[SubscriptionKind.WEBHOOK].check_name("Any text, for people")
    with pytest.raises(Problem):
        RULES[SubscriptionKind.INBOX].check_name("Any text, for people")


def test_what_is_not_sent_is_no_ones_to_send() -> None:
    assert IS_SENT == "subscription.kind IN ('webhook')"
    assert Subscription(kind=SubscriptionKind.WEBHOOK).rules.is_sent
    assert not Subscription(kind=SubscriptionKind.INBOX).rules.is_sent
