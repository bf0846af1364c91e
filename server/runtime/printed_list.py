"""The printed list of messages, split into its items even where one of them is irregular.

A regular text is split by its brackets alone, whatever its strings contain. Behind an irregular argument,
such as a table in plain text with a quote or bracket that has no partner, the next item is looked for by what
messages look like: a closing bracket, a comma and `Name(content=`. So an irregular item costs itself.
"""

from __future__ import annotations

import re

from server.runtime.printed import MESSAGE, STRING, call, is_call, split

#: A list of messages begins like this: a call, an object, a dict, a tuple of two words, or nothing.
_LIST = re.compile(r"\[(?:\]|[A-Za-z_][\w.]*+\(|<|\{['\"]|\(['\"])")
_ANGLE = re.compile(r"<[^<>'\"\n]{0,300}>")
_STRING = re.compile(STRING, re.DOTALL)
_SEPARATOR = re.compile(r",\s*")

#: What an item that can be read begins with: the head of a message or of a dict.
_HEAD = rf"(?:{MESSAGE}(?:{STRING}[,)]|\[)|\{{'(?:role|type|content)': )"
_ITEM = re.compile(rf"{MESSAGE}|\{{['\"]")
#: The end of a message and the beginning of the next item.
_BOUNDARY = re.compile(rf"[)}}], (?={_HEAD})", re.DOTALL)
#: The beginning of an item after one that is not a message.
_NEXT = re.compile(rf", (?={_HEAD})", re.DOTALL)

#: How often the length of the text may be scanned in vain before the rest stays one item.
_MAX_SCANS = 4


def items(text: str) -> tuple[list[str], bool] | None:
    """The texts of the items, and whether the list is regular; None when the text does not list messages."""
    if _LIST.match(text) is None:
        return None
    found = split(text, 0)
    if found.end == len(text) and all(map(_is_regular, found.parts)):
        return found.parts, True
    return _Recovery(text).items()


def _is_regular(item: str) -> bool:
    """Whether the item is one whole value, and, if it is a message, its arguments are keyword arguments."""
    if is_call(item):
        found = call(item)
        return found.complete and found.end == len(item)
    return _value_end(item, 0) == len(item)


def _value_end(text: str, at: int) -> int | None:
    """The position after the value at `at`, which is not a call; None when it is irregular."""
    if text[at : at + 1] in ("(", "[", "{"):
        return split(text, at).end
    for form in (_ANGLE, _STRING):
        whole = form.match(text, at)
        if whole is not None:
            return whole.end()
    return None


class _Recovery:
    """Splits one irregular text, item by item."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._budget = _MAX_SCANS * len(text)

    def items(self) -> tuple[list[str], bool] | None:
        """The texts of the items, as far as one begins like a message; None when none does."""
        text = self._text
        starts, ends, at = [1], [], 1
        while True:
            end = self._end(at)
            if text[end:] == "]" or end == len(text):
                break
            separator = _SEPARATOR.match(text, end)
            if separator is None:
                break
            ends.append(end)
            at = separator.end()
            starts.append(at)
        ends.append(end)
        found = [text[start:end] for start, end in zip(starts, ends, strict=True)]
        return (found, False) if any(map(_ITEM.match, found)) else None

    def _end(self, at: int) -> int:
        """The position after the item at `at`."""
        text = self._text
        if is_call(text, at):
            found = call(text, at)
            if found.complete and self._ends_item(found.end):
                return found.end
            # An argument that is never closed is noticed at the end of the text alone.
            since = found.start if found.stopped == len(text) else found.stopped - 1
            boundary = self._search(_BOUNDARY, at, since, found.stopped)
            return self._rest() if boundary is None else boundary + 1
        end = _value_end(text, at)
        if end is not None and self._ends_item(end):
            return end
        boundary = self._search(_NEXT, at, at, at if end is None else end)
        return self._rest() if boundary is None else boundary

    def _search(self, form: re.Pattern[str], at: int, since: int, scanned: int) -> int | None:
        """The next boundary of the form behind `since`; None when there is none, or too much was scanned."""
        self._budget -= scanned - at
        if self._budget < 0:
            return None
        boundary = form.search(self._text, max(since, at))
        return None if boundary is None else boundary.start()

    def _ends_item(self, end: int) -> bool:
        """Whether the list ends here, or another item follows."""
        rest = self._text[end : end + 3]
        if rest == "]":
            return True
        separator = _SEPARATOR.match(self._text, end)
        if separator is None:
            return False
        follows = separator.end()
        return is_call(self._text, follows) or self._text[follows : follows + 1] in "<{([\"'"

    def _rest(self) -> int:
        """The end of the last item: of the text, without the bracket of the list."""
        text = self._text
        return len(text) - 1 if text.endswith("]") else len(text)
