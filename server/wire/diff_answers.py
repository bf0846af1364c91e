"""What callers get of a comparison, made where the files were compared: a page as the bytes that are sent."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from server.domain.review.comparison import Comparison
from server.wire.diff_queries import ComparisonQuery
from server.wire.diffs import diff_page, draft_diff_page
from server.wire.event_forms import MessageForm
from server.wire.review_messages import diff_message, draft_diff_message
from server.wire.text import dumps


@dataclass(frozen=True, slots=True)
class PageText:
    """A page as JSON text. next_cursor: of the next page; None on the last one."""

    text: bytes
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class DiffText:
    """Makes a page as JSON. is_draft: of two versions of a draft. Raises as `diff_page`."""

    query: ComparisonQuery
    is_draft: bool = False

    def __call__(self, comparison: Comparison) -> PageText:
        """The page of a comparison."""
        paths = None if self.query.path is None else {self.query.path}
        page = (draft_diff_page if self.is_draft else diff_page)(comparison, self.query, paths)
        return PageText(dumps(page), page.next_cursor)


@dataclass(frozen=True, slots=True)
class DiffMessage:
    """Makes a DiffProposalResponse in the form of a call. paths: as of `diff_page`, which says what is
    raised."""

    query: ComparisonQuery
    paths: Collection[str] | None
    form: MessageForm

    def __call__(self, comparison: Comparison) -> bytes:
        """The page of a comparison."""
        return self.form.text(diff_message(comparison, self.query, self.paths))


@dataclass(frozen=True, slots=True)
class DraftDiffMessage(DiffMessage):
    """Makes a DiffDraftResponse."""

    def __call__(self, comparison: Comparison) -> bytes:
        """The page of a comparison of two versions of a draft."""
        return self.form.text(draft_diff_message(comparison, self.query, self.paths))
