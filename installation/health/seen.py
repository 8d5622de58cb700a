"""`/health/seen`: what the platform sees of a request, told to nobody but a doctor with the same SECRET_KEY."""

from dataclasses import asdict, dataclass

from django.conf import settings
from django.core.signing import BadSignature, TimestampSigner
from django.http import Http404, HttpRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from core.version import VERSION, revision
from observability.metrics.exposition import FORWARDED
from rest.doors.client_address import client_address

PATH = "/health/seen"
# In a header: addresses end up in logs.
TOKEN_HEADER = "Doctor-Token"  # noqa: S105 - a name
_SALT = "events_platform.doctor.seen"
_SECONDS = 60
# More than the largest batch, and than nginx lets through by itself (1 MiB): a doctor asks whether they come through.
BODY_BYTES = int(5.5 * 1024 * 1024)
_CHUNK = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class Seen:
    """`client_address`: as rate limits and lock-outs take it; `peer`: of the connection, empty for a Unix socket.

    `forwarded`: the header fields of proxies that came along; `hops`: the entries of X-Forwarded-For;
    `trusted_proxies`: how many of them the setting believes.
    """

    scheme: str
    host: str
    client_address: str
    peer: str
    forwarded: list[str]
    forwarded_for_present: bool
    hops: int
    trusted_proxies: int
    body_bytes: int
    version: str
    revision: str


def make_token() -> str:
    """Good for a minute, by the clock of the web server."""
    return TimestampSigner(salt=_SALT).sign("doctor")


def is_token(text: str) -> bool:
    """Whether a doctor with this SECRET_KEY made it, within the last minute."""
    try:
        TimestampSigner(salt=_SALT).unsign(text, max_age=_SECONDS)
    except BadSignature:
        return False
    return True


@csrf_exempt
@require_http_methods(["GET", "POST"])
def seen(request: HttpRequest) -> JsonResponse:
    """404 without a token: there is nothing here for anybody else."""
    if not is_token(request.headers.get(TOKEN_HEADER, "")):
        raise Http404
    forwarded_for = request.headers.get("X-Forwarded-For", "")
    told = Seen(
        scheme=request.scheme or "",
        host=request.get_host(),
        client_address=client_address(request) or "",
        peer=request.META.get("REMOTE_ADDR", ""),
        forwarded=[name for name in FORWARDED if name in request.headers],
        forwarded_for_present=bool(forwarded_for),
        hops=len(forwarded_for.split(",")) if forwarded_for else 0,
        trusted_proxies=settings.TRUSTED_PROXIES,
        body_bytes=sum(map(len, iter(lambda: request.read(_CHUNK), b""))),  # counted, not kept
        version=VERSION,
        revision=revision(),
    )
    return JsonResponse(asdict(told), headers={"Cache-Control": "no-store"})
