"""Tokens that must be taken and tokens that must not, each with a name. All for one issuer and one moment."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable
from datetime import datetime
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, HashAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.unit.auth.issuer import (
    AUDIENCE,
    ISSUER,
    Issuer,
    algorithm,
    b64,
    compact,
    new_ec,
    new_ed,
    new_rsa,
    public_jwk,
    signature,
)

#: Published as a symmetric key, which nobody may use.
PUBLISHED_SECRET = b"a symmetric key that somebody published by mistake"
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_ED25519_ORDER = 2**252 + 27742317777372353535851937790883648493
KIDS = ("rsa-1", "rsa-2", "ec-1", "ed-1")


@cache
def issuer() -> Issuer:
    """Two RSA keys, one of each other kind, and published keys that no token may be signed with."""
    made = Issuer(
        {
            "rsa-1": new_rsa(),
            "rsa-2": new_rsa(),
            "ec-1": new_ec(),
            "ed-1": ed25519.Ed25519PrivateKey.generate(),
        }
    )
    unfit: dict[str, tuple[Any, dict[str, Any]]] = {
        "small": (new_rsa(1024), {}),
        "enc": (new_rsa(), {"use": "enc"}),
        "ops": (new_ec(), {"key_ops": ["deriveKey"]}),
        "other-alg": (new_rsa(), {"alg": "RS512"}),
    }
    for kid, (key, members) in unfit.items():
        made.keys[kid] = key
        made.published.append(public_jwk(key, kid=kid) | members)
    made.published.append({"kty": "oct", "kid": "oct", "k": b64(PUBLISHED_SECRET)})
    p384, ed448 = _p384().public_key().public_numbers(), _ed448().public_key().public_bytes_raw()
    coordinates = {"x": b64(p384.x.to_bytes(48, "big")), "y": b64(p384.y.to_bytes(48, "big"))}
    made.published.append({"kty": "EC", "crv": "P-384", "kid": "p384", **coordinates})
    made.published.append({"kty": "OKP", "crv": "Ed448", "kid": "ed448", "x": b64(ed448)})
    return made


@cache
def _p384() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP384R1())


@cache
def _ed448() -> Ed448PrivateKey:
    return Ed448PrivateKey.generate()


@cache
def _strangers() -> dict[str, Any]:
    """Keys of somebody else's, by the kid of the issuer's key of the same kind."""
    return {"rsa-1": new_rsa(), "ec-1": new_ec(), "ed-1": new_ed()}


def valid(now: datetime) -> dict[str, str]:
    """Tokens that must be taken."""
    at, by = int(now.timestamp()), issuer()

    def made(name: str, kid: str = "ec-1", header: dict[str, Any] | None = None, **claims: Any) -> None:
        tokens[name] = by.token(kid, now, header=header, **claims)

    tokens: dict[str, str] = {}
    for kid in KIDS:
        made(f"plain, {kid}", kid)
    made("without typ", header={"typ": None})
    made("typ jwt in lower case", header={"typ": "jwt"})
    made("typ at+jwt", header={"typ": "at+jwt"})
    made("typ application/at+jwt", header={"typ": "application/at+jwt"})
    made("without kid, the only EC key", header={"kid": None})
    made("without kid, the only Ed25519 key", "ed-1", {"kid": None})
    made("jku that nobody looks at", header={"jku": "https://evil.example.com/jwks"})
    made("jwk that nobody looks at", "rsa-1", {"jwk": public_jwk(_strangers()["rsa-1"])})
    made("unknown header members", header={"x5t": "abc", "nonsense": {"a": [1, None]}})
    made("aud a list of one", aud=[AUDIENCE])
    made("aud a list of several", aud=["other", AUDIENCE])
    made("exp with a fraction", exp=at + 100.5)
    made("expired within the leeway", exp=at - 29)
    made("nbf within the leeway", nbf=at + 29)
    made("iat within the leeway", iat=at + 29)
    made("nbf past", nbf=at - 1)
    made("without iat", iat=None)
    made("exp far away", exp=at + 10 * 365 * 86400)
    made("subject a UUID", sub="3f2504e0-4f89-41d3-9a0c-0305e82c3301")
    made("subject of 255 characters", sub="x" * 255)
    made("subject in another script", sub="安娜 Müller")
    made("with an email", email="ann@example.com")
    made("with an email that is none", email=["no"])
    made(
        "claims of an identity provider", realm_access={"roles": ["a", "b"]}, azp="web", jti="1", scope="a b"
    )
    made("long, up to the limit", fill="x" * 5700)
    spaced = json.dumps(by.claims(now), indent=4)
    head = {"alg": "ES256", "kid": "ec-1"}
    tokens["claims with white space"] = compact(head, spaced, _signs("ec-1"))
    unescaped = json.dumps(by.claims(now, name="安娜 Müller 😀"), ensure_ascii=False)
    tokens["claims in UTF-8 without escapes"] = compact(head, unescaped, _signs("ec-1"))
    return tokens


def forged(now: datetime) -> dict[str, str]:
    """Tokens that must be refused."""
    return {
        **_without_signature(now),
        **_confused(now),
        **_wrong_keys(now),
        **_wrong_headers(now),
        **_wrong_claims(now),
        **_wrong_encodings(now),
        **_wrong_signatures(now),
        **_wrong_forms(now),
    }


def _signs(kid: str) -> Callable[[bytes], bytes]:
    key = issuer().keys[kid]
    return lambda data: signature(key, data)


def _hmac(secret: bytes, name: str = "sha256") -> Callable[[bytes], bytes]:
    return lambda data: hmac.new(secret, data, getattr(hashlib, name)).digest()


def _without_signature(now: datetime) -> dict[str, str]:
    claims, tokens = issuer().claims(now), {}
    for name in ("none", "None", "NONE", "nOnE", ""):
        tokens[f"alg {name!r}, no signature"] = compact({"alg": name}, claims, lambda _: b"")
        tokens[f"alg {name!r}, some signature"] = compact(
            {"alg": name, "kid": "ec-1"}, claims, _signs("ec-1")
        )
    for value in (None, 0, ["ES256"], {"ES256": 1}, True):
        tokens[f"alg {json.dumps(value)}"] = compact({"alg": value, "kid": "ec-1"}, claims, _signs("ec-1"))
    tokens["without alg"] = compact({"kid": "ec-1"}, claims, _signs("ec-1"))
    return tokens


def _confused(now: datetime) -> dict[str, str]:
    """What a public key signs when it is taken for a secret, and algorithms that are not the key's."""
    by, claims, tokens = issuer(), issuer().claims(now), {}
    rsa_key, ec_key, ed_key = by.keys["rsa-1"].public_key(), by.keys["ec-1"].public_key(), by.keys["ed-1"]
    pem, spki = Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
    secrets = {
        "RSA PEM": ("rsa-1", rsa_key.public_bytes(pem, spki)),
        "RSA PEM without its last line feed": ("rsa-1", rsa_key.public_bytes(pem, spki).rstrip()),
        "RSA DER": ("rsa-1", rsa_key.public_bytes(Encoding.DER, spki)),
        "RSA PKCS1": ("rsa-1", rsa_key.public_bytes(pem, PublicFormat.PKCS1)),
        "JWK": ("rsa-1", json.dumps(by.published[0]).encode()),
        "EC PEM": ("ec-1", ec_key.public_bytes(pem, spki)),
        "Ed25519 bytes": ("ed-1", ed_key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)),
        "nothing": ("rsa-1", b""),
        "published secret": ("oct", PUBLISHED_SECRET),
        "kid": ("rsa-1", b"rsa-1"),
    }
    for name, (kid, secret) in secrets.items():
        tokens[f"HS256 with {name}"] = compact({"alg": "HS256", "kid": kid}, claims, _hmac(secret))
        tokens[f"HS256 with {name}, called {_kind(kid)}"] = compact(
            {"alg": _kind(kid), "kid": kid}, claims, _hmac(secret)
        )
    for size in ("384", "512"):
        sign = _hmac(secrets["RSA PEM"][1], f"sha{size}")
        tokens[f"HS{size} with RSA PEM"] = compact({"alg": f"HS{size}", "kid": "rsa-1"}, claims, sign)

    def pkcs1(hash_: HashAlgorithm) -> Callable[[bytes], bytes]:
        return lambda data: by.keys["rsa-1"].sign(data, padding.PKCS1v15(), hash_)  # type: ignore[call-arg, arg-type]

    def pss(data: bytes) -> bytes:
        return by.keys["rsa-1"].sign(data, padding.PSS(padding.MGF1(SHA256()), 32), SHA256())  # type: ignore[call-arg, arg-type]

    for name in ("PS256", "RS256"):
        tokens[f"PSS called {name}"] = compact({"alg": name, "kid": "rsa-1"}, claims, pss)
    for name, hash_ in (("RS384", SHA384()), ("RS512", SHA512())):
        for said in (name, "RS256"):
            tokens[f"{name} called {said}"] = compact({"alg": said, "kid": "rsa-1"}, claims, pkcs1(hash_))
    for kid in ("rsa-1", "ec-1", "ed-1"):
        for said in {"RS256", "ES256", "EdDSA", "ES384", "ES256K", "rs256", "es256", "eddsa"} - {_kind(kid)}:
            tokens[f"{_kind(kid)} called {said}"] = compact({"alg": said, "kid": kid}, claims, _signs(kid))
    return tokens


def _kind(kid: str) -> str:
    key = issuer().keys.get(kid)
    return "RS256" if key is None else algorithm(key)


def _wrong_keys(now: datetime) -> dict[str, str]:
    by, claims, tokens = issuer(), issuer().claims(now), {}
    kids = ["unknown", "", "EC-1", "ec-1 ", "ec-1\0", "../../../../dev/null", "/dev/null", "' OR 1=1 --"]
    kids += ["https://evil.example.com/key", "ed-1", "x" * 2000, "𝐞c-1"]
    for kid in kids:
        tokens[f"kid {kid[:30]!r}"] = compact({"alg": "ES256", "kid": kid}, claims, _signs("ec-1"))
    for value in (None, 1, ["ec-1"], {"kid": "ec-1"}, True):
        head = {"alg": "ES256", "kid": value}
        tokens[f"kid {json.dumps(value)}"] = compact(head, claims, _signs("ec-1"))
    tokens["kid of the other RSA key"] = by.token("rsa-1", now, header={"kid": "rsa-2"})
    tokens["without kid, two RSA keys"] = by.token("rsa-1", now, header={"kid": None})
    for kid in ("small", "enc", "ops", "other-alg"):
        tokens[f"published key that is unfit: {kid}"] = by.token(kid, now)
    p384 = compact({"alg": "ES384", "kid": "p384"}, claims, lambda d: _p384().sign(d, ec.ECDSA(SHA384())))
    tokens["published key of another curve: p384"] = p384
    tokens["published key of another curve: ed448"] = compact(
        {"alg": "EdDSA", "kid": "ed448"}, claims, lambda data: _ed448().sign(data)
    )
    for kid, key in _strangers().items():
        brought = public_jwk(key, kid="mine")
        ways: dict[str, dict[str, Any]] = {
            "stranger's key": {},
            "stranger's key in jwk": {"jwk": brought},
            "stranger's key at jku": {"jku": "http://127.0.0.1:9/jwks"},
            "stranger's key at x5u": {"x5u": "http://127.0.0.1:9/chain"},
            "stranger's key in x5c": {"x5c": [b64(b"a certificate")]},
        }
        for name, members in ways.items():
            for said in (kid, "mine"):
                head = {"alg": algorithm(key), "kid": said, **members}
                tokens[f"{name}, {algorithm(key)}, kid {said}"] = compact(
                    head,
                    claims,
                    lambda data, key=key: signature(key, data),  # type: ignore[misc]
                )
    return tokens


def _wrong_headers(now: datetime) -> dict[str, str]:
    by, claims = issuer(), issuer().claims(now)
    members: dict[str, dict[str, Any]] = {
        "crit unknown": {"crit": ["exp2"], "exp2": 1},
        "crit of a known claim": {"crit": ["exp"], "exp": 1},
        "crit b64 true": {"crit": ["b64"], "b64": True},
        "crit b64 false": {"crit": ["b64"], "b64": False},
        "b64 false alone": {"b64": False},
        "crit empty": {"crit": []},
        "crit no list": {"crit": "b64"},
        "crit of numbers": {"crit": [1]},
        "typ logout+jwt": {"typ": "logout+jwt"},
        "typ dpop+jwt": {"typ": "dpop+jwt"},
        "typ secevent+jwt": {"typ": "application/secevent+jwt"},
        "typ JWE": {"typ": "JWE"},
        "typ a number": {"typ": 1},
    }
    tokens = {name: by.token("ec-1", now, header=more) for name, more in members.items()}
    deep = "[" * 1500 + "]" * 1500
    for name, text in {
        "header a list": "[]",
        "header a string": '"ES256"',
        "header null": "null",
        "header no JSON": "{alg:ES256}",
        "header deep": '{"alg":"ES256","kid":"ec-1","a":' + deep + "}",
        "header with the second alg none": '{"alg":"ES256","alg":"none","kid":"ec-1"}',
        "header with the first alg none": '{"alg":"none","alg":"ES256","kid":"ec-1"}',
        "header with two kids": '{"alg":"ES256","kid":"rsa-1","kid":"ec-1"}',
        "header with NaN": '{"alg":"ES256","kid":"ec-1","a":NaN}',
        "header with a large number": '{"alg":"ES256","kid":"ec-1","a":' + "9" * 4400 + "}",
    }.items():
        tokens[name] = compact(text, claims, _signs("ec-1"))
    return tokens


def _wrong_claims(now: datetime) -> dict[str, str]:
    at, by = int(now.timestamp()), issuer()
    tokens: dict[str, str] = {}
    for name in ("exp", "sub", "iss", "aud"):
        tokens[f"without {name}"] = by.token("ec-1", now, **{name: None})
        claims = json.dumps(by.claims(now) | {name: None})
        tokens[f"{name} null"] = compact({"alg": "ES256", "kid": "ec-1"}, claims, _signs("ec-1"))
    wrong: dict[str, list[Any]] = {
        "exp": [
            at - 3600,
            0,
            -1,
            -1e300,
            str(at + 100),
            True,
            [at + 100],
            at * 1000 * 1000,
            10**40,
            {},
        ],
        "nbf": [at + 3600, str(at - 100), True, [at], 10**40, "now"],
        "iat": [at + 3600, str(at - 100), False, {}, 10**40, "now"],
        "iss": [ISSUER + "/", ISSUER.upper(), ISSUER[:-1], "", "https://evil.example.com", [ISSUER], 1],
        "aud": ["", "other", AUDIENCE + "2", AUDIENCE[:-1], [], ["other"], [AUDIENCE, 1], {AUDIENCE: 1}, 1],
        "sub": ["", 1, ["ann"], {"a": 1}, True, "x" * 256, "ann\0", "ann\n", "\ud800", "ann\u202egnp.exe"],
        "jti": [1],
    }
    for name, values in wrong.items():
        for value in values:
            tokens[f"{name} {ascii(value)[:40]}"] = by.token("ec-1", now, **{name: value})
    # At a moment that moves on, these may cross the edge.
    edges: dict[str, Any] = {"exp": at - 30, "nbf": at + 31, "iat": at + 31}
    for name, value in edges.items():
        tokens[f"{name} just outside the leeway"] = by.token("ec-1", now, **{name: value})
    deep = "[" * 1500 + "]" * 1500
    good = json.dumps(by.claims(now))[:-1]
    for name, text in {
        "claims a list": "[]",
        "claims a string": '"ann"',
        "claims null": "null",
        "claims no JSON": good,
        "claims deep": good + ', "a": ' + deep + "}",
        "claims with a large number": good + ', "a": ' + "9" * 4400 + "}",
        "exp NaN": json.dumps(by.claims(now, exp=float("nan"))),
        "exp Infinity": json.dumps(by.claims(now, exp=float("inf"))),
        "nbf NaN": json.dumps(by.claims(now, nbf=float("nan"))),
        "another claim NaN": json.dumps(by.claims(now, more=float("nan"))),
        "second exp past": good + ', "exp": 1}',
        "second exp like the first": good + f', "exp": {at + 3600}}}',
        "second sub": good + ', "sub": "eve"}',
        "a member twice, within a claim": good + ', "realm": {"a": 1, "a": 2}}',
        "nested token": by.token("ec-1", now),
        "nested token as a string": json.dumps(by.token("ec-1", now)),
    }.items():
        tokens[name] = compact({"alg": "ES256", "kid": "ec-1"}, text, _signs("ec-1"))
    return tokens


def _wrong_encodings(now: datetime) -> dict[str, str]:
    """Headers and claims that are JSON, but not in UTF-8."""
    header = json.dumps({"alg": "ES256", "kid": "ec-1"})
    claims = json.dumps(issuer().claims(now, name="é"), ensure_ascii=False)
    tokens = {}
    for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-8-sig"):
        tokens[f"header in {encoding}"] = compact(header.encode(encoding), claims, _signs("ec-1"))
        tokens[f"claims in {encoding}"] = compact(header, claims.encode(encoding), _signs("ec-1"))
    for name, wrong in {
        "Latin-1": b"\xe9",
        "a surrogate": b"\xed\xa0\x80",
        "too long a form": b"\xc0\xaf",
    }.items():
        bytes_ = claims.encode().replace("é".encode(), wrong)
        tokens[f"claims with {name}"] = compact(header, bytes_, _signs("ec-1"))
    return tokens


def _wrong_signatures(now: datetime) -> dict[str, str]:
    by, tokens = issuer(), {}
    for kid in ("rsa-1", "ec-1", "ed-1"):
        good, other = by.token(kid, now), by.token(kid, now, sub="eve")
        head, body, signed = good.split(".")
        size = 256 if kid == "rsa-1" else 64
        raw = signature(by.keys[kid], f"{head}.{body}".encode())
        ends = {
            "none": b"",
            "of zeros": bytes(size),
            "of ones": b"\xff" * size,
            "with a bit turned": bytes([raw[0] ^ 1]) + raw[1:],
            "with the last bit turned": raw[:-1] + bytes([raw[-1] ^ 1]),
            "cut": raw[:-1],
            "with a byte more": raw + b"\0",
            "with a byte before": b"\0" + raw,
            "twice": raw + raw,
        }
        for name, value in ends.items():
            tokens[f"signature {name}, {_kind(kid)}"] = f"{head}.{body}.{b64(value)}"
        tokens[f"signature of other claims, {_kind(kid)}"] = f"{head}.{other.split('.')[1]}.{signed}"
        tokens[f"signature of another header, {_kind(kid)}"] = (
            f"{b64(json.dumps({'alg': _kind(kid), 'kid': kid}))}.{body}.{signed}"
        )
    head, body, _ = by.token("ec-1", now).split(".")
    der = by.keys["ec-1"].sign(f"{head}.{body}".encode(), ec.ECDSA(SHA256()))  # type: ignore[call-arg, arg-type]
    order = _P256_ORDER.to_bytes(32, "big")
    one = (1).to_bytes(32, "big")
    for name, value in {"DER": der, "r and s the order": order + order, "r 1, s 0": one + bytes(32)}.items():
        tokens[f"ES256 signature {name}"] = f"{head}.{body}.{b64(value)}"
    head, body, _ = by.token("ed-1", now).split(".")
    raw = signature(by.keys["ed-1"], f"{head}.{body}".encode())
    above = (int.from_bytes(raw[32:], "little") + _ED25519_ORDER).to_bytes(32, "little")
    tokens["Ed25519 signature with S above the order"] = f"{head}.{body}.{b64(raw[:32] + above)}"
    return tokens


def _wrong_forms(now: datetime) -> dict[str, str]:
    good = issuer().token("ec-1", now)
    head, body, signed = good.split(".")
    last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return {
        "empty": "",
        "one part": head,
        "two parts": f"{head}.{body}",
        "four parts": f"{good}.{signed}",
        "five parts": f"{head}.{body}.{signed}.{body}.{signed}",
        "dots": "..",
        "a dot before": "." + good,
        "a dot behind": good + ".",
        "padded": good + "==",
        "padded header": f"{head}=.{body}.{signed}",
        "last bits not zero": good[:-1] + last[last.index(good[-1]) + 1],
        "a space within": f"{head}. {body}.{signed}",
        "white space behind": good + " ",
        "a line feed behind": good + "\n",
        "NUL behind": good + "\0",
        "not ASCII": good + "é",
        "a lone surrogate": good + "\ud800",
        "the plain alphabet": f"{head}.{body}.+/{signed[2:]}",
        "bearer twice": f"Bearer {good}",
        "quoted": f'"{good}"',
        "two tokens": f"{good},{good}",
        "JSON form": json.dumps({"protected": head, "payload": body, "signature": signed}),
        "too long": issuer().token("ec-1", now, fill="x" * 8192),
        "far too long": "x" * 1_000_000,
        "encrypted": f"{b64(json.dumps({'alg': 'RSA-OAEP', 'enc': 'A256GCM', 'kid': 'rsa-1'}))}.a.b.c.d",
    }
