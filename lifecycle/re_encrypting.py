"""Move all that is encrypted at rest to the first of FIELD_ENCRYPTION_KEYS, batch by batch, while the platform runs.

What is current is left alone, so a run that was interrupted is simply started again. Header values of subscriptions
that were stored before they were encrypted are encrypted too.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from allauth.mfa.models import Authenticator
from django.db import transaction
from django.db.models import Model

from core.secrets import UnreadableSecretError, encrypt_secret, is_current, re_encrypt
from delivery.endpoints.auth_rules import SECRETS
from delivery.endpoints.sealed_headers import SEAL
from delivery.models import Subscription
from notifications.models import SlackChannel

# Rows that are locked at once; each takes some 0.1 ms.
BATCH = 200


@dataclass(kw_only=True)
class Tally:
    """How many values (not rows) were found so. `unreadable`: no key fits; they are left as they are."""

    current: int = 0
    old_key: int = 0
    clear: int = 0
    unreadable: int = 0

    def renew_token(self, token: str) -> str:
        """The token under the first key."""
        if not token:
            return token
        if is_current(token):
            self.current += 1
            return token
        try:
            renewed = re_encrypt(token)
        except UnreadableSecretError:
            self.unreadable += 1
            return token
        self.old_key += 1
        return renewed

    def renew_header(self, stored: str) -> str:
        if stored.startswith(SEAL):
            return SEAL + self.renew_token(stored.removeprefix(SEAL))
        self.clear += 1
        return SEAL + encrypt_secret(stored)


def count_tokens() -> Tally:
    """What there is now; nothing is changed."""
    return _walk(write=False, told=lambda _: None)


def count_sample(*, rows: int) -> Tally:
    """Likewise of the oldest and of the newest `rows` of each kind, without a lock: the old ones show a lost key."""
    tally = Tally()
    for model, columns, renewed in _PLACES:
        sealed = model._default_manager.only(*columns)
        found = {row.pk: row for order in ("pk", "-pk") for row in sealed.order_by(order)[:rows]}
        for row in found.values():
            renewed(row, tally)
    return tally


def re_encrypt_all(*, told: Callable[[int], None]) -> Tally:
    """Returns what was found; `told` gets the number of rows done so far."""
    return _walk(write=True, told=told)


def rows_in_all() -> int:
    return sum(model._default_manager.count() for model, _, _ in _PLACES)


def _walk(*, write: bool, told: Callable[[int], None]) -> Tally:
    tally, done = Tally(), 0
    for model, _, renewed in _PLACES:
        for keys in _batches(model):
            with transaction.atomic():
                for row in model._default_manager.filter(pk__in=keys).order_by("pk").select_for_update(no_key=True):
                    columns = renewed(row, tally)
                    if write and any(getattr(row, name) != value for name, value in columns.items()):
                        model._default_manager.filter(pk=row.pk).update(**columns)
            done += len(keys)
            told(done)
    return tally


def _batches(model: type[Model]) -> Iterator[list[Any]]:
    """Primary keys in their order; rows that come meanwhile are written with the first key anyway."""
    rows = model._default_manager.order_by("pk").values_list("pk", flat=True)
    keys = list(rows[:BATCH])
    while keys:
        yield keys
        keys = list(rows.filter(pk__gt=keys[-1])[:BATCH])


def _subscription(row: Any, tally: Tally) -> dict[str, Any]:
    return {
        "secret": tally.renew_token(row.secret),
        "previous_secret": tally.renew_token(row.previous_secret),
        "headers": {name: tally.renew_header(value) for name, value in row.headers.items()},
        "auth": row.auth and _auth(row.auth, tally),
    }


def _auth(stored: dict[str, str], tally: Tally) -> dict[str, str]:
    secrets = SECRETS[stored["type"]]
    return {name: tally.renew_header(value) if name in secrets else value for name, value in stored.items()}


def _authenticator(row: Any, tally: Tally) -> dict[str, Any]:
    """allauth encrypts an app's secret and the seed of recovery codes; a passkey has only a public key."""
    sealed = ("secret", "seed")
    return {"data": {name: tally.renew_token(value) if name in sealed else value for name, value in row.data.items()}}


# The columns are all that is read of a row.
_PLACES: list[tuple[type[Model], tuple[str, ...], Callable[[Any, Tally], dict[str, Any]]]] = [
    (Subscription, ("secret", "previous_secret", "headers", "auth"), _subscription),
    (Authenticator, ("data",), _authenticator),
    (SlackChannel, ("url",), lambda row, tally: {"url": tally.renew_token(row.url)}),
]
