"""Names of accounts: no two that people could take for each other.

A new name is kept as RFC 8265 has user names compared (UsernameCaseMapped: small letters, one form of each character),
is written in one script, and is no address. PostgreSQL holds that no two differ by case alone.
"""

import re
from unicodedata import normalize

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db.models import Q

# For forms.
HELP = "Letters and digits of one script, and . _ - + behind the first. It is kept in small letters."
_LONGEST = 150
_FIRST = re.compile(r"\w")
# Of several scripts, by what they are written with (UTS 39, section 5.1).
_TOGETHER = (
    frozenset({"HAN", "HIRAGANA", "KATAKANA"}),
    frozenset({"HAN", "HANGUL"}),
    frozenset({"HAN", "BOPOMOFO"}),
)
# Of every script: digits, signs, marks.
_OF_ALL = frozenset({"COMMON", "INHERITED"})


def find_user(typed: str) -> User | None:
    """Who is meant at a sign-in page: by the name, without case where only one has it so; else by the e-mail address.

    An address that several accounts share is nobody's. It takes the same two queries whatever there is.
    """
    named = list(User.objects.filter(Q(username__iexact=typed) | Q(username=typed.lower())).order_by("pk")[:3])
    addressed = list(User.objects.filter(email__iexact=typed).order_by("pk")[:2])
    # Two accounts whose names differ by case alone may be from before that was refused.
    exact = [user for user in named if user.username == typed]
    for found in (exact, named, addressed):
        if len(found) == 1:
            return found[0]
    return None


def free_user_name(typed: str, *, but: User | None = None) -> str:
    """The name as it will be kept, when nobody has it or one like it. Raises ValidationError.

    Who comes at the same moment is held off by the database: IntegrityError. `but` is the account that is renamed.
    """
    name = as_user_name(typed)
    others = User.objects.exclude(pk=but.pk) if but else User.objects.all()
    if others.filter(username__iexact=name).exists():
        raise ValidationError("Somebody has this name already, or one that looks like it. Choose another one.")
    return name


def odd_names(*, most: int) -> list[str]:
    """Names from before the rules, among the oldest `most` accounts: those that a new account could not have."""
    odd: list[str] = []
    seen: set[str] = set()
    for name in User.objects.order_by("pk").values_list("username", flat=True)[:most]:
        small = name.lower()
        try:
            # Large letters are no fault of a name that was made when they were kept.
            is_odd = small in seen or as_user_name(name) != small
        except ValidationError:
            is_odd = True
        if is_odd:
            odd.append(name)
        seen.add(small)
    return odd


def as_user_name(typed: str) -> str:
    """The form in which a name is kept. Raises ValidationError, which says what to change."""
    from confusable_homoglyphs import categories  # noqa: PLC0415 - with its tables 17 MiB, which few processes need
    from precis_i18n import get_profile  # noqa: PLC0415 - likewise

    try:
        name = str(get_profile("UsernameCaseMapped").enforce(normalize("NFKC", typed[:_LONGEST])))
    except UnicodeEncodeError as error:
        raise ValidationError("A user name has letters, digits and . _ - + only.") from error
    if "@" in name:
        raise ValidationError("An address is no user name. One can sign in by the account's e-mail address as well.")
    if not _FIRST.match(name):
        raise ValidationError("A user name begins with a letter or a digit.")
    scripts = categories.unique_aliases(name) - _OF_ALL
    if len(scripts) > 1 and not any(scripts <= together for together in _TOGETHER):
        raise ValidationError("A user name is written in one script: letters of several look like each other.")
    if scripts and "LATIN" not in scripts and _looks_latin(name):
        raise ValidationError("All letters of this name look like those of another script. Choose another one.")
    return name


def _looks_latin(name: str) -> bool:
    """Such as the Cyrillic `асе`: one script, and nobody sees which."""
    from confusable_homoglyphs import categories, confusables  # noqa: PLC0415 - likewise

    letters = {character for character in name if categories.alias(character) not in _OF_ALL}
    found = confusables.is_confusable(name, greedy=True, preferred_aliases=["latin"]) or []
    alike = {each["character"] for each in found if any(other["c"].isascii() for other in each["homoglyphs"])}
    return letters <= alike
