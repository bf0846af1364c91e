"""The forms that make entries of token frames."""

from __future__ import annotations

import pytest

from server.compiled.spliced import SplicingInterpreter
from tests.unit.compiled.forms import Form, compiled


@pytest.fixture(scope="session", params=["spliced", "compiled"])
def form(request: pytest.FixtureRequest) -> Form:
    """Each form."""
    return SplicingInterpreter if request.param == "spliced" else compiled()
