"""The error of a hub that cannot start. Imports nothing, so that each command of `ideo` can name it."""

from __future__ import annotations


class StartError(Exception):
    """The hub cannot start. The text says why, and what to do."""
