"""Every check that is no test (the task `check`): runs all, reports each, fails when one fails.

Needs no network. Prints a table, and the output of what failed. `buf breaking` compares the contract
with the main branch, and says so when there is nothing to compare with.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHON_FOLDERS = [name for name in ("server", "tests", "bench", "tools") if (ROOT / name).is_dir()]
#: Where main may be found, the most trusted first: a CI checkout may have no local one.
MAIN_REFS = ("refs/remotes/origin/main", "refs/heads/main")


@dataclass(frozen=True)
class Result:
    """How a check went: `passed` None means that it was skipped, and `output` says why."""

    name: str
    passed: bool | None
    seconds: float
    output: str


def call(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command of the virtual environment; output and errors in one text."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def git(*arguments: str) -> str | None:
    """What git answers; None when it refuses or is not installed."""
    try:
        done = call(["git", *arguments])
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def contract_base() -> str | None:
    """The commit of main that this tree stands on and that has protos; None when there is none."""
    for ref in MAIN_REFS:
        base = git("merge-base", "HEAD", ref) or git("rev-parse", "--verify", "--quiet", ref)
        if base and git("ls-tree", "-r", "--name-only", base, "proto"):
            return base
    return None


def breaking() -> list[str] | str:
    """The command that looks for breaking changes, or why there is none."""
    base = contract_base()
    if base is None:
        return "nothing to compare with: no main branch with protos in this checkout"
    return ["buf", "breaking", "--against", f".git#ref={base}"]


def checks() -> dict[str, list[str] | str]:
    """Name to command, the longest first; a text in place of a command says why it is skipped."""
    return {
        "types": ["mypy"],
        "docs": [sys.executable, "tools/docs.py", "--check"],
        "generated code": [sys.executable, "tools/gen.py", "--check"],
        "import rules": ["lint-imports", "--no-logo"],
        "docstrings": ["interrogate", "-vv", "--omit-covered-files", "server"],
        "format": ["ruff", "format", "--check", *PYTHON_FOLDERS],
        "lint": ["ruff", "check", *PYTHON_FOLDERS],
        "contract lint": ["buf", "lint"],
        "contract format": ["buf", "format", "--diff", "--exit-code"],
        "contract breaking": breaking(),
    }


def run(name: str, command: list[str] | str) -> Result:
    """Run one check."""
    if isinstance(command, str):
        return Result(name, None, 0.0, command)
    began = time.monotonic()
    try:
        done = call(command)
    except FileNotFoundError:
        return Result(name, False, 0.0, f"{command[0]} is not installed: run `make setup`\n")
    return Result(name, done.returncode == 0, time.monotonic() - began, done.stdout)


def main() -> int:
    """Run all; 0 when none failed."""
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 2) as pool:
        results = list(pool.map(lambda item: run(*item), checks().items()))
    for result in results:
        if result.passed is False:
            print(f"--- {result.name}\n{result.output.rstrip()}\n")
    for result in results:
        word = {True: "ok", False: "FAILED", None: "skipped"}[result.passed]
        note = f"  {result.output}" if result.passed is None else ""
        print(f"{result.name:18} {word:8} {result.seconds:5.1f} s{note}")
        if result.name == "generated code" and result.passed:
            for line in result.output.splitlines():
                if "not compared" in line:
                    print(f"{'':18} {line}")
    return 1 if any(result.passed is False for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
