"""Requests with events in every format, and how to damage them."""

import random

Headers = dict[str, str]
NATIVE = (
    b'{"type":"invoice.paid","data":{"amount":12900,"lines":[1,-2.5e3,true,null,"\\u00e4\\\\\\""]},"source":"/billing",'
    b'"subject":"inv_1","time":"2026-11-23T10:00:00Z","idempotency_key":"inv_1-paid"}'
)
PLAIN = b'{"type":"t","data":"\xc3\xa4\xf0\x9f\x98\x80","source":null}'
CLOUDEVENT = (
    b'{"specversion":"1.0","id":"1","source":"/a","type":"t","subject":null,"time":"2026-11-23T10:00:00+01:00",'
    b'"datacontenttype":"application/json","ext":5,"flag":true,"data":{"a":[1,"x"]}}'
)
BYTES = b'{"specversion":"1.0","id":"2","source":"/a","type":"t","data_base64":"AAECAw==","text":"x"}'
BINARY = {
    "content-type": "application/json", "ce-specversion": "1.0", "ce-id": "1", "ce-source": "/a", "ce-type": "t",
    "ce-time": "2026-11-23T10:00:00Z", "ce-subject": "Euro%20%E2%82%AC", "ce-ext": '"quoted \\" text"',
}  # fmt: skip
JSON = {"content-type": "application/json"}
SINGLES: list[tuple[Headers, bytes]] = [
    (JSON, NATIVE),
    (JSON, PLAIN),
    ({**JSON, "idempotency-key": "k"}, PLAIN),
    ({"content-type": "application/cloudevents+json"}, CLOUDEVENT),
    ({"content-type": "application/cloudevents+json; charset=utf-8"}, BYTES),
    (BINARY, b'{"a":[1,2.5,"\\u00e4"]}'),
    ({**BINARY, "content-type": "text/plain"}, b"plain \xc3\xa4 text"),
    ({**BINARY, "content-type": "image/png"}, b"\x89PNG\x00"),
]
BATCHES: list[tuple[Headers, bytes]] = [
    (JSON, b'{"events":[%s,%s]}' % (NATIVE, PLAIN)),
    (JSON, b"[%s,%s]" % (PLAIN, NATIVE)),
    ({"content-type": "application/x-ndjson"}, b"%s\n%s\r\n\n%s" % (NATIVE, PLAIN, PLAIN)),
    ({"content-type": "application/cloudevents-batch+json"}, b"[%s,%s]" % (CLOUDEVENT, BYTES)),
]
BODIES = [body for _, body in SINGLES + BATCHES]
# What parsers and databases stumble over.
TOKENS = [
    b"\x00", b"\\u0000", b"\\ud800", b"\\udc00", b"\\", b'"', b"{", b"}", b"[", b"]", b",", b":", b"\n", b"\xff",
    b"\xc0\xa0", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"\x7f", b"1e999", b"1e309", b"-0", b"01", b"NaN",
    b"9" * 500, b"Infinity", b"null", b"true", b"//", b" " * 300, b"[" * 70 + b"]" * 70, b"[" * 2000,
    b'"type":"u",', b'"data":1,', b'"x":1,', b'"id":"2",', b'"\\u0074ype":"t",', b'"events":[],',
    b"0001-01-01T00:00:00+14:00", b"9999-12-31T23:59:59-14:00",
]  # fmt: skip
VALUES = [
    "application/json", "application/cloudevents+json", "text/plain", "text/plain; charset=utf-16", "image/png",
    "", "%", "%00", "%C0%A0", "%ED%A0%80", "é", '"', '"\\', "1.0", "x" * 300, "0001-01-01T00:00:00%2B14:00", "a b",
    "\x00", "k",
]  # fmt: skip
NAMES = [
    *BINARY,
    "ce-a_b",
    "ce-data",
    "ce-data_base64",
    "ce-datacontenttype",
    "ce-",
    "ce-new",
    "idempotency-key",
    "ce-dataschema",
]


def mutate(body: bytes, chance: random.Random) -> bytes:
    """The body after one to four byte flips, insertions, deletions, doublings, exchanges or splices of other bodies."""
    for _ in range(chance.randint(1, 4)):
        start = chance.randint(0, len(body))
        end = start + chance.randint(0, 40)
        token = chance.choice(TOKENS)
        body = chance.choice(
            (
                body[:start] + bytes([chance.randrange(256)]) + body[start + 1 :],
                body[:start] + token + body[start:],
                body[:start] + token + body[end:],
                body[:start] + body[end:],
                body[:end] + body[start:],
                body[:start],
                body.replace(b'"', token, 1),
                body.replace(b'{"', b"{" + token + b'"', 1),
                body[:start] + chance.choice(BODIES)[start:],
            )
        )
    return body


def mutate_headers(headers: Headers, chance: random.Random) -> Headers:
    changed = dict(headers)
    if chance.random() < 0.3:
        changed[chance.choice(NAMES)] = chance.choice(VALUES)
    if chance.random() < 0.1:
        changed.pop(chance.choice(list(changed)))
    if chance.random() < 0.1:
        changed = dict(chance.choice(SINGLES + BATCHES)[0])
    return changed
