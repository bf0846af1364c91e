"""The fuzzer's first inputs are read without a fault."""

from __future__ import annotations

import pytest

from tests.hostile.fuzz_targets import TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_the_inputs_that_fuzzing_begins_with_are_read(name: str) -> None:
    for data in (b"", *TARGETS[name].seeds):
        TARGETS[name].read(data)
