"""The head of a request, before anybody looks at what it wants: RFC 9112 where gunicorn is lenient; one spelling."""

from urllib.parse import unquote_to_bytes

from core.problems import Problem
from rest.doors.asgi import ConnectionScope
from rest.middleware import is_below_api


def take_origin_form(scope: ConnectionScope, headers: dict[str, str]) -> None:
    """`http://host/path` becomes `/path`, and its host goes before the field Host (RFC 9112, 3.2.2)."""
    scheme, found, rest = scope["raw_path"].partition(b"://")
    if not found or scheme.lower() not in (b"http", b"https"):
        return
    authority, _, path = rest.partition(b"/")
    scope["raw_path"] = b"/" + path
    scope["path"] = unquote_to_bytes(b"/" + path).decode("utf-8", "replace")
    scope["headers"] = [(name, value) for name, value in scope["headers"] if name != b"host"] + [(b"host", authority)]
    headers["host"] = authority.decode("latin-1")


def fault_of(scope: ConnectionScope, headers: dict[str, str]) -> Problem | None:
    """Why nobody should look at this request; None for a good one."""
    path = scope["path"]
    if "host" not in headers and scope["http_version"] != "1.0":
        return Problem("bad_request", "A request of HTTP/1.1 has a header field Host.")
    if "transfer-encoding" in headers and headers["transfer-encoding"].strip().lower() != "chunked":
        # The server took the chunks apart and would hand on what is in them as it is (RFC 9112, 6.1).
        return Problem("not_implemented", "The only transfer coding here is chunked. Compress by Content-Encoding.")
    if "upgrade" in headers and "websocket" in headers["upgrade"].lower():
        return Problem("bad_request", "There are no WebSockets here.")
    if path[:1] != "/" and (path, scope["method"]) != ("*", "OPTIONS"):
        return Problem("bad_request", "The target of the request is not a path.")
    if not path.startswith("/api/") and is_below_api(path):
        return Problem("not_found", "The API's paths begin with /api/v1/, in small letters, with single slashes.")
    return None
