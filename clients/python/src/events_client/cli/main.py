"""`evp`: the Events Platform from a terminal. Exit status: 0, 1 refused, 2 wrong usage, 3 not reachable."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from events_client.cli import account, events, listening, sending, subscriptions, types
from events_client.cli.output import NOT_REACHABLE, REFUSED, USAGE
from events_client.errors import (
    ConfigurationError,
    EventsClientError,
    InvalidEventError,
    NotReachableError,
    ProblemError,
    WebhookVerificationError,
)
from events_client.version import VERSION

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Send events, look at them, and have them forwarded to this machine.\n\n"
    "Begin with `evp login`, or set EVP_URL and EVP_API_KEY. Exit status: 0 well, 1 refused (the problem's code is on"
    " standard error), 2 wrong usage, 3 not reachable.",
)


def _version(wanted: bool) -> None:  # noqa: FBT001 - called by typer
    if wanted:
        typer.echo(f"evp {VERSION}")
        raise typer.Exit


@app.callback()
def choose(
    profile: Annotated[
        str | None, typer.Option(envvar="EVP_PROFILE", help="The profile of `evp login` to use.", metavar="NAME")
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and end.")
    ] = False,
) -> None:
    """What all commands have."""


app.command()(account.login)
app.command()(sending.send)
app.add_typer(events.app, name="events")
app.command()(listening.listen)
app.command()(subscriptions.replay)
app.add_typer(subscriptions.dead_letters, name="dead-letters")
app.add_typer(subscriptions.app, name="subscriptions")
app.add_typer(types.app, name="types")
app.command()(account.verify)
app.command()(account.doctor)


def main() -> None:
    """Run `evp` and end the process with its status."""
    try:
        app(prog_name="evp")
    except (ConfigurationError, InvalidEventError) as error:
        _end(USAGE, str(error))
    except NotReachableError as error:
        _end(NOT_REACHABLE, f"not_reachable: {error}")
    except WebhookVerificationError as error:
        _end(REFUSED, f"not_genuine: {error}")
    except ProblemError as error:
        _end(REFUSED, f"{error}{_advice(error)}")
    except EventsClientError as error:
        _end(REFUSED, str(error))
    except BrokenPipeError:
        # Whoever reads has enough: `evp events list | head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _end(status: int, text: str) -> None:
    sys.stderr.write(f"evp: {text}\n")
    sys.exit(status)


def _advice(error: ProblemError) -> str:
    if error.status == 401:
        return "\nThe key is not taken: `evp login` with another one, or set EVP_API_KEY."
    if error.code == "insufficient_scope":
        return "\nIssue a key with this scope in the console, then `evp login`."
    return ""


if __name__ == "__main__":
    main()
