"""The printed list of messages, split into its items even where one of them is irregular.

A regular text is split by its brackets alone, whatever its strings contain. Behind an irregular argument,
such as a table in plain text with a quote or bracket that has no partner, the next item is looked for by what
messages look like: a closing bracket, a comma and `Name(content=`. So an irregular item costs itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from server.frames.printed import MESSAGE, PLACED_STRING, STRING, Call, call, is_call, split

#: A list of messages begins like this: a call, an object, a dict, a tuple of two words, the text of a
#: message, or nothing.
_LIST = re.compile(rf"\[(?:\]|[A-Za-z_][\w.]*+\(|<|\{{['\"]|\(['\"]|['\"](?:content=|{MESSAGE}))")
#: What a list-like class prints before and after its list: `deque([…], maxlen=9)`, `Model(root=[…])`.
_CLASS = re.compile(r"[A-Za-z_][\w.]*+\((?:root=)?(?=\[)")
_CLASS_END = re.compile(r"(?>, \w++=[^\[\](){},]*+)*+\)\Z")
_ANGLE = re.compile(r"<[^<>'\"\n]{0,300}>")
_STRING = re.compile(STRING, re.DOTALL)
_PLACED = re.compile(PLACED_STRING, re.DOTALL)
_SEPARATOR = re.compile(r",\s*")
#: What follows an item of a regular list.
_AFTER_ITEM = re.compile(r"\s*+(?:,\s*+|(?=\]))")
#: What follows an item: the end of the list, another item, or the end of a text that was cut short.
_BETWEEN = re.compile(r"\]?\Z|,\s*(?:\Z|[<{(\['\"]|[A-Za-z_][\w.]*+(?:\(|\Z))")

#: What an item that can be read begins with: the head of a message or of a dict.
_DICT = r"\{'(?:role|type|content)': "
_HEAD = rf"(?:{MESSAGE}(?:{STRING}[,)]|\[)|{_DICT})"
_ITEM = re.compile(rf"{MESSAGE}|\{{['\"]")
#: The end of a message and the beginning of the next item.
_BOUNDARY = re.compile(rf"[)}}], (?={_HEAD})", re.DOTALL)
#: What may be one, although the next item goes on behind the text that is searched.
_LIKE_BOUNDARY = re.compile(rf"[)}}], (?={MESSAGE}|{_DICT})")
#: The beginning of an item after one that is not a message.
_NEXT = re.compile(rf", (?={_HEAD})", re.DOTALL)

#: How often the characters of a text may be scanned in irregular items, before the rest stays one item. Twice
#: is enough: a scan stops where the next message begins, unless the text is made to prevent that.
_MAX_SCANS = 4


@dataclass(slots=True)
class Items:
    """The texts of a list's items. calls: of a regular list, the call that each item is, None for another
    value; None when the list is irregular."""

    texts: list[str]
    calls: list[Call | None] | None


def items(text: str) -> Items | None:
    """The items; None when the text does not list messages."""
    if text.startswith("(") and text.endswith(")"):
        # A tuple: one with one item ends with a comma.
        text = f"[{text[1:-1].rstrip(', ')}]"
    elif not text.startswith("["):
        text = _inside_class(text)
    if _LIST.match(text) is None:
        return None
    return _regular_items(text) or _Recovery(text).items()


def _inside_class(text: str) -> str:
    """The list in the printed form of a class like `list`; another text as it is."""
    head, end = _CLASS.match(text), text.rfind("]") + 1
    if head is None or _CLASS_END.match(text, end) is None:
        return text
    return text[head.end() : end]


def _regular_items(text: str) -> Items | None:
    """The items if each is one whole value, and, if it is a message, its arguments are keyword arguments."""
    texts: list[str] = []
    calls: list[Call | None] = []
    at = 1
    while not text.startswith("]", at):
        found = call(text, at) if is_call(text, at) else None
        end = _value_end(text, at) if found is None else found.end if found.complete else None
        after = _AFTER_ITEM.match(text, end) if end is not None else None
        if after is None:
            return None
        texts.append(text[at:end])
        calls.append(found)
        at = after.end()
    return Items(texts, calls) if at == len(text) - 1 else None


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

    def items(self) -> Items | None:
        """The texts of the items, as far as one begins like a message; None when none does."""
        text = self._text
        starts, ends, at = [1], [], 1
        while True:
            end = self._end(at)
            separator = _SEPARATOR.match(text, end)
            if separator is None:
                break
            ends.append(end)
            at = separator.end()
            starts.append(at)
        ends.append(end)
        found = [text[start:end] for start, end in zip(starts, ends, strict=True)]
        return Items(found, None) if any(map(_ITEM.match, found)) else None

    def _end(self, at: int) -> int:
        """The position after the item at `at`."""
        text = self._text
        if is_call(text, at):
            found = call(text, at)
            if found.complete and self._ends_item(found.end) and self._precedes_item(found.end):
                return found.end
            since = self._since(found)
            boundary = self._search(_BOUNDARY, at, since, found.stopped)
            return self._rest() if boundary is None else boundary + 1
        end = _value_end(text, at)
        if end is not None and self._ends_item(end):
            return end
        boundary = self._search(_NEXT, at, at, at if end is None else end)
        return self._rest() if boundary is None else boundary

    def _since(self, found: Call) -> int:
        """Where the boundary behind an irregular argument is looked for."""
        if found.stopped >= len(self._text):
            # An argument that is never closed is noticed at the end of the text alone.
            return found.start
        # A quote in plain text may have found a partner in a later message. Then this is not a string.
        for string in _PLACED.finditer(self._text, found.start, found.stopped):
            for like in _LIKE_BOUNDARY.finditer(self._text, *string.span()):
                if _BOUNDARY.match(self._text, like.start()) is not None:
                    return string.start()
        return found.stopped - 1

    def _search(self, form: re.Pattern[str], at: int, since: int, scanned: int) -> int | None:
        """The next boundary of the form after `since`; None when there is none, or too much was scanned."""
        self._budget -= scanned - at
        for boundary in form.finditer(self._text, max(since, at)):
            if self._budget < 0:
                break
            if self._begins_item(boundary.end()):
                return boundary.start()
        return None

    def _precedes_item(self, end: int) -> bool:
        """Whether no item follows, or what follows is one."""
        separator = _SEPARATOR.match(self._text, end)
        return separator is None or self._budget < 0 or self._begins_item(separator.end())

    def _begins_item(self, at: int) -> bool:
        """Whether what looks like the beginning of an item is one: a message is whole, or has at least more
        than its content. Plain text may look like its beginning."""
        if not is_call(self._text, at):
            return True
        found = call(self._text, at)
        content = found.keywords.get("content", "")
        if content.startswith("[") and not content.endswith("]"):
            return False
        if found.complete and self._ends_item(found.end):
            return True
        self._budget -= found.stopped - at
        if not self._text.endswith("]") and _BOUNDARY.search(self._text, found.stopped) is None:
            # The last item of a text that was cut short.
            return True
        return bool(content) and len({*found.keywords, found.irregular} - {"content", ""}) > 0

    def _ends_item(self, end: int) -> bool:
        """Whether the list ends here, or another item follows."""
        return _BETWEEN.match(self._text, end) is not None

    def _rest(self) -> int:
        """The end of the last item: of the text, without the bracket of the list."""
        text = self._text
        return len(text) - 1 if text.endswith("]") else len(text)
