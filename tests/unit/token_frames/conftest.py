"""The forms that make entries of token frames."""

from __future__ import annotations

import pytest

from server.token_frames.spliced import SplicingInterpreter
from tests.unit.token_frames.forms import Form, compiled


@pytest.fixture(scope="session", params=["spliced", "compiled"])
def form(request: pytest.FixtureRequest) -> Form:
    """Each form."""
    return SplicingInterpreter if request.param == "spliced" else compiled()
