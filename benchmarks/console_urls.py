"""Every page of console, accounts, portal and admin, by walking the URL conf: a new page is measured at once."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from django.urls import get_resolver, reverse
from django.urls.resolvers import URLPattern, URLResolver

from benchmarks.console_scene import Scene

# What the names of pages begin with. What the account says about second factors is of one person alone.
_AREAS = ("console:", "admin:", "portal:", "account_", "health-page", "portal-settings")
_BY_MAIL = "asks for a link out of a mail"
_NOTHING = "shows nothing of the database"
_NOT_MEASURED = {
    "account_login": "leads to another page",
    "account_reauthenticate": _NOTHING,
    "account_reset_password": _NOTHING,
    "account_reset_password_sent": _NOTHING,
    "account_reset_password_done": _NOTHING,
    "account_reset_password_confirm": _BY_MAIL,
    "account_end_notices": _BY_MAIL,
    "portal:open": "uses a link up",
    "console:sign-in": _NOTHING,
    "console:sign-out": "ends the session",
    "console:download-export": "a file that was made before",
    "console:export-audit": "a file, which takes as long as it is",
    "admin:login": _NOTHING,
    "admin:logout": "ends the session",
    "admin:jsi18n": "a script without data",
    "admin:autocomplete": "answers the script of a form that no page of the admin has",
    "admin:view_on_site": "no model has a page elsewhere",
    "admin:": "leads to another page of the admin",
}
# More of a page than its plain URL: `{…}` are texts of the scene. The inbox takes every event: the largest lists.
_QUERIES: dict[str, Sequence[dict[str, str]]] = {
    "console:overview": [{"range": name} for name in ("1h", "24h", "7d", "30d")],
    "console:events": [{"before": "{older}"}, {"range": "24h"}],
    "console:organization-events": [
        {"before": "{older}"},
        {"type": "invoice.paid"},
        {"type": "invoice.*"},
        {"type": "no.such.type"},
        {"type": "nothing.*"},
        {"source": "/billing"},
        {"source": "/nowhere"},
        {"subject": "{subject}"},
        {"subject": "nobody"},
        {"status": "accepted"},
        {"status": "processed"},
        {"status": "failed"},
        {"delivery_status": "dead_letter"},
        {"delivery_status": "delivered"},
        {"delivery_status": "pending", "source": "/billing"},
        {"range": "1h"},
        {"range": "24h"},
        {"range": "30d"},
        {"path": "customer.id", "value": "cus_42"},
        {"path": "customer.id", "value": "nobody"},
        {"type": "invoice.*", "source": "/shop", "range": "7d"},
    ],
    "console:rejected": [{"code": "validation_failed"}],
    "console:send-event": [{"type": "invoice.paid"}],
    "console:search": [
        {"q": "{event}"},
        {"q": "{delivery}"},
        {"q": "{subject}"},
        {"q": "invoice.paid"},
        {"q": "customer.id = cus_42"},
        {"q": "customer.id = nobody"},
        {"q": "nobody has this"},
    ],
    "console:search-all": [
        {"q": "{event}"},
        {"q": "{subject}"},
        {"q": "customer.id = nobody"},
        {"q": "nobody has this"},
    ],
    "console:live": [{"type": "invoice.*"}],
    "console:live-stream": [{"cursor": "{older}"}],
    "console:organizations": [{"q": "Seeded 1"}],
    "console:deliveries": [
        {"status": "delivered"},
        {"status": "dead_letter"},
        {"status": "held"},
        {"status": "retrying"},
        {"subscription_id": "{inbox}"},
        {"subscription_id": "{inbox}", "before": "{older_delivery}"},
    ],
    "console:subscription": [{"subscription_id": "{inbox}"}],
    "console:attempt": [{"with": "{earlier_attempt}"}],
    "console:charts": [{"range": name} for name in ("1h", "24h", "7d", "30d")],
    "console:issues": [{"state": "muted"}, {"state": "resolved"}],
    "console:audit": [
        {"action": "api_key"},
        {"actor": "nobody"},
        {"target": "{subscription}"},
        {"from": "{today}", "to": "{today}", "actor": "bench"},
    ],
    "portal:deliveries": [{"status": "dead_letter"}],
    "console:dead-letters": [{"before": "{older_delivery}"}],
    "admin:ingestion_event_changelist": [
        {"q": "{event}"},
        {"before": "{older}"},
        {"organization__id__exact": "{organization}"},
        {"organization__id__exact": "{organization}", "q": "invoice"},
    ],
    "admin:ingestion_eventtype_changelist": [{"organization__id__exact": "{organization}", "q": "invoice"}],
    "admin:delivery_delivery_changelist": [
        {"q": "{delivery}"},
        {"status": "dead_letter"},
        {"side": "theirs"},
        {"side": "ours"},
        {"organization__id__exact": "{organization}"},
        {"subscription": "{subscription}", "status": "dead_letter"},
        {"before": "{older_delivery}"},
    ],
    "admin:delivery_delivery_dead_letters": [{"side": "theirs"}],
    "admin:delivery_subscription_changelist": [{"health": "failing"}, {"health": "paused"}],
    "admin:organizations_organization_changelist": [{"q": "Seeded 1"}],
    "admin:organizations_auditentry_changelist": [{"organization__id__exact": "{organization}"}],
}


@dataclass(frozen=True, kw_only=True)
class Page:
    """`parameters` are those of the URL, `query` what is chosen; `reason` says why it is not measured."""

    url_name: str
    parameters: tuple[str, ...] = ()
    query: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""

    @property
    def name(self) -> str:
        chosen = " ".join(f"{key}={value}" for key, value in self.query.items())
        return f"{self.url_name} {chosen}".strip()

    @property
    def is_of_admin(self) -> bool:
        return self.url_name.startswith("admin:")

    @property
    def viewers(self) -> Sequence[str]:
        """Admin and health are for staff, the portal for customers of an organization."""
        if self.url_name.startswith("portal:"):
            return ("customer",)
        return ("staff",) if self.is_of_admin or self.reason or self.url_name == "health-page" else ("staff", "member")

    def path(self, scene: Scene) -> str:
        """A LookupError when there is no object for a parameter."""
        query = {key: value.format_map(scene.texts) for key, value in self.query.items()}
        values = {name: query.pop(name, None) or self._argument(name, scene) for name in self.parameters}
        path = reverse(self.url_name, kwargs=values)
        return f"{path}?{urlencode(query)}" if query else path

    def _argument(self, name: str, scene: Scene) -> Any:
        if not self.is_of_admin:
            return scene.arguments[name]
        if name == "app_label":
            return "delivery"
        page = self.url_name.removeprefix("admin:")
        fitting = [known for known in scene.objects if page == known or page.startswith(f"{known}_")]
        if not fitting:
            raise LookupError(name)
        return scene.objects[max(fitting, key=len)]


def all_pages() -> list[Page]:
    """In the order of the URL conf; those of Django's admin that nothing has a name for come once."""
    found: dict[str, list[Page]] = {}
    for url_name, parameters in _walk(get_resolver().url_patterns, ()):
        if not url_name.startswith(_AREAS) or url_name in found:
            continue
        reason = _NOT_MEASURED.get(url_name, "")
        plain = Page(url_name=url_name, parameters=parameters, reason=reason)
        more = [Page(url_name=url_name, parameters=parameters, query=query) for query in _QUERIES.get(url_name, ())]
        found[url_name] = [plain, *more]
    if unknown := set(_QUERIES) - set(found):
        raise LookupError(f"there is no page {', '.join(sorted(unknown))}")
    return [page for pages in found.values() for page in pages]


def _walk(patterns: Sequence[Any], above: tuple[str, ...]) -> Iterator[tuple[str, tuple[str, ...]]]:
    for pattern in patterns:
        names = (*above, *pattern.pattern.converters, *_groups(pattern))
        if isinstance(pattern, URLResolver):
            inner = f"{pattern.namespace}:" if pattern.namespace else ""
            for url_name, parameters in _walk(pattern.url_patterns, names):
                yield f"{inner}{url_name}", parameters
        elif isinstance(pattern, URLPattern):
            yield pattern.name or "", names


def _groups(pattern: Any) -> Sequence[str]:
    """Of a regular expression."""
    regex = pattern.pattern.regex
    return [] if pattern.pattern.converters else list(regex.groupindex)
