"""The memory of a busy process in large pages (ADR 0070).

Each event touches objects in hundreds of small pages, whose addresses the processor has to look up; of a
large page it looks up one. The system joins pages by itself only where it was set up to.
"""

from __future__ import annotations

import asyncio
import ctypes
import re
import time
from pathlib import Path

#: Seconds of processor time after which the process counts as busy: what serves a few requests does without.
BUSY_CPU_S = 30.0
#: Seconds between two looks at that, and between two pages, each of which takes some milliseconds.
_LOOK_S, _PAUSE_S = 5.0, 0.25
#: Bytes of a large page, and the advice to join small ones (Linux 6.1, `MADV_COLLAPSE`).
PAGE_BYTES, _COLLAPSE = 2 << 20, 25
_SMAPS = Path("/proc/self/smaps")
#: A mapping without a file, or the heap, that can be written: its addresses, its size and how much is in use.
_MAPPING = re.compile(
    r"^([0-9a-f]+)-([0-9a-f]+) rw-p 0+ 00:00 0 *(?:\[heap\])?\n"
    r"Size: +(\d+) kB\n(?:[KM].*\n)*Rss: +(\d+) kB$",
    re.MULTILINE,
)
#: The rest of a mapping would be taken into use, too.
_USED_PART = 0.75


async def join_pages_once_busy() -> None:
    """Have the memory that is in use then in large pages, as far as the system can (Linux)."""
    while True:
        await asyncio.sleep(_LOOK_S)
        if time.process_time() >= BUSY_CPU_S:
            break
    for address in _own_pages():
        join_page(address)
        await asyncio.sleep(_PAUSE_S)


def _own_pages() -> list[int]:
    return pages_to_join(_SMAPS.read_text()) if _SMAPS.exists() else []


def pages_to_join(smaps: str) -> list[int]:
    """The addresses of what could be large pages, in mappings of which most is in use: a thread's stack is
    not. smaps: the text of `/proc/self/smaps`."""
    addresses: list[int] = []
    for mapping in _MAPPING.finditer(smaps):
        start, end = (int(address, 16) for address in mapping.groups()[:2])
        size_kib, used_kib = map(int, mapping.groups()[2:])
        if used_kib >= _USED_PART * size_kib:
            first = -(-start // PAGE_BYTES) * PAGE_BYTES
            addresses += range(first, end - PAGE_BYTES + 1, PAGE_BYTES)
    return addresses


def join_page(address: int) -> bool:
    """Join the small pages from an address on. Returns whether there is a large one now."""
    madvise = getattr(ctypes.CDLL(None), "madvise", None)
    return madvise is not None and not madvise(
        ctypes.c_void_p(address), ctypes.c_size_t(PAGE_BYTES), _COLLAPSE
    )
