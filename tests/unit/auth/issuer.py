"""An issuer of tokens: its keys, what it signs, and a real server that publishes the keys, well or badly."""

from __future__ import annotations

import asyncio
import json
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from tests.support.servers import Place, tcp_server

ISSUER, AUDIENCE = "https://login.example.com/realms/ide", "ide-orchestrator"

Private = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
Behaviour = Callable[[asyncio.StreamWriter], Awaitable[None]]


def b64(data: bytes | str) -> str:
    """base64url without padding."""
    return urlsafe_b64encode(data.encode() if isinstance(data, str) else data).rstrip(b"=").decode()


def signature(key: Private, data: bytes) -> bytes:
    """The JWS signature: RS256, ES256 or EdDSA, by the key's kind."""
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(data, PKCS1v15(), SHA256())
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(data)
    r, s = decode_dss_signature(key.sign(data, ec.ECDSA(SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def algorithm(key: Private) -> str:
    """The name of `signature`'s algorithm."""
    if isinstance(key, rsa.RSAPrivateKey):
        return "RS256"
    return "ES256" if isinstance(key, ec.EllipticCurvePrivateKey) else "EdDSA"


def public_jwk(key: Private, **members: Any) -> dict[str, Any]:
    """The public half as a JWK, with more members."""
    public: Any = key.public_key()
    if isinstance(key, rsa.RSAPrivateKey):
        made = RSAAlgorithm.to_jwk(public, as_dict=True)
    elif isinstance(key, ec.EllipticCurvePrivateKey):
        made = ECAlgorithm.to_jwk(public, as_dict=True)
    else:
        made = OKPAlgorithm.to_jwk(public, as_dict=True)
    made.pop("key_ops", None)
    return {**made, **members}


def compact(header: Mapping[str, Any] | str | bytes, claims: Any, sign: Callable[[bytes], bytes]) -> str:
    """A token of any header and claims (texts and bytes are taken as they are), signed by `sign`."""
    head = header if isinstance(header, str | bytes) else json.dumps(header)
    body = claims if isinstance(claims, str | bytes) else json.dumps(claims)
    signed = f"{b64(head)}.{b64(body)}"
    return f"{signed}.{b64(sign(signed.encode()))}"


def new_ec() -> ec.EllipticCurvePrivateKey:
    """A new P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def new_ed() -> ed25519.Ed25519PrivateKey:
    """A new Ed25519 key."""
    return ed25519.Ed25519PrivateKey.generate()


def new_rsa(bits: int = 2048) -> rsa.RSAPrivateKey:
    """A new RSA key."""
    return rsa.generate_private_key(65537, bits)


class Issuer:
    """Signs with any of its keys, which it knows by kid. `published`: its JWK Set's keys."""

    def __init__(self, keys: Mapping[str, Private]) -> None:
        self.keys: dict[str, Private] = dict(keys)
        self.published = [public_jwk(key, kid=kid, use="sig") for kid, key in keys.items()]

    def document(self) -> bytes:
        """The JWK Set."""
        return json.dumps({"keys": self.published}).encode()

    def claims(self, now: datetime, **more: Any) -> dict[str, Any]:
        """The claims of a good token that lives an hour; None takes one away."""
        at = int(now.timestamp())
        claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ann", "iat": at, "exp": at + 3600, **more}
        return {name: value for name, value in claims.items() if value is not None}

    def token(
        self, kid: str, now: datetime, *, header: Mapping[str, Any] | None = None, **claims: Any
    ) -> str:
        """A token signed with the key; a header of None is taken away."""
        key = self.keys[kid]
        head = {"alg": algorithm(key), "typ": "JWT", "kid": kid, **(header or {})}
        head = {name: value for name, value in head.items() if value is not None}
        return compact(head, self.claims(now, **claims), lambda data: signature(key, data))


def answer(body: bytes, *, status: str = "200 OK", **headers: str) -> Behaviour:
    """Answer with this."""
    lines = {"Content-Length": str(len(body)), "Connection": "close"}
    lines |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())

    async def behave(writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body)
        await writer.drain()

    return behave


class JwksServer:
    """A server on loopback. `behave` says how it answers; `paths` are what it was asked for."""

    def __init__(self, behave: Behaviour) -> None:
        self.behave = behave
        self.paths: list[str] = []
        self.answered = 0
        self._place: Place = 0
        self._listening = AsyncExitStack()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._place}/jwks"

    async def up(self) -> None:
        """Listen, at the same port each time."""
        self._place = await self._listening.enter_async_context(tcp_server(self._serve, self._place))

    async def down(self) -> None:
        """Stop listening."""
        await self._listening.aclose()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.paths.append((await reader.readuntil(b"\r\n\r\n")).split()[1].decode())
        await self.behave(writer)
        self.answered += 1


@asynccontextmanager
async def jwks_server(behave: Behaviour) -> AsyncIterator[JwksServer]:
    """A server that is up."""
    server = JwksServer(behave)
    await server.up()
    try:
        yield server
    finally:
        await server.down()
