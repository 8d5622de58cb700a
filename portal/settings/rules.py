"""Which colours, logos and origins a portal may have."""

import re
from urllib.parse import urlsplit

from django.core.exceptions import ValidationError

MAX_ORIGINS = 20
# Links stand on these (static/platform.css): the darkest of the light grounds, and the lightest of the dark ones.
_LIGHT_GROUND, _DARK_GROUND = "#e9effc", "#1e2c4d"
# Of text (WCAG 2.2, 1.4.3).
_READABLE = 4.5
_COLOR = re.compile(r"#[0-9a-fA-F]{6}")
_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_HOST = rf"{_LABEL}(\.{_LABEL})*"
# `*.example.com` is for one's own subdomains: a wildcard above two labels could be everybody's.
_ORIGIN = re.compile(
    rf"(https://({_HOST}|\*\.{_LABEL}(\.{_LABEL})+)|http://(localhost|127\.0\.0\.1))(:[1-9][0-9]{{0,4}})?"
)
_LOGO = re.compile(rf"https://{_HOST}(:[1-9][0-9]{{0,4}})?/[\x21-\x7e]*")


def check_origin(text: str) -> None:
    if not _ORIGIN.fullmatch(text):
        raise ValidationError(
            f"{text[:100]} is no origin: scheme and host in lower case, without a path, such as https://app.example.com."
        )


def check_logo_url(text: str) -> None:
    if not _LOGO.fullmatch(text):
        raise ValidationError("Give the https address of an image, with a host name in lower case.")


def check_accent(color: str) -> None:
    _check_color(color, _LIGHT_GROUND, "darker")


def check_accent_dark(color: str) -> None:
    _check_color(color, _DARK_GROUND, "lighter")


def ink_on(color: str) -> str:
    """Black or white, whichever is read more easily on it."""
    return max("#000000", "#ffffff", key=lambda ink: contrast(color, ink))


def contrast(one: str, other: str) -> float:
    """Of two colours `#rrggbb`, from 1 to 21 (WCAG 2.2, "contrast ratio")."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def origin_of(url: str) -> str:
    """The part of a logo's address that a content security policy can hold whatever the rest is."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _check_color(color: str, ground: str, way_out: str) -> None:
    if not _COLOR.fullmatch(color):
        raise ValidationError("A colour is # and six digits of 0-9 and a-f, such as #2f5bd0.")
    if (found := contrast(color, ground)) < _READABLE:
        raise ValidationError(
            f"Text in this colour is hard to read: the contrast is {found:.1f}, and {_READABLE} is the least."
            f" Choose a {way_out} one."
        )


def _luminance(color: str) -> float:
    red, green, blue = (_linear(int(color[start : start + 2], 16) / 255) for start in (1, 3, 5))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _linear(part: float) -> float:
    return part / 12.92 if part <= 0.04045 else float(((part + 0.055) / 1.055) ** 2.4)
