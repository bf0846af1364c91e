"""What webhooks may call."""

from __future__ import annotations

import pytest

from server.domain.webhooks.targets import MAX_URL, AllowedHosts, BadTarget, Target, parse_target

#: Addresses that no name may lead to: the hub's own networks, in every spelling that a resolver can give.
PRIVATE = (
    *("127.0.0.1", "127.1.2.3", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1"),
    *("100.64.0.1", "100.127.255.255", "169.254.0.1", "192.0.0.8", "192.0.2.1", "198.18.0.1", "203.0.113.9"),
    *("224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255", "192.88.99.1"),
    *("::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fdff::1", "fec0::1", "ff02::1", "2001:db8::1"),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1", "::ffff:0:10.0.0.1"),
    *(
        "64:ff9b::7f00:1",
        "64:ff9b::808:808",
        "64:ff9b:1::1",
        "2002:7f00:1::",
        "2001::1",
        "3fff::1",
        "5f00::1",
    ),
)
METADATA = ("169.254.169.254", "::ffff:169.254.169.254", "fd00:ec2::254", "100.100.100.200", "168.63.129.16")
PUBLIC = ("8.8.8.8", "1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2a00:1450::1")


@pytest.mark.parametrize("address", [*PRIVATE, *METADATA])
def test_a_private_address_is_refused_whatever_its_form(address: str) -> None:
    assert not AllowedHosts().permits("receiver.example", address, secure=True)


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_called_with_tls_alone(address: str) -> None:
    assert AllowedHosts().permits("receiver.example", address, secure=True)
    assert not AllowedHosts().permits("receiver.example", address, secure=False)


def test_a_named_host_is_called_at_any_address_but_those_of_credentials() -> None:
    allowed = AllowedHosts(["Hooks.Internal", "*.svc.cluster.local"])
    for host in ("hooks.internal", "hooks.internal.", "a.svc.cluster.local", "a.b.svc.cluster.local"):
        assert allowed.permits(host, "10.0.0.1", secure=False), host
        assert not any(allowed.permits(host, address, secure=True) for address in METADATA), host
    for host in ("x.hooks.internal", "svc.cluster.local", "evilsvc.cluster.local", "hooks.internal.evil.com"):
        assert not allowed.permits(host, "10.0.0.1", secure=True), host


def test_a_named_network_is_called_without_tls_too() -> None:
    allowed = AllowedHosts(["10.8.0.0/16", "192.168.1.7", "fd12::/32"])
    for address in ("10.8.0.1", "10.8.255.255", "192.168.1.7", "fd12::1"):
        assert allowed.permits("any.example", address, secure=False), address
    for address in ("10.9.0.1", "192.168.1.8", "fd13::1", "::ffff:10.8.0.1", "127.0.0.1"):
        assert not allowed.permits("any.example", address, secure=True), address
    assert not AllowedHosts(["169.254.0.0/16"]).permits("any.example", "169.254.169.254", secure=False)


@pytest.mark.parametrize(
    "entry", ["*", "10.0.0.0/33", "10.1.2.3/8", "a b", "http://x", "x/y", "*.*.x", "127.1", ""]
)
def test_what_is_allowed_is_a_name_or_a_network(entry: str) -> None:
    with pytest.raises(ValueError, match="must be"):
        AllowedHosts([entry])


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://Receiver.Example", Target(True, "receiver.example", 443, "/")),
        ("https://a.example:8443/x/y?z=1&t=%20", Target(True, "a.example", 8443, "/x/y?z=1&t=%20")),
        ("http://[fd12::1]:80/x", Target(False, "fd12::1", 80, "/x")),
        ("https://a.example?x", Target(True, "a.example", 443, "/?x")),
        ("https://xn--bcher-kva.example./", Target(True, "xn--bcher-kva.example.", 443, "/")),
    ],
)
def test_an_address_is_read_in_parts(url: str, target: Target) -> None:
    assert parse_target(url) == target


@pytest.mark.parametrize(
    "url",
    [
        *(
            "",
            "x",
            "//a.example",
            "ftp://a.example",
            "file:///etc/passwd",
            "https://",
            "https:///x",
            "https://:443/",
        ),
        *(
            "https://u@a.example",
            "https://u:p@a.example",
            "https://a.example@127.0.0.1/",
            "https://a.example#f",
        ),
        *("https://a.example:0", "https://a.example:65536", "https://a.example:x", "https://a example"),
        *(
            "https://127.1/",
            "https://2130706433/",
            "https://0x7f000001/",
            "https://0x7f.1/",
            "https://017700000001/",
        ),
        *(
            "https://1.2.3.4.5/",
            "https://a..b/",
            "https://-a/",
            "https://a.example\\@127.0.0.1",
            "https://a\r\nb/",
        ),
        *("https://bücher.example/", "https://[::1", "https://[fe80::1%25eth0]/", "https://[v1.x]/"),
        "https://a.example/" + "x" * MAX_URL,
        "https://" + "a" * 64 + ".example/",
        "https://" + "a." * 130,
    ],
)
def test_what_is_no_address_of_a_receiver_is_refused(url: str) -> None:
    with pytest.raises(BadTarget, match="must"):
        parse_target(url)


def test_a_target_is_refused_early_where_that_is_known_without_a_resolver() -> None:
    strict = AllowedHosts()
    for url in (
        "http://a.example",
        "https://127.0.0.1",
        "https://[::1]",
        "https://169.254.169.254",
        "http://8.8.8.8",
    ):
        with pytest.raises(BadTarget):
            strict.check(parse_target(url))
    for url in ("https://a.example", "https://8.8.8.8", "https://localhost"):
        strict.check(parse_target(url))
    # What a name stands for is known when it is called.
    AllowedHosts(["10.8.0.0/16"]).check(parse_target("https://a.example"))


def test_http_is_for_the_names_and_the_addresses_that_are_allowed() -> None:
    allowed = AllowedHosts(["127.0.0.1", "10.8.0.0/16", "a.example", "*.svc"])
    for url in ("http://127.0.0.1:9000", "http://10.8.7.6", "http://a.example", "http://b.svc"):
        allowed.check(parse_target(url))
    for url in ("http://127.0.0.2", "http://10.9.0.1", "http://b.example", "http://svc"):
        with pytest.raises(BadTarget):
            allowed.check(parse_target(url))


def test_the_host_header_has_the_port_unless_it_is_the_schemes() -> None:
    urls = ("https://a.example", "https://a.example:80", "http://[fd12::1]", "http://[fd12::1]:81")
    expected = ["a.example", "a.example:80", "[fd12::1]", "[fd12::1]:81"]
    assert [parse_target(url).authority for url in urls] == expected
