"""The code on pages, which tests run as it is written."""

from __future__ import annotations

import re

from tests.support.programs import ROOT


def code_blocks(page: str, language: str) -> list[str]:
    """The code blocks of a page that are marked with a language, in their order.

    page: its path in the project, such as `docs/howto/use-grpc.md`.
    """
    return re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / page).read_text(), re.M | re.S)
