"""`manage.py doctor` from outside: proxies, mail servers, the command itself, and the health page."""

import os
import re
import signal
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import Group, User
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.utils import timezone
from msgspec import json

from accounts.groups import OPERATOR, SUPPORT
from core.version import VERSION
from installation.doctor import examining
from installation.doctor.checks import Check, Visit
from installation.doctor.findings import CheckOutcome, Status, good
from installation.health import page
from installation.health.seen import BODY_BYTES, PATH, TOKEN_HEADER, make_token
from installation.local.data_dir import CHECKOUT
from observability import signs_of_life
from observability.signs_of_life import KEY, read_signs
from tests.factories import UserFactory, make_organization
from tests.support.doctor_patient import GOOD, HOST, Trouble, look, trouble
from tests.support.http.certificates import self_signed
from tests.support.http.reverse_proxy import Behaviour, ReverseProxy, reverse_proxy
from tests.support.people.console_data import browser_of, make_member
from tests.support.servers import Server, free_port, serve
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

# --- The proxy, in front of real web servers --------------------------------------------------------------------------

PROXY: list[tuple[Trouble, dict[str, Any]]] = [
    (set(), {}),
    (set(), {"forwarded_for": "append"}),
    ({("large_bodies", "problem")}, {"largest_body": 2**20}),
    ({("client_addresses", "problem"), ("forged_address", "problem")}, {"forwarded_for": "pass"}),
    ({("client_addresses", "problem")}, {"forwarded_for": "drop"}),
    ({("client_addresses", "problem")}, {"forwarded_for": "two"}),
    ({("proxy_scheme", "problem")}, {"sets_proto": False}),
    ({("proxy_host", "problem")}, {"passes_host": False}),
    ({("http_redirect", "warning")}, {"redirects": False}),
    ({("metrics_closed", "problem"), ("client_addresses", "problem"), ("proxy_scheme", "problem")},
     {"hides_metrics": False, "forwarded_for": "drop", "sets_proto": False}),
    ({("web_server", "problem")}, {"upstream": "http://127.0.0.1:1"}),
]  # fmt: skip


@pytest.fixture
def _well_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name leads to this machine."""
    resolve = socket.getaddrinfo

    def ours(host: Any, *arguments: Any, **options: Any) -> Any:
        return resolve("127.0.0.1" if host == HOST else host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", ours)


@pytest.fixture
def proxy(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, _well_known: None) -> Iterator[ReverseProxy]:
    """PUBLIC_URL leads to it, over TLS with a certificate that is trusted."""
    certificate, _ = self_signed(tmp_path, HOST, days=90)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
    with reverse_proxy(certificate, Behaviour()) as running:
        settings.PUBLIC_URL, settings.HTTPS = f"https://{HOST}:{running.port}", True
        yield running


@contextmanager
def behind(proxy: ReverseProxy, settings: Any, *, trusted: int) -> Iterator[Server]:
    environment = {
        "PUBLIC_URL": settings.PUBLIC_URL,
        "ALLOWED_HOSTS": f"{HOST},127.0.0.1",
        "TRUSTED_PROXIES": str(trusted),
        "SECRET_KEY": settings.SECRET_KEY,
        "EMAIL_URL": "smtp://127.0.0.1:1",
    }
    with serve(workers=1, **environment) as server:
        proxy.behaviour = Behaviour(upstream=server.base_url)
        yield server


@pytest.mark.django_db(transaction=True)
def test_proxies(proxy: ReverseProxy, settings: Any, tmp_path: Path) -> None:
    visit = Visit(http_port=proxy.http_port)
    with behind(proxy, settings, trusted=1) as server:
        for expected, mistakes in PROXY:
            proxy.behaviour = Behaviour(**{"upstream": server.base_url, **mistakes})
            assert trouble("proxy", visit=visit) == expected, mistakes
        proxy.behaviour = Behaviour(upstream=server.base_url)
        settings.SECRET_KEY, kept = GOOD["SECRET_KEY"], settings.SECRET_KEY
        found = look("proxy", visit=visit)["web_server"]
        assert (found.status, "the same SECRET_KEY" in found.remedy) == (Status.PROBLEM, True)
        settings.SECRET_KEY = kept
        check_certificates(proxy, settings, tmp_path, visit)
        check_signs(server)
    assert [sign for sign in read_signs() if sign.role == "web"] == [], "one that ends takes its sign along"


def check_certificates(proxy: ReverseProxy, settings: Any, folder: Path, visit: Visit) -> None:
    trusted = folder / "certificate.pem"
    for days, expected in ((5, {("certificate", "warning")}), (-1, {("certificate", "problem")})):
        certificate, _ = self_signed(folder, HOST, days=days)
        with reverse_proxy(certificate, proxy.behaviour) as other:
            settings.PUBLIC_URL = f"https://{HOST}:{other.port}"
            # The web server knows itself by the port of the first proxy.
            assert trouble("proxy", visit=visit) - {("proxy_host", "problem")} == expected
            trusted.unlink()
            assert look("proxy", visit=visit)["certificate"].status is Status.PROBLEM, "of an unknown authority"
    settings.PUBLIC_URL = f"https://{HOST}:{proxy.port}"


def check_signs(server: Server) -> None:
    """Of the web server; also after Redis has forgotten everything."""
    redis = signs_of_life.redis_client()
    redis.hset(KEY, "odd", "no sign")
    (sign,) = [each for each in read_signs() if each.role == "web"]
    assert (sign.version, sign.host) == (VERSION, socket.gethostname())
    assert sign.pid != server.process.pid, "the process that answers, not its master"
    assert not redis.hexists(KEY, "odd")
    redis.flushdb()
    wait_until(lambda: len(read_signs()) == 1, seconds=30)
    os.kill(sign.pid, signal.SIGKILL)
    wait_until(lambda: [each.pid for each in read_signs()] not in ([sign.pid], []), seconds=30)
    assert redis.hlen(KEY) == 2, "the killed one's is kept for a while, and not believed"


@pytest.mark.django_db(transaction=True)
def test_a_proxy_that_is_not_known_of(proxy: ReverseProxy, settings: Any) -> None:
    with behind(proxy, settings, trusted=0):
        found = trouble("proxy", visit=Visit(http_port=proxy.http_port))
        # A proxy on this very host may be believed about the scheme all the same: that is gunicorn's own doing.
        assert found - {("proxy_scheme", "problem")} == {("client_addresses", "problem")}


def test_nobody_at_the_public_url(settings: Any) -> None:
    settings.PUBLIC_URL, settings.HTTPS = f"http://127.0.0.1:{free_port()}", False
    found = look("proxy")
    assert {name for name, outcome in found.items() if outcome.status is Status.PROBLEM} == {"web_server"}


def test_what_was_seen_is_told_to_a_doctor_alone(db: None) -> None:
    client = Client()
    assert client.get(PATH).status_code == 404
    assert client.get(PATH, headers={TOKEN_HEADER: "doctor:1:x"}).status_code == 404
    with time_machine.travel(timezone.now(), tick=False) as traveller:
        token = make_token()
        assert client.get(PATH, headers={TOKEN_HEADER: token}).status_code == 200
        traveller.shift(61)
        assert client.get(PATH, headers={TOKEN_HEADER: token}).status_code == 404
    token = make_token()
    told = client.post(PATH, b"x" * BODY_BYTES, "text/plain", headers={TOKEN_HEADER: token}).json()
    assert (told["body_bytes"], told["client_address"], told["hops"]) == (BODY_BYTES, "127.0.0.1", 0)


# --- Mail -------------------------------------------------------------------------------------------------------------


class _MailServer(socketserver.StreamRequestHandler):
    """Takes one user's password, and then whatever it is sent; `server.taken` is what it was sent."""

    def handle(self) -> None:
        self._say("220 mail")
        while line := self.rfile.readline().strip():
            verb = line.split()[0].upper()
            if verb == b"EHLO":
                self._say("250-mail\r\n250 AUTH PLAIN")
            elif verb == b"AUTH":
                # Of "\0events\0hunter2".
                self._say("235 come in" if line.endswith(b"AGV2ZW50cwBodW50ZXIy") else "535 no hunter2 here")
            elif verb == b"DATA":
                self._say("354 go on")
                lines = iter(self.rfile.readline, b".\r\n")
                self.server.taken.append(b"".join(lines))  # type: ignore[attr-defined]
                self._say("250 taken")
            else:
                self._say("250 fine")

    def _say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


@pytest.fixture
def mail_server(settings: Any) -> Iterator[Any]:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST_USER, settings.EMAIL_HOST_PASSWORD = "events", "hunter2"
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _MailServer) as server:
        server.daemon_threads = True
        server.taken = []  # type: ignore[attr-defined]
        settings.EMAIL_HOST, settings.EMAIL_PORT = server.server_address[:2]
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield server
        server.shutdown()


def test_mail(settings: Any, mail_server: Any) -> None:
    assert trouble("mail") == set()
    assert mail_server.taken == [], "nothing is sent unasked"
    assert trouble("mail", visit=Visit(mail_to="you@example.com")) == set()
    assert b"you@example.com" in mail_server.taken[0]
    settings.EMAIL_HOST_PASSWORD = "wrong-hunter2"
    assert trouble("mail") == {("mail_server", "problem")}
    assert "hunter2" not in str(look("mail")), "neither ours nor the server's words"
    settings.EMAIL_PORT = free_port()
    assert trouble("mail") == {("mail_server", "problem")}


def test_mail_that_goes_nowhere(settings: Any) -> None:
    settings.EMAIL_BACKEND, settings.HTTPS = "django.core.mail.backends.console.EmailBackend", True
    assert trouble("mail") == {("mail_server", "warning")}


# --- The command ------------------------------------------------------------------------------------------------------


def fail(visit: Visit) -> CheckOutcome:
    raise OSError("redis://:hunter2@host")


@pytest.fixture
def _two_checks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One raises, one hangs until the end of the test."""
    ended = threading.Event()
    hang = Check(part="data", name="hangs", run=lambda _: good(str(ended.wait())), lane="a")
    after = Check(part="data", name="after", run=lambda _: good(""), lane="a", needs="hangs")
    checks = (Check(part="settings", name="raises", run=fail), hang, after)
    monkeypatch.setattr(examining, "ALL", checks)
    yield
    ended.set()


@pytest.mark.usefixtures("_two_checks")
def test_a_check_that_raises_or_hangs_is_a_finding() -> None:
    found = {each.name: each for each in examining.examine(Visit(), check_seconds=0.2)}
    assert {name: each.status.value for name, each in found.items()} == {
        "raises": "problem", "hangs": "problem", "after": "skipped",
    }  # fmt: skip
    assert found["raises"].what == "This check failed: OSError."


def run_command(*arguments: str) -> tuple[int, str]:
    output = StringIO()
    try:
        call_command("doctor", *arguments, stdout=output)
    except SystemExit as end:
        return int(end.code or 0), output.getvalue()
    return 0, output.getvalue()


@pytest.mark.django_db(transaction=True)
def test_the_command_by_its_exit_status_and_its_words() -> None:
    left_out = [f"--skip={part}" for part in ("settings", "postgresql", "redis", "processes", "disk", "proxy", "mail")]
    status, text = run_command(*left_out)
    assert (status, "warn organizations" in text) == (0, True)
    assert text.rstrip().endswith("0 problems, 2 warnings, 8 good, 0 skipped.")
    status, text = run_command(*left_out, "--json", "--strict")
    found = json.decode(text)
    assert (status, found["status"], found["version"]) == (1, "problem", VERSION)
    assert found["findings"][0].keys() == {"part", "name", "status", "what", "remedy"}
    assert run_command(*left_out, "--strict", "--accept=organizations", "--accept=superusers")[0] == 0
    assert run_command(*[each for each in left_out if "processes" not in each])[0] == 1


def test_a_bad_setting_is_said_as_json_too() -> None:
    command = [sys.executable, "manage.py", "doctor", "--json"]
    environment = {**os.environ, "TRUSTED_PROXIES": "many"}
    ended = subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, check=False)
    (finding,) = json.decode(ended.stdout)["findings"]
    assert (ended.returncode, finding["status"]) == (2, "problem")
    assert "TRUSTED_PROXIES" in finding["what"]


def test_the_page_of_the_documentation_names_every_finding() -> None:
    text = (CHECKOUT / "docs/operations/doctor.md").read_text()
    named = [line.split("`")[1] for line in text.splitlines() if re.match(r"\| `\w", line)]
    assert named == [check.name for check in examining.ALL]
    assert all(f"`{part}`" in text for part in examining.PARTS)


# --- The page ---------------------------------------------------------------------------------------------------------

HEALTH = "/console/health/"


def staff(group: str) -> User:
    user: User = UserFactory.create(is_staff=True)
    user.groups.add(Group.objects.get(name=group))
    return user


@pytest.mark.django_db(transaction=True)
def test_the_health_page_is_for_those_who_run_the_platform(settings: Any) -> None:
    settings.REQUIRE_STAFF_MFA = False
    member = make_member(make_organization())
    assert Client().get(HEALTH).status_code == 302
    assert browser_of(member).get(HEALTH).status_code == 403
    supporter, operator = browser_of(staff(SUPPORT)), browser_of(staff(OPERATOR))
    assert supporter.get(HEALTH).status_code == 403
    assert HEALTH not in supporter.get("/console/organizations/").content.decode()
    assert HEALTH in operator.get("/console/organizations/").content.decode()
    shown = operator.get(HEALTH).content.decode()
    assert "No worker shows a sign of life" in shown
    assert "<code>systemctl start events-worker</code>" in shown


@pytest.mark.django_db(transaction=True)
def test_the_health_page_looks_once_in_a_while(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    looked: list[Any] = []

    def look(visit: Visit, **options: Any) -> list[Any]:
        assert connection.connection is None  # it takes seconds, in which others can use it
        looked.append(options)
        return []

    monkeypatch.setattr(page, "examine", look)
    monkeypatch.setattr(page, "_figures", lambda _: None)
    browser = browser_of(User.objects.create_superuser("sam"))
    settings.DATABASE_POOL_SIZE = 1
    for _ in range(3):
        assert "All is well" in browser.get(HEALTH).content.decode()
    assert len(looked) == 1
    assert set(looked[0]["skip"]) == {"proxy", "mail"}
