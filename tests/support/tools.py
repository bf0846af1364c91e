"""Programs of this machine that some tests need."""

from __future__ import annotations

import os

import pytest


def need(found: object, how: str) -> None:
    """Skip the test if the program was not found; in CI, fail. how: what to install or to run."""
    if found:
        return
    if os.environ.get("CI"):
        pytest.fail(how)
    pytest.skip(how)
