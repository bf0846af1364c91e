"""A client that knows a hub's HTTP address finds its gRPC port."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest

from ide_orchestrator.client import Fault, NotTrusted, Refused, Unavailable
from ide_orchestrator.client.grpc import GrpcHub
from ide_orchestrator.conformance import Target, find_grpc
from ide_orchestrator.v1.info_pb2 import GetServerInfoRequest
from ide_orchestrator.v1.user_pb2 import GetMeRequest
from tests.clients.python.hubs import open_hub
from tests.support.certificates import Authority, write
from tests.support.hub import running_hub
from tests.support.servers import answer, http_server
from tests.support.tls import tls_in_front_of


async def me(url: str, token: str, **options: Any) -> str:
    async with await GrpcHub.discover(url, token, trust_env=False, **options) as hub:
        return str((await hub.call(hub.users.GetMe, GetMeRequest())).user.email)


async def test_the_port_is_found_by_the_http_address(database: str) -> None:
    async with running_hub(database) as running:
        port = int(running.grpc.rpartition(":")[2])
        async with open_hub(running, running.token()) as hub:
            info = await hub.info()
        assert info["grpc"] == {"host": None, "port": port, "tls": False}
        assert info["limits"]["max_page_size"] == 200
        assert await me(running.http, running.token()) == "ann@example.com"
        # Over gRPC the hub says the same.
        async with GrpcHub(running.grpc, running.token()) as over_grpc:
            said = (await over_grpc.call(over_grpc.info.GetServerInfo, GetServerInfoRequest())).info.grpc
        assert (said.host, said.port, said.tls) == ("", port, False)
        found = await find_grpc(Target(running.http, running.token()))
        assert found.grpc == running.grpc


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://grpc.ide.example.com", {"host": "grpc.ide.example.com", "port": 443, "tls": True}),
        ("http://10.0.0.7:9000/", {"host": "10.0.0.7", "port": 9000, "tls": False}),
        ("https://[::1]:50051", {"host": "::1", "port": 50051, "tls": True}),
    ],
)
async def test_a_public_address_is_said_instead_of_the_port(
    database: str, url: str, expected: dict[str, Any]
) -> None:
    async with (
        running_hub(database, grpc_public_url=url) as running,
        open_hub(running, running.token()) as hub,
    ):
        assert (await hub.info())["grpc"] == expected


async def test_the_token_is_not_sent_to_another_host_unless_the_caller_trusts_it() -> None:
    async def say(head: bytes, body: bytes, writer: asyncio.StreamWriter) -> bytes:
        elsewhere = {"host": "grpc.example.com", "port": 443, "tls": True}
        return answer(200, json.dumps({"grpc": elsewhere}).encode())

    async with http_server(say) as url:
        with pytest.raises(Refused, match=r"another host, 'grpc\.example\.com'"):
            await GrpcHub.discover(url, "token", trust_env=False)
        trusted = ["GRPC.example.com"]
        await (await GrpcHub.discover(url, "token", trust_env=False, trusted_hosts=trusted)).aclose()


async def test_a_port_with_tls_is_called_with_tls(database: str, tmp_path: Path) -> None:
    authority = Authority()
    certificate, key = write(tmp_path, authority.pair("127.0.0.1", "localhost"))
    async with running_hub(database, grpc_certificate=certificate, grpc_key=key) as running:
        credentials = grpc.ssl_channel_credentials(authority.pem)
        assert await me(running.http, running.token(), credentials=credentials) == "ann@example.com"


async def test_the_address_of_the_port_may_have_a_scheme_that_says_whether_it_has_tls(
    database: str, tmp_path: Path
) -> None:
    async def email(target: str, token: str, **options: Any) -> str:
        async with GrpcHub(target, token, **options) as hub:
            return str((await hub.call(hub.users.GetMe, GetMeRequest())).user.email)

    authority = Authority()
    certificate, key = write(tmp_path, authority.pair("127.0.0.1", "localhost"))
    async with running_hub(database) as running:
        for target in (running.grpc, f"http://{running.grpc}", f"HTTP://{running.grpc}/"):
            assert await email(target, running.token()) == "ann@example.com"
    async with running_hub(database, grpc_certificate=certificate, grpc_key=key) as running:
        credentials = grpc.ssl_channel_credentials(authority.pem)
        target = f"https://{running.grpc}"
        assert await email(target, running.token(), credentials=credentials) == "ann@example.com"
        # Without credentials it is called with TLS, too, by the authorities that grpc trusts.
        with pytest.raises(NotTrusted, match="CERTIFICATE_VERIFY_FAILED"):
            await email(target, running.token())


async def test_a_check_of_a_hub_trusts_the_same_authorities_over_grpc_as_over_http(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority()
    certificate, key = write(tmp_path, authority.pair("127.0.0.1", "localhost"))
    ca_file = tmp_path / "authority.pem"
    ca_file.write_bytes(authority.pem)
    async with running_hub(database, grpc_certificate=certificate, grpc_key=key) as running:
        target = Target(running.http, running.token(), ca_file=ca_file)
        assert (await find_grpc(target)).grpc == f"https://{running.grpc}"
        monkeypatch.setenv("SSL_CERT_FILE", str(ca_file))
        target = Target(running.http, running.token())
        assert (await find_grpc(target)).grpc == f"https://{running.grpc}"


async def test_the_http_port_is_not_taken_for_the_grpc_port(database: str) -> None:
    async with running_hub(database) as running, GrpcHub(running.http, running.token()) as hub:
        with pytest.raises(Unavailable, match="not a gRPC port: is it the hub's HTTP port"):
            await hub.call(hub.users.GetMe, GetMeRequest())


def test_a_client_without_the_extra_says_what_to_install() -> None:
    program = "import sys; sys.modules['grpc'] = None; import ide_orchestrator.client.grpc"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert 'pip install "ide-orchestrator-client[grpc]"' in ended.stderr.splitlines()[-1]


async def test_a_client_of_an_https_address_does_not_take_a_port_without_tls(
    database: str, tmp_path: Path
) -> None:
    async with running_hub(database) as running, tls_in_front_of(running.http, tmp_path) as front:
        with pytest.raises(Refused, match="has no TLS"):
            await me(front.http, running.token(), ssl=front.trusting())


@pytest.mark.parametrize(
    ("info", "error"),
    [
        ({}, Refused),
        ({"grpc": None}, Refused),
        ({"grpc": {"host": "h"}}, Fault),
        ({"grpc": "h:1"}, Fault),
        ({"grpc": {"host": None, "port": "1/@elsewhere", "tls": False}}, Fault),
        ({"grpc": {"host": None, "port": 70_000, "tls": False}}, Fault),
    ],
)
async def test_a_hub_that_does_not_say_where_it_is_is_named_as_the_reason(
    info: dict[str, Any], error: type[Exception]
) -> None:
    async def say(head: bytes, body: bytes, writer: asyncio.StreamWriter) -> bytes:
        return answer(200, json.dumps(info).encode())

    async with http_server(say) as url:
        with pytest.raises(error, match=url):
            await me(url, "token")
