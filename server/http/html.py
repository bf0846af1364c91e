"""Pages for people: plain HTML without styles or scripts, which the hub's headers would forbid."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from litestar import Response

_NO_HEADERS: Mapping[str, str] = {}


def html_page(title: str, body: str, headers: Mapping[str, str] = _NO_HEADERS) -> Response[str]:
    """A page with a heading. body: HTML."""
    heading = escape(title)
    text = (
        f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{heading}</title>\n'
        f"<h1>{heading}</h1>\n{body}\n"
    )
    return Response(text, media_type="text/html", headers=dict(headers))
