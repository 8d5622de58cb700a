"""Redis, which carries counters, caches and (unless RabbitMQ does) the workers' wake-ups; and the broker."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from amqp.exceptions import AccessRefused, AMQPError
from celery import current_app
from django.conf import settings
from kombu.exceptions import OperationalError
from redis import Redis
from redis.exceptions import (
    AuthenticationError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

from core.broker.brokers import is_rabbitmq
from core.postgresql.faults import causes
from installation.doctor.checks import Check, Visit
from installation.doctor.clocks import compare_clocks
from installation.doctor.findings import CheckOutcome, good, problem, skipped, warning
from installation.doctor.places import is_here
from observability.signs_of_life import redis_client

PART = "redis"
LANE = "redis"
# The oldest whose commands the platform's scripts and redis-py use.
_OLDEST = (6, 2)
_FULL = 0.9
_SECONDS = 2.0
_PROBE_KEY = "health:probe"
_TO_TAKE_WRITES = (
    "At its maxmemory: see with `redis-cli --bigkeys` what fills it, and raise it. A replica: name the primary."
    " MISCONF: it cannot save to its disk, make room there."
)


@contextmanager
def _client(url: str) -> Iterator["Redis"]:
    with closing(redis_client(url, decode_responses=True)) as client:
        yield client


def _redis(visit: Visit) -> CheckOutcome:
    try:
        with _client(settings.REDIS_URL) as client:
            client.set(_PROBE_KEY, 1, ex=60)
    except (AuthenticationError, NoPermissionError):
        return problem(
            "Redis refuses the password, or the user, of REDIS_URL.",
            "Compare it with `requirepass` (or the ACL) of the server; signs such as @ are percent-encoded in the URL.",
        )
    except ResponseError as error:
        return problem(
            f"Redis answers, but accepts no writes ({_refused_because(error)}): rate limits let everything through.",
            _TO_TAKE_WRITES,
        )
    except (RedisError, OSError) as error:
        return problem(
            f"Redis does not answer ({type(error).__name__}): rate limits let everything through, pages are slow.",
            "See that it runs and that REDIS_URL has its host and port (`redis-cli -u …  ping`); with TLS, rediss://.",
        )
    return good("Redis answers, and accepts writes.")


def _refused_because(error: ResponseError) -> str:
    if isinstance(error, OutOfMemoryError):
        return "it is at its maxmemory"
    if isinstance(error, ReadOnlyError):
        return "it is a replica"
    return str(error).split(" ", 1)[0][:20]  # such as MISCONF


def _info(url: str, section: str) -> dict[str, Any] | None:
    """None where the user may not ask."""
    with _client(url) as client:
        try:
            found: dict[str, Any] = client.info(section)
        except (NoPermissionError, ResponseError):
            return None
        return found


def _version(visit: Visit) -> CheckOutcome:
    info = _info(settings.REDIS_URL, "server")
    if info is None:
        return skipped("The user of REDIS_URL may not ask for INFO.")
    name = "Valkey" if "valkey_version" in info else "Redis"
    text = str(info.get("valkey_version") or info["redis_version"])
    if tuple(int(part) for part in text.split(".")[:2]) < _OLDEST:
        return problem(
            f"{name} is version {text}; {'.'.join(map(str, _OLDEST))} is the oldest that the platform supports.",
            "Install a newer Redis or Valkey; nothing in it must be kept.",
        )
    return good(f"{name} is version {text}.")


def _policy(visit: Visit) -> CheckOutcome:
    if is_rabbitmq(settings.CELERY_BROKER_URL):
        return good("Redis does not carry the workers' wake-ups: RabbitMQ does.")
    try:
        info = _info(_url_of_broker(), "memory")
    except (RedisError, OSError):
        return skipped("The broker does not answer.")
    if info is None or "maxmemory_policy" not in info:
        return skipped("The user of CELERY_BROKER_URL may not ask for INFO.")
    policy = str(info["maxmemory_policy"])
    if policy == "noeviction":
        return good("Redis discards nothing (maxmemory-policy is noeviction).")
    say = problem if policy.startswith("allkeys") else warning
    return say(
        f"When it is full, Redis discards the workers' wake-ups and rate limits (maxmemory-policy is {policy}).",
        "Set `maxmemory-policy noeviction` in redis.conf, and now with `redis-cli CONFIG SET maxmemory-policy"
        " noeviction`; give another application's cache a server of its own.",
    )


def _url_of_broker() -> str:
    """For redis-py: Celery writes a Unix socket otherwise."""
    parts = urlsplit(settings.CELERY_BROKER_URL)
    if parts.scheme != "redis+socket":
        return settings.CELERY_BROKER_URL
    number = dict(parse_qsl(parts.query)).get("virtual_host", "0").strip("/")
    return f"unix://{parts.path}?db={number or 0}"


def _password(visit: Visit) -> CheckOutcome:
    urls = {"REDIS_URL": settings.REDIS_URL, "CELERY_BROKER_URL": settings.CELERY_BROKER_URL}
    bare = {
        name: parts.hostname or "localhost"
        for name, url in urls.items()
        if (parts := urlsplit(url)).scheme in ("redis", "rediss") and not parts.password
    }
    if not bare:
        return good("Redis requires a password, or is on a private socket.")
    say = warning if all(is_here(host) for host in bare.values()) else problem
    where = " and ".join(f"{name} (at {host})" for name, host in bare.items())
    return say(
        f"No password in {where}: anybody who reaches the port can read counters and send tasks to the workers.",
        "Set `requirepass` in redis.conf to `openssl rand -hex 24`, restart it, and write redis://:PASSWORD@host:6379/0;"
        " restart all processes.",
    )


def _memory(visit: Visit) -> CheckOutcome:
    info = _info(settings.REDIS_URL, "memory")
    if info is None or "used_memory" not in info:
        return skipped("The user of REDIS_URL may not ask for INFO.")
    used, most = int(info["used_memory"]), int(info.get("maxmemory", 0))
    if not most:
        return good(f"Redis uses {used / 2**20:.0f} MiB, and has no limit of its own.")
    if used >= _FULL * most:
        return warning(
            f"Redis uses {100 * used / most:.0f} % of its memory ({most / 2**20:.0f} MiB).",
            "Look with `redis-cli --bigkeys` at what fills it; the platform needs some 50 MiB. Raise maxmemory.",
        )
    return good(f"Redis uses {100 * used / most:.0f} % of its {most / 2**20:.0f} MiB.")


def _broker(visit: Visit) -> CheckOutcome:
    name = "RabbitMQ" if is_rabbitmq(settings.CELERY_BROKER_URL) else "Redis"
    try:
        send_to_nobody()
    except ResponseError as error:
        return problem(
            f"The broker ({name}) accepts no messages ({_refused_because(error)}): no task reaches a worker.",
            _TO_TAKE_WRITES,
        )
    except (OperationalError, AMQPError, RedisError, OSError) as error:
        # kombu raises its own error from the one that says why.
        refusals = (AccessRefused, AuthenticationError, NoPermissionError)
        if not any(isinstance(cause, refusals) for cause in causes(error)):
            return problem(
                f"The broker ({name}) does not answer ({type(error).__name__}): no task reaches a worker.",
                "See that it runs and that CELERY_BROKER_URL has its host and port. What was accepted is kept,"
                " and processed when it is back.",
            )
        return problem(
            f"The broker ({name}) refuses the user or the password of CELERY_BROKER_URL.",
            "Compare them with the server's (`rabbitmqctl authenticate_user NAME`, or `requirepass` of Redis), and the"
            " virtual host too; signs such as @ are percent-encoded in the URL.",
        )
    return good(f"The broker ({name}) accepts messages.")


def send_to_nobody() -> None:
    """A message as a wake-up is one, which no worker gets. Raises what the broker's client raises."""
    if not is_rabbitmq(settings.CELERY_BROKER_URL):
        with _client(_url_of_broker()) as client:
            client.set(_PROBE_KEY, 1, ex=60)
        return
    with current_app.connection_for_write(connect_timeout=_SECONDS) as broker:
        broker.ensure_connection(max_retries=1, interval_start=0, timeout=int(_SECONDS))
        # No queue has this name, so RabbitMQ drops the message. It confirms it, unless it takes none from anybody.
        with broker.Producer() as producer:
            producer.publish({}, exchange="", routing_key=_PROBE_KEY, confirm_timeout=_SECONDS, retry=False)


def _clock(visit: Visit) -> CheckOutcome:
    with _client(settings.REDIS_URL) as client:
        client.ping()  # so that the time of connecting does not count
        before = time.time()
        seconds, microseconds = client.time()
        return compare_clocks("Redis' host", theirs=seconds + microseconds / 1e6, before=before, after=time.time())


def _needing(name: str, run: Callable[[Visit], CheckOutcome]) -> Check:
    return Check(part=PART, name=name, run=run, lane=LANE, needs="redis")


CHECKS = (
    Check(part=PART, name="redis", run=_redis, lane=LANE),
    _needing("redis_version", _version),
    _needing("redis_policy", _policy),
    Check(part=PART, name="redis_password", run=_password),
    _needing("redis_memory", _memory),
    _needing("clock_redis", _clock),
    Check(part=PART, name="broker", run=_broker, lane=LANE),
)
