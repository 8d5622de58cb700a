"""JSON as people and programs write it: the kinds of text that JSONTestSuite (github.com/nst/JSONTestSuite) lists."""

from typing import Any

from hypothesis import strategies as st

# Each is taken, and comes back as the same text.
TEXTS = (
    # values by themselves, and white space around and within
    "null", "true", "false", "42", "-0.1", '"asd"', '""', "[]", "{}", " [] ", '["a"]\n', "\t [ 1 , 2 , 3 ]", "[1\n]",
    '{\r\n\t"a": "b"\r\n}', "[[]   ]", '["hello", "bye",true , false,    null]', "[null,1,\"1\",{}]",
    # numbers
    "0", "-0", "-0.0", "1", "1.0", "1.10", "-1", "1e2", "1E+2", "1E-2", "0e1", "0e+1", "20e1", "123.456e-142", "1E22",
    "100000000000000000000", "123456789012345678901234567890", "-237462374673276894279832749832423479823246327846",
    "0.1000000000000000055511151231257827", "-0.000000000000000000000000000000000000000000000000000000000000000001",
    "1000000000000000000000000000000", "1.7976931348623157e308", "1e308", "5e-324", "1e-400", "123.456e-789",
    "123e-10000000", "0.0001e311", "0." + "0" * 500 + "1", "1" * 300, "[" + "0." + "3" * 20_000 + "]",
    '{ "min": -1.0e+28, "max": 1.0e+28 }',
    # strings, and what looks like something else in them
    r'"\"\\\/\b\f\n\r\t"', r'"\u0041\u00e9\u12AB"', '"é€𝄞"', r'"\ud834\udd1e"', r'"\uDBFF\uDFFF"', r'"\uFFFF"',
    '"\u2028\u2029"', '"\x7f"', '"\U0010ffff"', r'"\\u0000"', r'"\\a"', '"a/*b*/c//d"', '"  spaces  "', '"\ufeff"',
    '"1e999"', '"' + "9" * 500 + '"', '"=1+1"', "\"'\"", '"<script>&amp;"', '"[{"', r'["\"", "\"]"]',
    # members: in this order, repeated, escaped, empty
    '{"b":1,"a":2}', '{"a":"b","a":"c"}', '{"a":"b","a":"b"}', '{"a":1,"\\u0061":2}', '{"":0}', '{" ":{"":{}}}',
    '{"1":{},"10":{},"2":{}}', '{"x":[{"id": "' + "x" * 40 + '"}], "id": "' + "x" * 40 + '"}', '{"data":{"type":1}}',
    "[" * 64 + "]" * 64,
)  # fmt: skip

_SPACE = st.sampled_from(["", "", "", " ", "  ", "\n", "\r\n\t"])
_NUMBERS = st.from_regex(
    r"-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,2})?", fullmatch=True
) | st.from_regex(r"-?(0|[1-9][0-9]{0,9})(\.[0-9]{1,9})?[eE]-[0-9]{3,6}", fullmatch=True)
_LITERAL = st.text(st.characters(exclude_characters='"\\\x00', min_codepoint=32, exclude_categories=["Cs"]), max_size=9)
_ESCAPE = st.sampled_from(
    [r"\"", r"\\", r"\/", r"\b", r"\f", r"\n", r"\r", r"\t", r"\u00E9", r"\ud83d\ude00", r"\\u0000"]
)
_STRINGS = st.lists(_LITERAL | _ESCAPE, max_size=4).map(lambda parts: f'"{"".join(parts)}"')


def _spaced(before: str, items: list[str], after: str) -> Any:
    return st.tuples(*[_SPACE for _ in range(len(items) + 1)]).map(
        lambda spaces: (
            before + ",".join(space + item for space, item in zip(spaces, items, strict=False)) + spaces[-1] + after
        )
    )


def _containers(inner: Any) -> Any:
    # Few names, so that they repeat.
    name = st.sampled_from(['"a"', r'"\u0061"', '"b"']) | _STRINGS
    members = st.lists(st.tuples(name, _SPACE, inner).map(lambda parts: f"{parts[0]}:{parts[1]}{parts[2]}"), max_size=4)
    return members.flatmap(lambda found: _spaced("{", found, "}")) | st.lists(inner, max_size=4).flatmap(
        lambda found: _spaced("[", found, "]")
    )


JSON_TEXTS = st.recursive(st.sampled_from(["null", "true", "false"]) | _NUMBERS | _STRINGS, _containers, max_leaves=12)


def without_space_at_the_ends(text: str) -> str:
    """What a reader gets of a text: line breaks and tabs, which cannot be in strings, may go as well."""
    return text.translate({ord(each): None for each in "\n\r\t"}).strip(" ")
