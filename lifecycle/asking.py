"""What a command asks a person before it does what nobody can take back."""

import sys

from django.core.management.base import CommandError


def confirm(question: str, *, answer: str, otherwise: str) -> None:
    """Go on only when the person types `answer`. Else a CommandError: `otherwise`, which says that nothing was done.

    Without a terminal nobody is there to ask, and the command must have been told by its option `--yes`.
    """
    if not sys.stdin.isatty():
        raise CommandError(f"{otherwise} There is no terminal to ask at: give --yes to go on without a question.")
    try:
        given = input(question)
    except EOFError:
        given = ""
    if given != answer:
        raise CommandError(otherwise)
