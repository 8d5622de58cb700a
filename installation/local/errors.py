"""What can go wrong at the start, said in one line."""

UNSUITABLE = 2


class UpError(Exception):
    """The platform cannot start or run; the message says what to do.

    `status` is the exit status of the command: 2 for a bad setting, 1 for everything else.
    """

    def __init__(self, message: str, *, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


class StopRequested(Exception):  # noqa: N818 - a request, not an error
    """A signal asked the command to stop while it was still starting."""


def setting_error(error: Exception) -> UpError:
    """One line for what a settings module raised, with the exit status for bad settings."""
    return UpError(f"Bad setting: {' '.join(str(error).split())}", status=UNSUITABLE)
