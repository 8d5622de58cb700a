"""Webhooks reach public addresses only, and the address that was vetted is the address that is connected."""

import asyncio
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from yarl import URL

from core import bounds
from core.problems import Problem
from delivery.attempt_errors import AttemptError
from delivery.webhooks.guard import (
    MAX_ADDRESSES,
    GuardedResolver,
    NetworkPolicy,
    UnsafeUrl,
    _look_ups,
    check_destination,
    check_url,
    guarded_socket,
)
from delivery.webhooks.name_service import LookUp, SocketAddress
from delivery.webhooks.sending import AttemptResult, WebhookSender
from delivery.webhooks.webhook_requests import WebhookRequest
from rest.doors.threads import in_place
from tests.support.http.raw_endpoint import answering
from tests.support.http.receiver import receiving

PUBLIC = NetworkPolicy(allow_http=True)
LOOPBACK = NetworkPolicy(allow_http=True, allow=(ip_network("127.0.0.1/32"),))
SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SOMEWHERE = "93.184.215.14"
FIXED = examples(max_examples=200, derandomize=True, deadline=None, database=None)

HOSTILE_URLS = [
    # loopback, in every notation that some resolver understands
    "http://127.0.0.1/",
    "http://127.0.0.2:8000/",
    "http://127.255.255.254/",
    "http://127.1/",
    "http://127.0.1/",
    "http://2130706433/",
    "http://017700000001/",
    "http://0177.0.0.1/",
    "http://0177.0.0.01/",
    "http://0x7f.1/",
    "http://0x7f.0x0.0x0.0x1/",
    "http://0x7f000001/",
    "http://0x/",
    "http://127.0.0.1./",
    "http://127.0.0.01/",
    "http://00000127.0.0.1/",
    "http://127.0.0.1.2/",
    "http://256.256.256.256/",
    "http://1/",
    "http://localhost/",
    "http://LOCALHOST/",
    "http://localhost./",
    "http://a.localhost/",
    "http://[::1]/",
    "http://[0:0:0:0:0:0:0:1]/",
    "http://[0000:0000:0000:0000:0000:0000:0000:0001]/",
    # unspecified, broadcast
    "http://0.0.0.0/",
    "http://0/",
    "http://0.1.2.3/",
    "http://[::]/",
    "http://255.255.255.255/",
    # private, link-local, CGNAT
    "http://10.0.0.1/",
    "http://10.255.255.255/",
    "http://172.16.0.1/",
    "http://172.31.255.255/",
    "http://192.168.1.1/",
    "http://169.254.1.1/",
    "http://100.64.0.1/",
    "http://100.127.255.255/",
    "http://[fc00::1]/",
    "http://[fd12:3456:789a::1]/",
    "http://[fe80::1]/",
    "http://[fe80::1%25eth0]/",
    "http://[fe80::1%eth0]/",
    "http://[fec0::1]/",
    # cloud metadata
    "http://169.254.169.254/latest/meta-data/",
    "http://169.254.169.253/",
    "http://2852039166/",
    "http://0xa9fea9fe/",
    "http://[fd00:ec2::254]/",
    "http://[fd20:ce::254]/",
    "http://100.100.100.200/",
    "http://168.63.129.16/",
    "http://192.0.0.192/",
    "http://metadata.google.internal/computeMetadata/v1/",
    # IPv4 in IPv6
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/",
    "http://[::ffff:93.184.215.14]/",
    "http://[::127.0.0.1]/",
    "http://[::ffff:0:127.0.0.1]/",
    "http://[2002:7f00:1::]/",
    "http://[2002:a9fe:a9fe::1]/",
    "http://[64:ff9b::127.0.0.1]/",
    "http://[64:ff9b::a9fe:a9fe]/",
    "http://[64:ff9b:1::1]/",
    "http://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/",
    "http://[2600::5efe:127.0.0.1]/",
    # multicast, reserved, documentation, benchmarking
    "http://224.0.0.1/",
    "http://239.255.255.250/",
    "http://240.0.0.1/",
    "http://192.0.0.1/",
    "http://192.0.2.1/",
    "http://198.18.0.1/",
    "http://198.51.100.7/",
    "http://203.0.113.9/",
    "http://192.88.99.1/",
    "http://[ff02::1]/",
    "http://[2001:db8::1]/",
    "http://[3fff::1]/",
    "http://[100::1]/",
    "http://[4000::1]/",
    # the same in other letters
    "http://127。0。0。1/",
    "http://１２７.０.０.１/",
    "http://①②⑦.⓪.⓪.①/",
    "http://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ/",
    "http://loc\u00adalhost/",
    "http://loc\u200balhost/",
    "http://０x7f.1/",
    "http://%31%32%37.0.0.1/",
    "http://127%2e0%2e0%2e1/",
    "http://example.com%00.127.0.0.1/",
    # what two parsers read differently
    "http://user@127.0.0.1/",
    "http://user:password@example.com/",
    "http://@example.com/",
    "http://example.com@127.0.0.1/",
    "http://127.0.0.1\\@example.com/",
    "http://example.com\\.evil.example/",
    "http:\\\\127.0.0.1/",
    "http:/127.0.0.1/",
    "http:127.0.0.1/",
    "http:///127.0.0.1/",
    "//127.0.0.1/",
    "127.0.0.1",
    "http://",
    "http://:80/",
    "http://?x",
    "http://#@127.0.0.1/",
    "",
    " http://example.com/",
    "http://exam ple.com/",
    "http://example.com/\r\nX-Injected: 1",
    "http://exa\tmple.com/",
    "http://example.com/\x00",
    "http://example.com/\x7f",
    "http://example.com/\u2028",
    "http://example.com/\ud800",
    "http://[127.0.0.1]/",
    "http://[v1.a]/",
    "http://[::1/",
    "http://::1/",
    "http://example.com:0/",
    "http://example.com:/",
    "http://example.com:65536/",
    "http://example.com:-1/",
    "http://example.com:+80/",
    "http://example.com:８０/",
    "http://example.com:80:80/",
    # not a public web server
    "ftp://example.com/",
    "file:///etc/passwd",
    "gopher://example.com:6379/_FLUSHALL",
    "unix:///var/run/docker.sock",
    "javascript:alert(1)",
    "ws://example.com/",
    "httpſ://example.com/",
    "http://example.com./",
    "http://example..com/",
    "http://.example.com/",
    "http://-example.com/",
    "http://*.example.com/",
    "http://exam!ple.com/",
    "http://" + "a" * 64 + ".com/",
    "http://" + "a." * 130 + "com/",
    "http://example.com/" + "a" * 2048,
    "http://example.com/" + "é" * 1000,
    "http://printer/",
    "http://db.internal/",
    "http://nas.local/",
    "http://router.home.arpa/",
]

ACCEPTED_URLS = [
    ("https://example.com", "https://example.com/"),
    ("HTTPS://Example.COM:8443/Hook?x=1", "https://example.com:8443/Hook?x=1"),
    ("https://bücher.example/", "https://xn--bcher-kva.example/"),
    ("https://ｅｘａｍｐｌｅ.com/", "https://example.com/"),
    ("https://93.184.215.14/hook", "https://93.184.215.14/hook"),
    ("https://[2606:2800:220:1::1]:8443/", "https://[2606:2800:220:1::1]:8443/"),
    ("https://my_hooks.example.com/a%2Fb", "https://my_hooks.example.com/a%2Fb"),
    ("http://example.com/hook", "http://example.com/hook"),
]


def answers(*addresses: str) -> LookUp:
    """A name service that gives the same addresses for every name."""

    async def look_up(host: str, port: int) -> list[SocketAddress]:
        return [socket_answer(address, port) for address in addresses]

    return look_up


def socket_answer(address: str, port: int) -> SocketAddress:
    if ":" in address:
        host, _, zone = address.partition("%")
        return (host, port, 0, int(zone or 0))
    return (address, port)


def socket_info(address: str) -> tuple[Any, ...]:
    """As the connector hands it to its socket factory."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return (family, socket.SOCK_STREAM, 6, "", socket_answer(address, 80))


def send(url: str, policy: NetworkPolicy, look_up: LookUp | None = None) -> AttemptResult:
    async def go() -> AttemptResult:
        resolver = GuardedResolver(policy, look_up=look_up)
        async with WebhookSender(policy=policy, resolver=resolver, timeout_seconds=5) as sender:
            return await sender.send(WebhookRequest(url=url, headers={}, body=b"{}"))

    return asyncio.run(go())


@pytest.mark.parametrize(("url", "requested"), ACCEPTED_URLS)
def test_it_works(url: str, requested: str) -> None:
    assert str(check_url(url, PUBLIC)) == requested


@pytest.mark.parametrize("url", HOSTILE_URLS)
def test_hostile_url_is_refused(url: str) -> None:
    with pytest.raises(UnsafeUrl) as refused:
        check_url(url, PUBLIC)
    assert refused.value.reason.endswith(".")


def test_hostile_url_is_refused_at_the_request_too() -> None:
    """A URL may have been stored when the rules were others. Whatever answers on this machine is never asked."""

    async def go() -> list[AttemptResult]:
        async with WebhookSender(policy=PUBLIC) as sender:
            requests = [WebhookRequest(url=url, headers={}, body=b"") for url in HOSTILE_URLS]
            return await asyncio.gather(*map(sender.send, requests))

    results = asyncio.run(go())
    assert {result.error for result in results} == {AttemptError.UNSAFE_ADDRESS}
    assert {result.status for result in results} == {None}


def test_plain_http_is_refused_unless_allowed() -> None:
    with pytest.raises(UnsafeUrl):
        check_url("http://example.com/", NetworkPolicy())
    check_url("https://example.com/", NetworkPolicy())


@pytest.mark.parametrize(
    "target",
    [
        "/a%2Fb%3Ac%2f",
        "/it's/../not/./this?q=%41'",
        "/hook?",
        "/hook?a=1&sig=a%2Bb%3D+/=&b[]=x|y,;:@!$()*~",
        "//double//",
        "/%E4%BD%A0?q=%7a",
    ],
)
def test_path_and_query_are_sent_as_they_are_written(target: str) -> None:
    heads: list[bytes] = []
    with answering(lambda: iter([b"HTTP/1.1 204 No Content\r\n\r\n"]), heads=heads) as address:
        check_destination(f"{address}{target}", LOOPBACK, look_up=answers("127.0.0.1"))
        result = send(f"{address}{target}", LOOPBACK)
    assert result.delivered, result.detail
    assert heads[0].split(b"\r\n")[0] == f"POST {target} HTTP/1.1".encode()


@pytest.mark.parametrize(("end", "target"), [("", "/"), ("?", "/?"), ("?sig=%2F", "/?sig=%2F")])
def test_a_url_without_a_path_is_sent_with_the_least_that_http_needs(end: str, target: str) -> None:
    heads: list[bytes] = []
    with answering(lambda: iter([b"HTTP/1.1 204 No Content\r\n\r\n"]), heads=heads) as address:
        send(f"{address}{end}", LOOPBACK)
    assert heads[0].split(b"\r\n")[0] == f"POST {target} HTTP/1.1".encode()


def test_an_international_name_is_sent_in_ascii() -> None:
    heads: list[bytes] = []
    with answering(lambda: iter([b"HTTP/1.1 204 No Content\r\n\r\n"]), heads=heads) as address:
        result = send(address.replace("127.0.0.1", "bücher.example") + "/a%2F", LOOPBACK, answers("127.0.0.1"))
    assert result.delivered, result.detail
    assert b"\r\nHost: xn--bcher-kva.example:" in heads[0]


@pytest.mark.parametrize(
    ("end", "named"),
    [
        ("/grün?ü=ß", "ü ß"),
        ("/a#b", "#"),
        ('/"<>^`{}', '" < > ^ ` { }'),
        ("/100%", "%"),
        ("/?q=%2", "%"),
        ("/?q=%g0&r=%0g", "%"),
    ],
)
def test_what_may_not_stand_in_a_url_is_named_when_it_is_stored(end: str, named: str) -> None:
    with pytest.raises(UnsafeUrl) as refused:
        check_destination(f"https://bücher.example{end}", PUBLIC, look_up=answers(SOMEWHERE))
    assert f"must be percent-encoded: {named}." in refused.value.reason
    assert ("Two hexadecimal digits follow a %." in refused.value.reason) == (named == "%")


def test_a_refusal_names_a_few_characters_of_many() -> None:
    url = "https://example.com/" + "".join(map(chr, range(0x4E00, 0x4E00 + 500)))
    with pytest.raises(UnsafeUrl) as refused:
        check_destination(url, PUBLIC, look_up=answers(SOMEWHERE))
    assert len(refused.value.reason) < 100


def test_a_url_of_before_such_characters_were_refused_is_sent_as_it_was() -> None:
    heads: list[bytes] = []
    with answering(lambda: iter([b"HTTP/1.1 204 No Content\r\n\r\n"]), heads=heads) as address:
        result = send(f"{address}/grün?a=<b>#c", LOOPBACK)
    assert result.delivered, result.detail
    assert heads[0].startswith(b"POST /gr%C3%BCn?a=%3Cb%3E HTTP/1.1\r\n")


# --- Names ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["10.1.2.3"],
        ["169.254.169.254"],
        ["::1"],
        ["::ffff:10.0.0.1"],
        ["fe80::1%2"],
        ["2606:2800:220:1::1%2"],
        [SOMEWHERE, "10.1.2.3"],
        ["10.1.2.3", SOMEWHERE],
        [SOMEWHERE, "2606:2800:220:1::1", "64:ff9b::10.1.2.3"],
        ["not an address"],
    ],
    ids=" ".join,
)
def test_name_with_one_refused_address_is_refused(addresses: list[str]) -> None:
    result = send("http://hooks.example.com/", PUBLIC, answers(*addresses))
    assert result.error is AttemptError.UNSAFE_ADDRESS
    assert not any(address.partition("%")[0] in result.detail for address in addresses)
    with pytest.raises(UnsafeUrl):
        check_destination("http://hooks.example.com/", PUBLIC, look_up=answers(*addresses))


def test_name_that_turns_private_after_it_was_stored_is_refused() -> None:
    """DNS rebinding between creation and request."""
    turns = iter([[SOMEWHERE], ["127.0.0.1"]])

    async def rebinding(host: str, port: int) -> list[SocketAddress]:
        return [socket_answer(address, port) for address in next(turns)]

    with receiving(SECRET) as receiver:
        url = receiver.url.replace("127.0.0.1", "hooks.example.com") + "/ok"
        check_destination(url, PUBLIC, look_up=rebinding)
        assert send(url, PUBLIC, rebinding).error is AttemptError.UNSAFE_ADDRESS
    assert receiver.received == []


def test_vetted_address_is_the_one_connected() -> None:
    """DNS rebinding between vetting and connecting: the name is asked once, and its answer used."""
    asked = []

    async def rebinding(host: str, port: int) -> list[SocketAddress]:
        asked.append(host)
        return [socket_answer("127.0.0.1" if len(asked) == 1 else "10.0.0.1", port)]

    with receiving(SECRET) as receiver:
        result = send(receiver.url.replace("127.0.0.1", "hooks.example.com") + "/ok", LOOPBACK, rebinding)
    assert (result.delivered, result.remote_address, asked) == (True, "127.0.0.1", ["hooks.example.com"])
    assert receiver.received[0].headers["host"].startswith("hooks.example.com:")


def test_name_without_an_address_is_a_dns_error() -> None:
    async def missing(host: str, port: int) -> list[SocketAddress]:
        raise OSError(None, "Domain name not found")

    assert send("http://hooks.example.com/", PUBLIC, missing).error is AttemptError.DNS
    assert send("http://hooks.example.com/", PUBLIC, answers()).error is AttemptError.DNS
    check_destination("http://hooks.example.com/", PUBLIC, look_up=missing)


def test_public_destination_passes() -> None:
    check_destination("https://hooks.example.com/", PUBLIC, look_up=answers(SOMEWHERE, "2606:2800:220:1::1"))


def test_a_name_with_more_addresses_than_anybody_needs_is_refused() -> None:
    """Each would be vetted, and tried one after another while they refuse."""
    addresses = [f"93.184.{number // 250}.{number % 250 + 1}" for number in range(MAX_ADDRESSES + 1)]
    check_destination("http://hooks.example.com/", PUBLIC, look_up=answers(*addresses[1:]))
    with pytest.raises(UnsafeUrl, match="more than 64 addresses"):
        check_destination("http://hooks.example.com/", PUBLIC, look_up=answers(*addresses))
    result = send("http://hooks.example.com/", PUBLIC, answers(*addresses))
    assert result.error is AttemptError.UNSAFE_ADDRESS


def test_whoever_waits_for_a_name_service_keeps_no_place_from_others() -> None:
    """It may take CHECK_SECONDS. The owner's others wait: it resolves as many names as it has requests in Django."""
    left: list[tuple[bool, bool]] = []
    was_asked = False

    async def look_up(host: str, port: int) -> list[SocketAddress]:
        nonlocal was_asked
        was_asked = True
        return await answers(SOMEWHERE)(host, port)

    with in_place(lambda *, keeps_share: left.append((keeps_share, was_asked))):
        check_destination("http://hooks.example.com/", PUBLIC, look_up=look_up)
    assert left == [(True, False)]
    with _look_ups.hold(size=bounds.MAX_LOOK_UPS), pytest.raises(Problem) as refused:
        check_destination("http://hooks.example.com/", PUBLIC, look_up=look_up)
    assert (refused.value.status_code, refused.value.headers) == (503, {"Retry-After": "1"})


# --- What the operator allows and denies ---------------------------------------------------------------------


def test_allowed_network_is_reached_and_no_more() -> None:
    with receiving(SECRET) as receiver:
        assert send(receiver.url + "/ok", LOOPBACK).delivered
        assert send(receiver.url.replace("127.0.0.1", "localhost") + "/ok", LOOPBACK, answers("127.0.0.1")).delivered
        for host in ("127.0.0.2", "[::ffff:127.0.0.1]", "[::1]", "[::127.0.0.1]", "[64:ff9b::127.0.0.1]", "10.0.0.1"):
            result = send(receiver.url.replace("127.0.0.1", host) + "/ok", LOOPBACK)
            assert (host, result.error) == (host, AttemptError.UNSAFE_ADDRESS)
        for address in ("::1", "::ffff:127.0.0.1", "127.0.0.2"):
            result = send(receiver.url.replace("127.0.0.1", "localhost") + "/ok", LOOPBACK, answers(address))
            assert (address, result.error) == (address, AttemptError.UNSAFE_ADDRESS)
    assert len(receiver.received) == 2


@pytest.mark.parametrize("url", ["http://0x7f.1/", "http://127.1/", "http://2130706433/", "http://0177.0.0.1/"])
def test_allowed_network_must_still_be_written_plainly(url: str) -> None:
    with pytest.raises(UnsafeUrl):
        check_url(url, LOOPBACK)


def test_denied_network_wins_over_allowed_and_public() -> None:
    policy = NetworkPolicy(
        allow=(ip_network("10.0.0.0/8"), ip_network("::/0")),
        deny=(ip_network("10.1.0.0/16"), ip_network("93.184.215.0/24"), ip_network("127.0.0.0/8")),
    )
    allowed = ["10.2.0.1", "93.184.216.1", "fd00::1"]
    denied = ["10.1.0.1", SOMEWHERE, "::ffff:10.1.0.1", "64:ff9b::127.0.0.1", "2002:7f00:1::", "2002:a01:1::1"]
    assert [policy.refusal(ip_address(text)) for text in allowed] == [None] * 3
    assert all(policy.refusal(ip_address(text)) for text in denied)


def test_names_of_private_networks_need_an_allowed_network() -> None:
    policy = NetworkPolicy(allow_http=True, allow=(ip_network("172.18.0.0/16"),))
    check_url("http://receiver:9000/hook", policy)
    check_destination("http://receiver:9000/hook", policy, look_up=answers("172.18.0.5"))
    with pytest.raises(UnsafeUrl):
        check_destination("http://receiver:9000/hook", policy, look_up=answers("172.19.0.5"))


def test_policy_comes_from_the_settings(settings: Any) -> None:
    settings.WEBHOOK_ALLOWED_NETWORKS = [ip_network("127.0.0.1/32")]
    settings.WEBHOOK_DENIED_NETWORKS = [ip_network("10.0.0.0/8")]
    settings.WEBHOOK_ALLOW_HTTP = True
    policy = NetworkPolicy.from_settings()
    assert policy == NetworkPolicy(
        allow=(ip_network("127.0.0.1/32"),), deny=(ip_network("10.0.0.0/8"),), allow_http=True
    )


def test_socket_to_a_refused_address_is_never_made() -> None:
    """The last door, which every connection passes: a literal address does not go through the resolver."""
    for address in ("10.0.0.1", "::1", "::ffff:127.0.0.1"):
        with pytest.raises(UnsafeUrl):
            guarded_socket(LOOPBACK, socket_info(address))
    guarded_socket(LOOPBACK, socket_info("127.0.0.1")).close()


def test_connection_itself_refuses_what_no_check_saw(monkeypatch: pytest.MonkeyPatch) -> None:
    """aiohttp asks no resolver for a literal address."""
    monkeypatch.setattr("delivery.webhooks.sending._checked", lambda url, _: URL(url))
    with receiving(SECRET) as receiver:
        assert send(receiver.url + "/ok", PUBLIC).error is AttemptError.UNSAFE_ADDRESS
        assert send(receiver.url.replace("127.0.0.1", "[::1]") + "/ok", LOOPBACK).error is AttemptError.UNSAFE_ADDRESS
        assert send(receiver.url + "/ok", LOOPBACK).delivered
    assert len(receiver.received) == 1


# --- All addresses -------------------------------------------------------------------------------------------


@FIXED
@given(st.ip_addresses(v=4) | st.ip_addresses(v=6))
def test_only_global_addresses_pass(address: IPv4Address | IPv6Address) -> None:
    """`is_global` of the standard library knows fewer of the refused networks, but none that is not refused here."""
    if PUBLIC.refusal(address) is None:
        assert address.is_global
        assert not address.is_multicast


@FIXED
@given(st.ip_addresses(v=4))
def test_ipv4_address_within_ipv6_never_passes(address: IPv4Address) -> None:
    number = int(address)
    embedded = [
        0xFFFF << 32 | number,
        number,
        0x2002 << 112 | number << 80 | 1,
        0x64FF9B << 96 | number,
        0x2001 << 112 | ~number & 0xFFFFFFFF,
        0x2606_2800 << 96 | 0x5EFE << 32 | number,
    ]
    assert all(PUBLIC.refusal(IPv6Address(value)) for value in embedded)


@FIXED
@given(st.ip_addresses(v=4), st.sampled_from(["{0}", "0x{0:x}", "0{0:o}", "{1}.{2}", "0x{1:x}.{2}", "0{1:o}.{2}"]))
def test_ipv4_address_passes_only_in_its_plain_form(address: IPv4Address, form: str) -> None:
    number = int(address)
    with pytest.raises(UnsafeUrl):
        check_url(f"https://{form.format(number, number >> 24, number & 0xFFFFFF)}/", PUBLIC)


@FIXED
@given(st.text(max_size=60))
def test_any_text_is_a_url_or_refused(text: str) -> None:
    for url in (text, f"https://{text}", f"https://example.com/{text}"):
        try:
            checked = check_url(url, PUBLIC)
        except UnsafeUrl:
            continue
        assert checked.scheme in ("https", "http")
        assert checked.user is None
        assert checked.raw_host is not None
        assert checked.raw_host.isascii()
