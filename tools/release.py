"""Prepares a release (the task `release`): checks the tree, writes what is published, and prints the rest.

    python tools/release.py

build/release gets the wheels and the bills of materials, proto/released the contracts that later changes are
compared with. Nothing is published, committed or tagged.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from tools import audit, breaking
from tools.breaking import ROOT, git

OUTPUT = ROOT / "build" / "release"
#: The projects that are released together, with the same version.
PROJECTS = ("pyproject.toml", "clients/python/pyproject.toml")


def version_of(project: Path) -> str:
    """The version in a pyproject.toml."""
    found: str = tomllib.loads(project.read_text())["project"]["version"]
    return found


def newest_section(changelog: str) -> str:
    """The title of the newest section that has a version."""
    titles = re.findall(r"^## (.+)$", changelog, re.MULTILINE)
    return next((title for title in titles if title != "Unreleased"), "")


def mistakes() -> Iterator[str]:
    """What must be mended before a release."""
    versions = {name: version_of(ROOT / name) for name in PROJECTS}
    version = versions["pyproject.toml"]
    yield from (f"{name} has the version {each}" for name, each in versions.items() if each != version)
    if newest_section((ROOT / "CHANGELOG.md").read_text()) != version:
        yield f"the newest section of CHANGELOG.md is not {version}"
    if git("status", "--porcelain"):
        yield "the tree has changes that are not committed"
    if git("tag", "--list", f"v{version}"):
        yield f"v{version} is released"
    if breaking.main():
        yield "a contract breaks clients, or was not compared"


def write_contracts(released: Path) -> None:
    """Write the contracts of this tree, for later changes to be compared with."""
    buf = Path(sys.executable).with_name("buf")
    subprocess.run(
        [str(buf), "build", "--output", str(released / breaking.PROTO_IMAGE)], cwd=ROOT, check=True
    )
    for name in (breaking.OPENAPI, breaking.ASYNCAPI):
        shutil.copyfile(breaking.REFERENCE / name, released / name)


def write_packages() -> bool:
    """Write wheels and bills of materials. Returns whether the audit found nothing."""
    shutil.rmtree(OUTPUT, ignore_errors=True)
    command = [sys.executable, str(ROOT / "tools" / "wheels.py"), "--output", str(OUTPUT)]
    subprocess.run(command, cwd=ROOT, check=True)
    code = audit.main()
    for bill in audit.BILLS.glob("*.json"):
        shutil.copyfile(bill, OUTPUT / f"sbom-{bill.name}")
    return code in (0, audit.NOT_DONE)


def main() -> int:
    """The command line. Returns 0, or 1 when something must be mended first."""
    found = list(mistakes())
    for mistake in found:
        print(f"release: {mistake}")
    if found or not write_packages():
        return 1
    write_contracts(breaking.RELEASED)
    version = version_of(ROOT / "pyproject.toml")
    print(f"""
{OUTPUT.relative_to(ROOT)} has the packages. Then:
  git commit -m "Release {version}" -- {breaking.RELEASED.relative_to(ROOT)}
  git tag v{version} && git tag gen/go/v{version}
  git push origin main v{version} gen/go/v{version}
  and build the image: docs/howto/deploy.md""")
    return 0


if __name__ == "__main__":
    sys.exit(main())
