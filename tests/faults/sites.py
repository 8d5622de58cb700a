"""What a row runs on: servers of its own, `manage.py up`, and a tenant whose webhook leads to a receiver."""

import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.postgresql import PostgreSQL
from tests.faults.programs import Platform
from tests.faults.redis import Redis
from tests.receiver import Receiver, receiving

HOOK = "/hook"
# A row that fails shows the end of the log: what went wrong, and not what was asked.
_QUIET = {"LOG_REQUESTS": "errors", "LOG_ATTEMPTS": "errors"}


@dataclass(kw_only=True)
class Site:
    """`folder` is removed at the end; `stack` ends what a site has beyond these."""

    folder: Path
    stack: ExitStack
    postgres: PostgreSQL
    redis: Redis
    platform: Platform
    receiver: Receiver
    environ: dict[str, str] = field(default_factory=dict)

    def log(self) -> str:
        """The end of what the programs said."""
        return self.platform.log.read_text(errors="replace")[-4000:]


Opening = Callable[[], AbstractContextManager[Site]]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def folder_of_a_site() -> Iterator[Path]:
    """Short, for sockets lie below it; and PostgreSQL's own user may pass through."""
    folder = Path(tempfile.mkdtemp(prefix="faults-", dir="/tmp"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def add_webhook(site: Site) -> None:
    hook = {"kind": "webhook", "url": f"{site.receiver.url}{HOOK}", "event_types": ["*"]}
    site.receiver.trust(site.platform.request("POST", "/api/v1/subscriptions", hook)["secret"])


@contextmanager
def site(**environ: str) -> Iterator[Site]:
    """The ordinary one: PostgreSQL, Redis, and the platform as `make run` starts it; `environ` is added to its own."""
    with ExitStack() as stack:
        folder = stack.enter_context(folder_of_a_site())
        postgres = PostgreSQL(folder / "postgres", port=free_port())
        stack.callback(postgres.kill)
        postgres.initialize()
        redis = Redis(folder / "redis", port=free_port())
        stack.callback(redis.kill)
        redis.start()
        servers = {"DATABASE_URL": postgres.url(), "REDIS_URL": redis.url()}
        platform = Platform(folder, port=free_port(), environ={**servers, **_QUIET, **environ})
        stack.callback(platform.stop)
        platform.start()
        made = Site(
            folder=folder, stack=stack, postgres=postgres, redis=redis, platform=platform,
            receiver=stack.enter_context(receiving()),
        )  # fmt: skip
        add_webhook(made)
        yield made
