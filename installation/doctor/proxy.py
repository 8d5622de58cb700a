"""The way from the world to the web server, by real requests through PUBLIC_URL."""

import http.client
import ssl
from collections.abc import Callable
from urllib.parse import urlsplit

import msgspec
from django.conf import settings

from core.version import VERSION, revision
from installation.doctor.checks import Check, Visit
from installation.doctor.findings import CheckOutcome, good, problem, skipped, warning
from installation.doctor.requests import Answer, request
from installation.doctor.settings_checks import is_loopback, public_host
from installation.health.seen import BODY_BYTES, PATH, TOKEN_HEADER, Seen, make_token

PART = "proxy"
_LANE = "proxy"
# Of a network that is for documentation alone (RFC 5737): nobody has it.
FORGED = "203.0.113.66"
_LAST_DAYS = 14
_EXAMPLE = "deploy/nginx.conf and deploy/Caddyfile show how"


def _ask(*, method: str = "GET", body: bytes | None = None, headers: dict[str, str] | None = None) -> Answer:
    headers = {TOKEN_HEADER: make_token(), **(headers or {})}
    return request(settings.PUBLIC_URL + PATH, method=method, headers=headers, body=body)


def _certificate(visit: Visit) -> CheckOutcome:
    if not settings.HTTPS:
        return skipped("PUBLIC_URL is http: there is no certificate.")
    try:
        answer = request(f"{settings.PUBLIC_URL}/health/live")
    except ssl.SSLCertVerificationError as error:
        return problem(
            f"The certificate of {public_host()} is not valid: {error.verify_message}.",
            "Renew it, or send the whole chain (fullchain.pem). For a private authority: SSL_CERT_FILE=/path/ca.pem.",
        )
    except (OSError, http.client.HTTPException):
        return good("No certificate is known to be bad.")  # the next check says what does not answer
    days = answer.certificate_days or 0
    if days < _LAST_DAYS:
        return warning(
            f"The certificate of {public_host()} ends in {days:.0f} days.",
            "Find out why it was not renewed (`certbot renew --dry-run`), and whether the proxy was reloaded.",
        )
    return good(f"The certificate is valid for {days:.0f} days.")


def _web_server(visit: Visit) -> CheckOutcome:
    try:
        answer = _ask()
    except (OSError, http.client.HTTPException) as error:
        return problem(
            f"{settings.PUBLIC_URL} does not answer ({type(error).__name__}).",
            "See that the proxy runs, that the name leads to it, and that the firewall lets it through. If this host"
            " alone cannot reach its own public address, name it in /etc/hosts, or use `--skip proxy`.",
        )
    if answer.status != 200:
        return _refused(answer)
    try:
        visit.seen = msgspec.json.decode(answer.body, type=Seen)
    except msgspec.MsgspecError:
        return problem(
            f"{settings.PUBLIC_URL} is answered by something other than this platform.",
            "Check where the name leads, and which of the proxy's servers handles it.",
        )
    if (visit.seen.version, visit.seen.revision) != (VERSION, revision()):
        return warning(
            f"The web server is version {visit.seen.version} (revision {visit.seen.revision}), this command is"
            f" {VERSION} ({revision()}).",
            "Restart the web server, or run the command of the release that runs.",
        )
    return good(f"{settings.PUBLIC_URL} leads to this platform.")


def _refused(answer: Answer) -> CheckOutcome:
    url, status = settings.PUBLIC_URL, answer.status
    if status == 404:
        return problem(
            f"{url} does not know this command (404).",
            "Give the web server and this command the same SECRET_KEY, and the web server this version; restart it."
            " Their clocks must agree within a minute. Or another server answers for that name.",
        )
    if status == 400:
        return problem(
            f"{url} refuses the request's host (400).",
            f"Have the proxy pass Host on (nginx: `proxy_set_header Host $host`), and ALLOWED_HOSTS hold"
            f" {public_host()}.",
        )
    if status in (502, 503, 504):
        return problem(
            f"A proxy answers for {url}, and reaches no web server ({status}).",
            "Start the web server, and compare HOST and PORT with the address in the proxy's configuration.",
        )
    if 300 <= status < 400:
        parts = urlsplit(answer.headers.get("location", ""))
        origin = f"{parts.scheme}://{parts.netloc}" if parts.netloc else "another path"
        return problem(
            f"{url} redirects to {origin}.",
            "Set PUBLIC_URL to where people end up, or remove the redirect.",
        )
    return problem(f"{url} answers {status}.", "Something in front refuses requests: let them pass to the platform.")


def _with_seen(judge: Callable[[Seen], CheckOutcome]) -> Callable[[Visit], CheckOutcome]:
    def run(visit: Visit) -> CheckOutcome:
        return judge(visit.seen) if visit.seen else skipped("What the web server sees is unknown.")

    return run


def _scheme(seen: Seen) -> CheckOutcome:
    wanted = urlsplit(settings.PUBLIC_URL).scheme
    if seen.scheme == wanted:
        return good(f"The platform sees {wanted}.")
    if wanted == "http":
        return warning(
            "The platform sees https, and PUBLIC_URL is http.", "Set PUBLIC_URL to the https address and restart."
        )
    return problem(
        "The platform sees http, though PUBLIC_URL is https: pages redirect without end, and forms are refused.",
        "Have the proxy set X-Forwarded-Proto (nginx: `proxy_set_header X-Forwarded-Proto $scheme`), and set"
        " TRUSTED_PROXIES to the number of proxies; restart the web server.",
    )


def _host(seen: Seen) -> CheckOutcome:
    wanted = urlsplit(settings.PUBLIC_URL).netloc.rpartition("@")[2]
    if seen.host.lower() == wanted.lower():
        return good(f"The platform sees the host {wanted}.")
    return problem(
        f"The platform sees the host {seen.host} instead of {wanted}: forms are refused, links lead astray.",
        "Have the proxy pass Host on (nginx: `proxy_set_header Host $host`, or `$http_host` with a port of its own).",
    )


def _forwarded(seen: Seen) -> CheckOutcome:
    """What the proxies say of an honest request."""
    trusted = seen.trusted_proxies
    if not trusted and seen.forwarded:
        return problem(
            f"A proxy is in front ({', '.join(seen.forwarded)}) and TRUSTED_PROXIES is 0: rate limits and lock-outs see"
            f" the proxy's address, {seen.client_address or 'none'}, for everybody.",
            "Set TRUSTED_PROXIES to the number of proxies in front and restart the web server.",
        )
    if trusted > seen.hops:
        return problem(
            f"TRUSTED_PROXIES is {trusted}, and X-Forwarded-For has {seen.hops} entries: everybody has the proxy's"
            f" address, {seen.client_address or 'none'}.",
            f"Have each proxy set X-Forwarded-For ({_EXAMPLE}), or lower TRUSTED_PROXIES to {seen.hops}.",
        )
    if trusted < seen.hops:
        return problem(
            f"TRUSTED_PROXIES is {trusted}, and {seen.hops} proxies are in front: everybody has the address of one of"
            f" them, {seen.client_address or 'none'}.",
            f"Set TRUSTED_PROXIES={seen.hops} and restart the web server, if all of them are yours.",
        )
    return good(f"The platform sees the client's address, {seen.client_address or 'none'}.")


def _forged(visit: Visit) -> CheckOutcome:
    """A client may write what it likes: no proxy passes it on as true."""
    answer = _ask(headers={"X-Forwarded-For": FORGED})
    if answer.status != 200:
        return problem(
            f"A request that carries X-Forwarded-For is answered {answer.status}.",
            f"Have the proxy replace that header, not refuse it: {_EXAMPLE}.",
        )
    if msgspec.json.decode(answer.body, type=Seen).client_address != FORGED:
        return good("An address that a client writes into X-Forwarded-For is not trusted.")
    return problem(
        "The platform trusts an address that the client wrote into X-Forwarded-For: lock-outs and rate limits can be"
        " dodged.",
        "Have the outermost proxy replace it (nginx: `proxy_set_header X-Forwarded-For $remote_addr`), and set"
        " TRUSTED_PROXIES to the number of proxies, 0 without one.",
    )


def _body(visit: Visit) -> CheckOutcome:
    """Of batches: 5 MiB are taken."""
    remedy = "Let bodies of 6 MiB through (nginx: `client_max_body_size 6m`)."
    try:
        answer = _ask(method="POST", body=bytes(BODY_BYTES))
    except (OSError, http.client.HTTPException) as error:
        return problem(f"A body of 5.5 MiB is cut off ({type(error).__name__}): large batches are lost.", remedy)
    if answer.status != 200:
        return problem(f"A body of 5.5 MiB is refused ({answer.status}): large batches are lost.", remedy)
    arrived = msgspec.json.decode(answer.body, type=Seen).body_bytes
    if arrived != BODY_BYTES:
        return problem(f"Of a body of {BODY_BYTES} bytes, {arrived} arrive.", remedy)
    return good("A body of 5.5 MiB comes through.")


def _metrics(visit: Visit) -> CheckOutcome:
    if is_loopback(public_host()):
        return skipped("PUBLIC_URL is this machine only, which may read the metrics.")
    if request(f"{settings.PUBLIC_URL}/metrics").status != 200:
        return good("/metrics is closed to the world.")
    return problem(
        "Everybody can read /metrics through PUBLIC_URL.",
        f"Have the proxy refuse /metrics and set X-Forwarded-For ({_EXAMPLE}); Prometheus asks the web server itself.",
    )


def _redirect(visit: Visit) -> CheckOutcome:
    if not settings.HTTPS:
        return skipped("PUBLIC_URL is http.")
    host = public_host()
    try:
        answer = request(f"http://{f'[{host}]' if ':' in host else host}:{visit.http_port}/", seconds=2)
    except (OSError, http.client.HTTPException):
        return good(f"Nothing answers plain HTTP on port {visit.http_port}.")
    if 300 <= answer.status < 400 and answer.headers.get("location", "").startswith("https://"):
        return good("Plain HTTP is redirected to https.")
    return warning(
        f"Plain HTTP on port {visit.http_port} is answered with {answer.status} and not redirected to https.",
        f"Have the proxy redirect it: {_EXAMPLE}.",
    )


def _needing(name: str, run: Callable[[Visit], CheckOutcome], needs: str = "web_server") -> Check:
    return Check(part=PART, name=name, run=run, lane=_LANE, needs=needs)


CHECKS = (
    Check(part=PART, name="certificate", run=_certificate, lane=_LANE),
    Check(part=PART, name="web_server", run=_web_server, lane=_LANE, needs="certificate"),
    _needing("proxy_scheme", _with_seen(_scheme)),
    _needing("proxy_host", _with_seen(_host)),
    _needing("client_addresses", _with_seen(_forwarded)),
    _needing("forged_address", _forged),
    _needing("large_bodies", _body),
    _needing("metrics_closed", _metrics),
    _needing("http_redirect", _redirect),
)
