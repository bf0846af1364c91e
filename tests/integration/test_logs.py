"""What a log line may contain: the hub's entries, libraries' records, exceptions."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

#: Secrets, to be logged in every form and under every name that the hub uses.
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJraW5nZmlzaGVyIn0.c2lnbmF0dXJl"
CANARY = "kingfisher-4711"

_LOGS = r"""
import logging, sys, structlog
from server.observability.logs import configure_logging
configure_logging(dev=%(dev)r, stream=sys.stdout)
ours, theirs = structlog.stdlib.get_logger("server.test"), logging.getLogger("library")
jwt, canary = %(jwt)r, %(canary)r
ours.info("said", token=canary, user_prompt=canary, authorization=canary, generated_files={"/a": canary},
          nested={"password": canary, "fine": "kept"}, listed=[f"Bearer {canary}"], content=[canary])
ours.warning("said", why=f"wss://h/api?token={canary}&x=1 {jwt} bearer.{jwt} Basic {canary}")
ours.warning("said", why=f"Bearer {canary}, ideo_share_{canary}, whsec_{canary}")
theirs.warning("connect to postgresql://ann:%%s@db/x failed", canary)
theirs.error("GET /api/ws?ticket=%%s HTTP/1.1", canary)
ours.info("a\r\nb\x1b[31mc\u2028d\x00e", why='one\n{"event": "forged"}')
try:
    raise ValueError(f"invalid input for query argument $4: '{canary}'")
except ValueError as error:
    if not %(dev)r:
        ours.exception("failed")
        ours.error("failed", exc_info=error)
        theirs.exception("failed")
"""


#: Addresses with passwords, as libraries write them, and in the text of an exception.
_ADDRESSES = r"""
import logging, sys, structlog
from server.observability.logs import configure_logging
configure_logging(dev=%(dev)r, stream=sys.stdout)
ours, theirs = structlog.stdlib.get_logger("server.test"), logging.getLogger("library")
jwt, canary = %(jwt)r, %(canary)r
for between in ("", "/", "@", "?", "#", "//", ":", "@@", "/@"):
    theirs.error(f"cannot reach redis://ann:{canary}{between}{canary}@db:6379/0: timeout")
theirs.error(f"postgresql://ann@db/x?sslpassword={canary}&password={canary} host=db password={canary}")
theirs.error("postgresql://ann:%%s@db/x?a=[redacted]", canary)
try:
    raise RuntimeError(f"postgresql://ann:{canary}/{canary}@db {jwt} ideo_share_{canary}")
except RuntimeError as error:
    ours.exception("failed kept")
    theirs.exception("failed")
    ours.error("failed", exc_info=error)
"""


def logged(*, dev: bool, script: str = _LOGS) -> list[str]:
    """The log lines of a process that tries to log secrets."""
    script %= {"dev": dev, "jwt": JWT, "canary": CANARY}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not done.stderr
    # splitlines also splits where terminals and collectors do not.
    return done.stdout.removesuffix("\n").split("\n")


@pytest.mark.parametrize("script", [_LOGS, _ADDRESSES], ids=["values", "addresses"])
@pytest.mark.parametrize("dev", [False, True])
def test_no_secret_is_written_by_the_hub_or_a_library(dev: bool, script: str) -> None:
    lines = logged(dev=dev, script=script)
    text = "\n".join(lines)
    assert CANARY not in text
    for part in JWT.split("."):
        assert part not in text
    assert "[redacted]" in text
    assert "kept" in text


@pytest.mark.parametrize("dev", [False, True])
def test_an_entry_is_one_line_and_cannot_control_a_terminal(dev: bool) -> None:
    lines = logged(dev=dev)
    assert len(lines) == (6 if dev else 9)
    forged = next(line for line in lines if "forged" in line)
    assert "\x1b" not in forged.replace("\x1b[0m", "").replace("\x1b[1m", "")
    assert not {"\r", "\0", "\u2028"} & set(forged)


def test_in_production_entries_are_json_and_exceptions_are_classes_and_places() -> None:
    entries: list[dict[str, Any]] = [json.loads(line) for line in logged(dev=False)]
    assert all({"event", "level", "timestamp", "logger"} <= entry.keys() for entry in entries)
    faults = [entry for entry in entries if entry["event"] == "failed"]
    assert [entry["fault"] for entry in faults] == ["ValueError"] * 3
    assert all(entry["where"] and "exc_info" not in entry for entry in faults)
