"""The payloads of notifications between replicas: hints, progress, and that runs were released.

Anyone may notify on a channel, and other versions of the hub do: what is malformed or unknown is ignored.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from uuid import UUID

from server.domain.streams.wakeups import PROGRESS_CHARS

#: Maximum bytes of one notification; PostgreSQL accepts fewer than 8000.
PAYLOAD_BYTES = 7900
#: What the payload of a self-test, of progress, and of released runs starts with; a hint starts with none of
#: them.
NONCE, PROGRESS, RELEASED = "?", "~", "!"


def payloads_of(news: Mapping[int, int]) -> Iterator[str]:
    """The hints as `thread:seq,thread:seq,…`, in payloads that each fit in a notification. news: the newest
    seq of each thread, by the number of its id."""
    return _packed(f"{number:032x}:{last_seq}" for number, last_seq in news.items())


def hints_of(payload: str) -> Iterator[tuple[UUID, int]]:
    """The hints of a payload."""
    for hint in payload.split(","):
        thread_id, _, last_seq = hint.partition(":")
        try:
            yield UUID(hex=thread_id), int(last_seq)
        except ValueError:
            continue


def progress_payloads_of(texts: Mapping[UUID, str]) -> Iterator[str]:
    """The newest progress text of each thread, in payloads that each fit in a notification."""
    entries = (json.dumps([thread_id.hex, text[:PROGRESS_CHARS]]) for thread_id, text in texts.items())
    for payload in _packed(entries):
        yield f"{PROGRESS}[{payload}]"


def progress_of(payload: str) -> Iterator[tuple[UUID, str]]:
    """The threads and progress texts of a payload that starts with PROGRESS."""
    try:
        entries = json.loads(payload.removeprefix(PROGRESS))
    except (ValueError, RecursionError):
        return
    for entry in entries if isinstance(entries, list) else ():
        match entry:
            case [str(thread_id), str(text)]:
                try:
                    yield UUID(hex=thread_id), text[:PROGRESS_CHARS]
                except ValueError:
                    continue


def _packed(entries: Iterable[str]) -> Iterator[str]:
    """The entries, joined by commas, in texts of at most about PAYLOAD_BYTES."""
    packed: list[str] = []
    size = 0
    for entry in entries:
        if packed and size + len(entry) > PAYLOAD_BYTES:
            yield ",".join(packed)
            packed, size = [], 0
        packed.append(entry)
        size += len(entry) + 1
    if packed:
        yield ",".join(packed)
