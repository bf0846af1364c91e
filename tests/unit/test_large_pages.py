"""Which memory is put into large pages, and that it is."""

from __future__ import annotations

import mmap
import platform
import sys
from pathlib import Path

import pytest

from server.large_pages import PAGE_BYTES, join_page, pages_to_join

FLAGS = "KernelPageSize:        4 kB\nMMUPageSize:           4 kB\n"


def mapping(start: int, size_kib: int, used_kib: int, rest: str = "rw-p 00000000 00:00 0 ") -> str:
    """A mapping as the kernel describes it."""
    address = f"{start:x}-{start + (size_kib << 10):x}"
    return f"{address} {rest}\nSize: {size_kib:14} kB\n{FLAGS}Rss: {used_kib:14} kB\nPss: {used_kib:14} kB\n"


def test_only_whole_large_pages_of_memory_that_is_mostly_used_are_joined() -> None:
    at, heap = 0x7F00_0010_0000, "rw-p 00000000 00:00 0                          [heap]"
    smaps = (
        mapping(0x10_0000, 6144, 6144, heap)
        + mapping(at, 8192, 7000)
        + mapping(at + (1 << 30), 8192, 100)
        + mapping(at + (2 << 30), 8192, 8192, "r-xp 00001000 fe:00 18500 /usr/lib/libpython.so")
        + mapping(at + (3 << 30), 8192, 8192, "rw-p 00001000 fe:00 18500 /usr/lib/libpython.so")
        + mapping(at + (4 << 30), 1024, 1024)
    )
    whole = at + 0x10_0000
    assert pages_to_join(smaps) == [
        *(0x20_0000, 0x40_0000),
        *(whole, whole + PAGE_BYTES, whole + 2 * PAGE_BYTES),
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has such pages")
def test_what_is_in_use_gets_into_large_pages_and_keeps_its_content() -> None:
    major, minor = map(int, platform.release().split(".")[:2])
    if (major, minor) < (6, 1) or not Path("/sys/kernel/mm/transparent_hugepage").exists():
        pytest.skip("this kernel joins no pages")
    with mmap.mmap(-1, 4 * PAGE_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        content = bytes(range(256)) * (len(memory) // 256)
        memory[:] = content
        pages = pages_to_join(Path("/proc/self/smaps").read_text())
        assert sum(join_page(page) for page in pages) >= 3
        assert memory[:] == content
