"""Files as the HTTP interface gives them, read back to bytes."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any


def content_of(file: Mapping[str, Any]) -> bytes:
    """The bytes of a file in the seed's form."""
    if file.get("encoding") == "base64":
        return base64.b64decode("".join(file["content"]))
    return "\n".join(file["content"]).encode("utf-8", "surrogatepass")


def facts_of(files: Mapping[str, Any] | None) -> dict[str, dict[str, Any]]:
    """Size, SHA-256 and times of each file, as a recording's notes have them."""
    return {
        path: {
            "bytes": len(content_of(file)),
            "sha256": hashlib.sha256(content_of(file)).hexdigest(),
            "created_at": file.get("created_at"),
            "modified_at": file.get("modified_at"),
        }
        for path, file in (files or {}).items()
    }
