"""Access tokens by OAuth 2.0 client credentials (RFC 6749, 4.4): fetched, kept until shortly before their end, renewed.

A token is fetched like a webhook is sent: through the same guard, without redirects, in bounded time and size.
"""

import asyncio
import re
import time
from base64 import b64encode
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from urllib.parse import quote_plus

import aiohttp
import msgspec
from yarl import URL

from delivery.attempts.exchange import current
from delivery.endpoints.credentials import ClientCredentials

# Of the attempt that needs it, this is part.
FETCH_SECONDS = 10.0
MAX_ANSWER_BYTES = 20 * 1024
# A token that ends while it is under way would be refused.
_EARLY_SECONDS = 30.0
# Where the answer does not say how long it lasts.
_DEFAULT_SECONDS = 300.0
_REMEMBERED = 1_000
# RFC 6750, 2.1, and no longer than what servers commonly take of all headers.
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]{1,6000}=*")


class TokenFailure(OSError):  # noqa: N818 - of the endpoint, not of the program
    """No token was given. An OSError, as are the other failures of an attempt; `reason` is a sentence for people."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class Token(msgspec.Struct, frozen=True):
    """`ends_at` is in seconds of time.monotonic."""

    text: str
    ends_at: float


class _Answer(msgspec.Struct):
    """RFC 6749, 5.1. Servers write the seconds as a text, too."""

    access_token: str
    token_type: str = "Bearer"  # noqa: S105 - a word
    expires_in: float | str | None = None


class _Refusal(msgspec.Struct):
    """RFC 6749, 5.2."""

    error: str = ""


class Tokens:
    """Of one event loop. Whoever needs the same token while it is fetched waits for the same request."""

    def __init__(self, fetch: Callable[[ClientCredentials], Awaitable[Token]]) -> None:
        self._fetch = fetch
        self._kept: OrderedDict[ClientCredentials, Token] = OrderedDict()
        self._fetching: dict[ClientCredentials, asyncio.Task[Token]] = {}

    async def get(self, credentials: ClientCredentials, *, but: str | None = None) -> str:
        """A token that has not ended, and is not `but`, which was refused. Raises TokenFailure."""
        kept = self._kept.get(credentials)
        if kept is not None and kept.text != but and kept.ends_at > time.monotonic():
            return kept.text
        task = self._fetching.get(credentials)
        if task is None:
            task = self._fetching[credentials] = asyncio.create_task(self._renew(credentials))
        # Whoever gives up leaves it to the others, and to the next one.
        return (await asyncio.shield(task)).text

    async def _renew(self, credentials: ClientCredentials) -> Token:
        current.set(None)  # it is no part of what the attempt notes
        try:
            token = await self._fetch(credentials)
        finally:
            del self._fetching[credentials]
        self._kept[credentials] = token
        self._kept.move_to_end(credentials)
        if len(self._kept) > _REMEMBERED:
            self._kept.popitem(last=False)
        return token


async def fetch_token(
    session: aiohttp.ClientSession, credentials: ClientCredentials, *, check: Callable[[str], URL]
) -> Token:
    """A new token, by the guarded `session`; `check` refuses a URL. Raises TokenFailure."""
    user, password = (quote_plus(text) for text in (credentials.client_id, credentials.client_secret))
    form = {"grant_type": "client_credentials"}
    if credentials.scope:
        form["scope"] = credentials.scope
    try:
        async with session.post(
            check(credentials.token_url),
            data=form,
            headers={
                "Authorization": f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}",
                "Accept": "application/json",
            },
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=FETCH_SECONDS),
        ) as response:
            body = await _read(response)
    except TimeoutError as error:
        raise TokenFailure(f"The token endpoint did not answer within {FETCH_SECONDS:g} s.") from error
    except (aiohttp.ClientError, OSError, ValueError, RuntimeError) as error:
        raise TokenFailure("No connection to the token endpoint came about, or its answer was broken.") from error
    if response.status != 200:
        raise TokenFailure(f"The token endpoint answered {response.status}{_error_in(body)}: check the credentials.")
    return _token_in(body, now=time.monotonic())


async def _read(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    while len(body) < MAX_ANSWER_BYTES and (part := await response.content.read(MAX_ANSWER_BYTES - len(body))):
        body += part
    return bytes(body)


def _error_in(body: bytes) -> str:
    """The code of a refusal, if it is one of those that the standard allows by their form."""
    try:
        code = msgspec.json.decode(body, type=_Refusal).error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    return f" ({code})" if re.fullmatch(r"[a-z_]{1,40}", code) else ""


def _token_in(body: bytes, *, now: float) -> Token:
    try:
        answer = msgspec.json.decode(body, type=_Answer)
        seconds = _DEFAULT_SECONDS if answer.expires_in is None else float(answer.expires_in)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise TokenFailure("The token endpoint's answer holds no access token.") from error
    if answer.token_type.lower() != "bearer" or _TOKEN.fullmatch(answer.access_token) is None:
        raise TokenFailure("The token endpoint gave a token that is no bearer token.")
    # Of a short one the half; and no token is kept for ever.
    kept = min(max(seconds - _EARLY_SECONDS, seconds / 2, 0.0), 86_400.0)
    return Token(answer.access_token, now + kept)
