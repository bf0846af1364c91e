"""Blocks of images, sound, videos and documents, in the forms of the framework and of providers."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from server.domain.journal.content import MAX_MEDIA_BYTES, Media
from server.frames.blocks import Block

#: The kind of media of a block's type, where it is another word.
_KINDS = {
    "image_url": "image",
    "input_audio": "audio",
    "document": "file",
    "text-plain": "file",
    "media": "file",
}
#: Where the forms keep what they hold: the block itself, or a member of it.
_INNER = ("source", "image_url", "input_audio", "file", "inline_data")
_URLS = ("image_url", "url", "file_uri", "file_url")
_DATA = ("base64", "data", "file_data", "text")
_IDS = ("file_id", "id")
_MIME_TYPES = ("mime_type", "media_type")


def read_media(block: Block) -> Media | None:
    """The media of a block, which are in the block itself or in a member, or that member is their URL; None
    when there are none, or when they are not Base64."""
    members = block.members
    word = _first(members, "type")
    inner = next((members[key] for key in _INNER if isinstance(members.get(key), dict)), members)
    linked = type(members.get("image_url")) is str
    holder = members if linked else inner
    url = _first(holder, *_URLS)
    data = "" if linked else _first(inner, *_DATA)
    link = url if url.startswith("data:") else data if data.startswith("data:") else ""
    mime_type = _first(inner, *_MIME_TYPES) or _first(members, *_MIME_TYPES)
    content, place = (link or data), ("" if link or data else url)
    if link:
        head, _, content = link[len("data:") :].partition(",")
        mime_type = head.split(";")[0] or mime_type
    if not mime_type and inner.get("format") in ("wav", "mp3", "flac", "opus"):
        mime_type = f"audio/{block.take(inner, 'format')}"
    file_id = _first(inner, *_IDS) if not (url or data) else ""
    if not (content or place or file_id):
        return None
    media = Media(_kind(word, mime_type), mime_type, place, file_id)
    found = _with_bytes(media, content, plain=_is_plain(word, inner, mime_type))
    if found is not None:
        if place or (link and link == url):
            block.word(holder, *_URLS)
        elif content:
            block.word(inner, *_DATA)
        else:
            block.word(inner, *_IDS)
        for declared in (inner, members):
            if _first(declared, *_MIME_TYPES) == mime_type:
                block.word(declared, *_MIME_TYPES)
    return found


def _kind(word: str, mime_type: str) -> str:
    """The kind of media of a block's type."""
    general = mime_type.split("/")[0]
    if word == "media" and general in ("image", "audio", "video"):
        return general
    return _KINDS.get(word, word)


def _is_plain(word: str, inner: Mapping[str, Any], mime_type: str) -> bool:
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


def _first(block: Mapping[str, Any], *keys: str) -> str:
    """The first of the members that is a string with something in it."""
    return next((block[key] for key in keys if type(block.get(key)) is str and block[key]), "")
