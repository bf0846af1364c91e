"""Coverage-guided fuzzing of one reader of hostile bytes: `python -m tests.hostile.fuzzing TARGET
SECONDS CORPUS`, where libFuzzer takes the process over and writes its figures to standard error.

Each target knows what may come out: a value, or the hub's own errors. Anything else ends the process.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import atheris

with atheris.instrument_imports(include=["server", "jwt"], enable_loader_override=False):
    from server.auth.claims import claims_of, header_of
    from server.auth.tokens import SharedSecret
    from server.db.page_tokens import page_place
    from server.domain.errors import HubError, InvalidArgument, Unauthenticated
    from server.domain.journal.events import Event
    from server.domain.journal.frame_reconstruction import FrameReconstructor
    from server.domain.proposals.files import File, FileSet
    from server.domain.proposals.partition import partition_files
    from server.domain.proposals.paths import Portability
    from server.frames.interpreter import Interpreter
    from server.http.handshake import form_of, token_of
    from server.http.json_io import parse_json
    from server.http.origins import Origins
    from server.http.token_refresh import token_of_message
    from server.wire.access import CreateShareLinkRequest, GrantAccessRequest
    from server.wire.codec import ProtobufCodec
    from server.wire.proposal_queries import ProposalsQuery
    from server.wire.refinements import CreateTicketRequest, EventsQuery, StartRefinementRequest
    from server.wire.validation import cursor
    from server.wire.workflows import CreateWorkflowRequest, WorkflowsQuery

from server.replay.recording import SHIPPED
from tests.unit.auth.issuer import b64

#: Largest input, in bytes.
MAX_INPUT = 8192
_SECRET = "a secret that no fuzzer has seen"
_CODEC = ProtobufCodec()
_VERIFIER = SharedSecret(_SECRET)
_HEADER = b64(b'{"alg":"HS256"}')
_NIL = UUID(int=0)
_NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return data.decode("utf-8", "replace")


def frames(data: bytes) -> None:
    """The runtime's frames, one a line: read, encoded, given back, and none raises."""
    interpreter, reconstructor, seq = Interpreter(), FrameReconstructor(), 0
    for frame in data.split(b"\n"):
        meaning = interpreter.interpret(frame)
        for index, kind in enumerate(meaning.kinds or ((None,) if meaning.delta else ())):
            seq += 1
            if kind is not None:
                event = Event(seq, 1, _NOON, kind)
                assert _CODEC.decode(_CODEC.encode(event)).seq == seq
            for sent in reconstructor.frames_for(seq, b"" if index else meaning.delta, kind):
                assert json.loads(sent)["seq"] == seq


def tokens(data: bytes) -> None:
    """Tokens. One that the hub's key did not sign is never taken, whatever its parts say; claims that it
    did sign are taken or refused."""
    parts = [b64(part) for part in data.split(b"\n")]
    for token in (_text(data), ".".join(parts)):
        with contextlib.suppress(Unauthenticated):
            header_of(token)
        try:
            _VERIFIER.verify(token).send(None)
        except Unauthenticated:
            continue
        except StopIteration:
            raise AssertionError("a forged token was taken") from None
    signed = f"{_HEADER}.{parts[0]}"
    signature = hmac.new(_SECRET.encode(), signed.encode(), "sha256").digest()
    with contextlib.suppress(Unauthenticated):
        claims_of(f"{signed}.{b64(signature)}", _SECRET, "HS256", issuer="i", audience="a", now=_NOON)


def paths(data: bytes) -> None:
    """File names, one a line: none is lost, those that are kept are safe, and meet only with a mark."""
    names = _text(data).split("\n")
    found = partition_files(FileSet({name: File(name.encode("utf-8", "surrogatepass")) for name in names}))
    assert {*found.kept, *(each.path for each in found.rejected)} == set(names)
    written: dict[str, list[str]] = {}
    for path in found.kept:
        assert not path.startswith("//")
        assert not set("\\\0\r\n") & set(path)
        parts = [part for part in path.split("/") if part]
        assert not {".", "..", ".git"} & {part.casefold() for part in parts}
        written.setdefault("/".join(parts), []).append(path)
    for path, same in written.items():
        for each in same:
            assert len(same) == 1 or Portability.COLLISION in found.portability[each]
            if any(path.startswith(f"{other}/") for other in written):
                assert Portability.UNDER_A_FILE in found.portability[each]


def client(data: bytes) -> None:
    """What a WebSocket's client says, and what its upgrade offers."""
    token_of_message(data)
    offered = _text(data).split(",")
    form_of(offered)
    token_of(offered[0], offered[-1], offered)
    assert not Origins(["https://x.example"]).allow_request(["https://x.example", *offered])


def bodies(data: bytes) -> None:
    """Bodies and queries of requests: a command, or errors that name fields."""
    takers: list[Callable[[object], object]] = [
        lambda body: StartRefinementRequest.model_validate(body).command(_NIL),
        lambda body: CreateWorkflowRequest.model_validate(body).command(),
        CreateTicketRequest.model_validate,
        GrantAccessRequest.model_validate,
        CreateShareLinkRequest.model_validate,
    ]
    try:
        body = parse_json(data)
    except InvalidArgument:
        body = _text(data)
    for take in takers:
        try:
            take(body)
        except HubError:
            continue
    query = dict(part.partition("=")[::2] for part in _text(data).split("&"))
    for model in (WorkflowsQuery, ProposalsQuery, EventsQuery):
        try:
            model.model_validate(query)
        except InvalidArgument:
            continue


def cursors(data: bytes) -> None:
    """Page tokens and cursors."""
    text = _text(data)
    for read in (lambda: page_place(b"p", text), lambda: cursor(text)):
        try:
            read()
        except InvalidArgument:
            continue


TARGETS: dict[str, Callable[[bytes], None]] = {
    each.__name__: each for each in (frames, tokens, paths, client, bodies, cursors)
}


def seeds(name: str) -> list[bytes]:
    """What the fuzzer begins with."""
    if name == "frames":
        lines = [
            line
            for file in sorted(SHIPPED.glob("*.jsonl"))
            for line in file.read_bytes().split(b"\n")[:400:20]
            if len(line) < MAX_INPUT
        ]
        return [*lines, b"\n".join(lines[:3])]
    if name == "tokens":
        claims = b'{"sub":"ann","email":"ann@example.com","iss":"i","aud":"a","exp":1772366400,"nbf":1}'
        token = _VERIFIER.issue(email="ann@example.com", lifetime=timedelta(hours=-9), now=_NOON)
        return [claims, b'{"alg":"none"}\n' + claims + b"\n", b'{"alg":"HS256"}\n' + claims, token.encode()]
    if name == "client":
        return [b'{"type": "auth", "token": "a.b.c"}', b"ideo.v1, bearer.a.b.c", b"https://x.example.evil"]
    if name == "paths":
        return [b"/a/b.md\n/A/B.md\n/../x\n/nul.txt", "/é\n/e\u0301\n/a\u202eb".encode()]
    if name == "bodies":
        return [
            b'{"user_prompt": "x", "context_file_path": "/a", "context_selection": "lines 1-2"}',
            b'{"name": "w", "agent_definition": {"nodes": []}, "files": {"/a": "b"}}',
            b'{"access_type": "viewer", "after_seq": 1, "expires_in_s": 60}',
            b"limit=10&cursor=abc&after=3&wait=2&status=completed",
        ]
    return [b"cAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", b"17", b"-1"]


def main() -> None:
    """Fuzz until the time is over."""
    name, seconds, corpus = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds(name)):
        (corpus / f"seed-{number}").write_bytes(seed)
    options = [f"-max_total_time={seconds}", f"-max_len={MAX_INPUT}", "-timeout=10", "-rss_limit_mb=2048"]
    options += ["-print_final_stats=1", f"-artifact_prefix={corpus}/found-", *sys.argv[4:]]
    atheris.Setup([sys.argv[0], *options, str(corpus)], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
