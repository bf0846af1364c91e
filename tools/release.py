"""Prepares a release (the task `release`): checks the tree, writes what is published, and prints the rest.

    python tools/release.py

build/release gets the wheels, the npm package and the bills of materials, proto/released the contracts that
later changes are compared with. Nothing is published, committed or tagged.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tools import audit, breaking, npm_package
from tools.breaking import ROOT, git

OUTPUT = ROOT / "build" / "release"
#: The files that contain the version of a release, and how each writes it. A Go module's own version is its
#: tag; go.mod has that of the stubs.
VERSIONS = {
    "pyproject.toml": r'^version = "(.+)"$',
    "clients/python/pyproject.toml": r'^version = "(.+)"$',
    "clients/typescript/package.json": r'^  "version": "(.+)",$',
    "server/compiled/rust/Cargo.toml": r'^version = "(.+)"$',
    "server/compiled/rust/crates.lock": r'^name = "ide_orchestrator_compiled"\nversion = "(.+)"$',
    "clients/go/go.mod": r"/gen/go v(\S+)$",
    "deploy/helm/ide-orchestrator/Chart.yaml": r"^version: (.+)\nappVersion: \1$",
}
#: The tags of a release. Each Go module in a subfolder has its own, which begins with that folder.
TAGS = ("v{}", "gen/go/v{}", "clients/go/v{}")


def version_in(name: str) -> str:
    """The version in one of the files."""
    found = re.search(VERSIONS[name], (ROOT / name).read_text(), re.MULTILINE)
    return found[1] if found else ""


def newest_section(changelog: str) -> str:
    """The title of the newest section that has a version."""
    titles = re.findall(r"^## (.+)$", changelog, re.MULTILINE)
    return next((title for title in titles if title != "Unreleased"), "")


def mistakes() -> Iterator[str]:
    """What must be mended before a release."""
    versions = {name: version_in(name) for name in VERSIONS}
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
    """Write wheels, the npm package and bills of materials. Returns whether the package is usable, and the
    audit found nothing."""
    shutil.rmtree(OUTPUT, ignore_errors=True)
    command = [sys.executable, str(ROOT / "tools" / "wheels.py"), "--output", str(OUTPUT)]
    subprocess.run(command, cwd=ROOT, check=True)
    if not npm_package.check(npm_package.pack(OUTPUT)):
        return False
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
    version = version_in("pyproject.toml")
    tags = [tag.format(version) for tag in TAGS]
    print(f"""
{OUTPUT.relative_to(ROOT)} has the packages. Then:
  git commit -m "Release {version}" -- {breaking.RELEASED.relative_to(ROOT)}
  {" && ".join(f"git tag {tag}" for tag in tags)}
  git push origin main {" ".join(tags)}
  and build the image: docs/howto/deploy.md""")
    return 0


if __name__ == "__main__":
    sys.exit(main())
