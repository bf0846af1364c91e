"""The proof that an entry of the carrier was written by a replica.

A user of the Redis-protocol server could otherwise show events to readers, or end their streams. The replicas
share a random key, which the database keeps and the carrier never gets. A proof covers all that an entry
says, with the thread it belongs to: moved or changed, it is void.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Mapping
from hashlib import blake2b
from hmac import compare_digest
from typing import Any
from uuid import UUID, uuid4

#: The field of an entry that has its proof.
PROOF = b"m"
_PROOF_BYTES = 16
_ENTRY = struct.Struct(">16sQQQBBQ")
_NOTICE = struct.Struct(">16sQ")
#: Replicas whose latest notice is remembered: far more than any deployment has.
_MAX_SENDERS = 1024


class Proofs:
    """Makes and checks proofs with the replicas' key, 16 to 64 bytes."""

    def __init__(self, key: bytes) -> None:
        self._entries = blake2b(key=key, digest_size=_PROOF_BYTES, person=b"ideo entry")
        self._notices = blake2b(key=key, digest_size=_PROOF_BYTES, person=b"ideo notice")
        self._sender = uuid4().bytes
        self._sent = 0
        #: The number of the latest notice of each replica.
        self._received: OrderedDict[bytes, int] = OrderedDict()

    def of_entry(self, thread_id: UUID, last_seq: int, fields: Mapping[bytes, Any]) -> bytes:
        """The proof of a thread's entry. Raises KeyError, ValueError, struct.error for other fields."""
        batch, deltas = fields.get(b"b"), fields.get(b"r", b"")
        digest = self._entries.copy()
        digest.update(
            _ENTRY.pack(
                thread_id.bytes,
                int(fields[b"f"]),
                last_seq,
                int(fields[b"e"]),
                int(fields[b"t"]),
                batch is not None,
                len(batch or b""),
            )
        )
        digest.update(batch or b"")
        digest.update(deltas)
        return digest.digest()

    def hold_for_entry(self, thread_id: UUID, last_seq: int, fields: Mapping[bytes, bytes]) -> bool:
        """Whether a thread's entry has its proof."""
        try:
            return compare_digest(fields[PROOF], self.of_entry(thread_id, last_seq, fields))
        except (KeyError, ValueError, struct.error):
            return False

    def notice(self, payload: bytes) -> dict[Any, Any]:
        """The fields of a notice to all replicas, or to this one. It is numbered, so that it is accepted only
        once."""
        self._sent += 1
        head = _NOTICE.pack(self._sender, self._sent)
        return {b"p": payload, b"h": head, PROOF: self._of_notice(head, payload)}

    def payload_of(self, fields: Mapping[bytes, bytes]) -> bytes | None:
        """The payload of a notice; None when it has no proof, or the same replica sent a later one before."""
        try:
            head, payload = fields[b"h"], fields[b"p"]
            sender, number = _NOTICE.unpack(head)
            if not compare_digest(fields[PROOF], self._of_notice(head, payload)):
                return None
        except (KeyError, struct.error):
            return None
        if number <= self._received.get(sender, 0):
            return None
        self._received[sender] = number
        self._received.move_to_end(sender)
        if len(self._received) > _MAX_SENDERS:
            self._received.popitem(last=False)
        return payload

    def _of_notice(self, head: bytes, payload: bytes) -> bytes:
        digest = self._notices.copy()
        digest.update(head)
        digest.update(payload)
        return digest.digest()
