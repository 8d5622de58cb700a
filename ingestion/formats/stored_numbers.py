"""Numbers as jsonb prints them: without an exponent, so `1e308` comes back with 309 digits. Pure."""

import re

# Nearly every text has no such run, and costs no more than looking for it.
_ZEROS = "0" * 24
# A string, so that what looks like a number in it stays as it is, or a number. jsonb prints no exponents.
_PARTS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|-?[0-9]+(?:\.[0-9]+)?')


def with_exponents(text: str) -> str:
    """JSON text of the same value in which many zeros at an end of a number are an exponent.

    What was sent with an exponent becomes at most some twenty characters longer than it was.
    """
    return _PARTS.sub(_shortened, text) if _ZEROS in text else text


def _shortened(match: re.Match[str]) -> str:
    part = match[0]
    if _ZEROS not in part or part[0] == '"':
        return part
    whole, _, fraction = part.partition(".")
    sign = "-" * (whole[0] == "-")
    if not fraction:
        digits = whole.rstrip("0")
        return f"{digits}e{len(whole) - len(digits)}"
    digits = fraction.lstrip("0")
    if whole.lstrip("-") != "0" or len(fraction) - len(digits) < len(_ZEROS):
        return part
    return f"{sign}{digits or '0'}e-{len(fraction)}"
