"""Which version of the platform this is."""

VERSION = "0.1.0"


def revision() -> str:
    """The commit that runs, or "unknown"."""
    return "unknown"
