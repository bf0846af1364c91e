"""Pages of lists that are ordered by (created_at, id), newest first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from piccolo.columns import Column
from piccolo.columns.combination import Or
from piccolo.query import Select

from server.db.page_tokens import page_place, page_token
from server.domain.model import Page


def page_query(
    query: Select[Any], created_at: Column, item_id: Column, *, kind: bytes, limit: int, token: str | None
) -> Select[Any]:
    """The query for one page, and one row more that tells `page_of` whether another page follows.

    kind: the byte of the list in page tokens. Raises InvalidArgument for a token that the list never issued.
    """
    if token is not None:
        last_time, last_id = page_place(kind, token)
        # The first condition is the range of an index; PostgreSQL finds none in the second.
        query = query.where(created_at <= last_time, Or(created_at < last_time, item_id < last_id))
    return query.order_by(created_at, item_id, ascending=False).limit(limit + 1)


def page_of(items: Sequence[Any], *, kind: bytes, limit: int) -> Page:
    """The page of the items that a query of `page_query` found."""
    shown = tuple(items[:limit])
    more = len(items) > limit and shown
    return Page(shown, page_token(kind, shown[-1].created_at, shown[-1].id) if more else None)
