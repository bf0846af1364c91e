"""Blocks of images, sound, videos and documents, in the forms of the framework and of providers."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from server.domain.journal.content import MAX_MEDIA_BYTES, Media

Block = Mapping[str, Any]

#: The kind of media of a block's type.
_MEDIA = {
    "image_url": "image",
    "input_audio": "audio",
    "document": "file",
    "text-plain": "file",
    "media": "file",
}
#: Where the forms keep what they hold: the block itself, or a member of it.
_INNER = ("source", "image_url", "input_audio", "file", "inline_data")


def read_media(block: Block) -> Media | None:
    """The media of a block, which are in the block itself or in a member, or that member is their URL; None
    when there are none, or when they are not Base64."""
    word = _first(block, "type")
    inner: Block = block
    for key in _INNER:
        if isinstance(block.get(key), dict):
            inner = block[key]
        elif key == "image_url" and type(block.get(key)) is str:
            inner = {"url": block[key]}
    mime_type = _first(inner, "mime_type", "media_type") or _first(block, "mime_type", "media_type")
    kind = _MEDIA.get(word, word)
    if word == "media" and mime_type.split("/")[0] in ("image", "audio", "video"):
        kind = mime_type.split("/")[0]
    url = _first(inner, "url", "file_uri", "file_url")
    data = _first(inner, "base64", "data", "file_data", "text")
    if url.startswith("data:") or data.startswith("data:"):
        head, _, data = (url or data)[len("data:") :].partition(",")
        url, mime_type = "", head.split(";")[0] or mime_type
    if not mime_type and inner.get("format") in ("wav", "mp3", "flac", "opus"):
        mime_type = f"audio/{inner['format']}"
    file_id = _first(inner, "file_id", "id") if not (url or data) else ""
    if not (url or data or file_id):
        return None
    return _with_bytes(Media(kind, mime_type, url, file_id), data, plain=_is_plain(word, inner, mime_type))


def _is_plain(word: str, inner: Block, mime_type: str) -> bool:
    """Whether the data is text, not Base64."""
    return word == "text-plain" or (
        "text" in (inner.get("type"), inner.get("source_type")) and mime_type in ("", "text/plain")
    )


def _with_bytes(media: Media, data: str, *, plain: bool) -> Media | None:
    if not data:
        return media
    try:
        content = data.encode() if plain else base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        return None
    return Media(
        media.kind,
        media.mime_type,
        data=content if len(content) <= MAX_MEDIA_BYTES else b"",
        size_bytes=len(content),
        sha256=sha256(content).hexdigest(),
    )


def _first(block: Block, *keys: str) -> str:
    """The first of the members that is a string with something in it."""
    return next((block[key] for key in keys if type(block.get(key)) is str and block[key]), "")
