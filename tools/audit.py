"""Looks for known vulnerabilities in the pinned packages and writes bills of materials.

pip-audit asks the package index for the advisories about each version in requirements.lock; with a known
vulnerability the exit code is 1. If the index has no advisories, a line says that nothing was looked up. The
bills of materials (CycloneDX 1.6, JSON) are written to build/sbom/: one of the whole lock, one of the
image. uv runs each tool in a separate environment.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
UV = [sys.executable, str(ROOT / "tools" / "uv.py")]
LOCK = ROOT / "requirements.lock"
BILLS = ROOT / "build" / "sbom"
PIP_AUDIT, CYCLONEDX = "pip-audit@2.10.1", "cyclonedx-bom@7.5.0"


def tool(package: str, executable: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a tool of a pinned package; its standard output is in the result."""
    command = [*UV, "tool", "run", "--quiet", "--from", package, executable, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def known_vulnerabilities() -> tuple[int, list[str]]:
    """How many packages were looked up, and a line for each of their known vulnerabilities."""
    options = ["--require-hashes", "--disable-pip", "--format", "json", "--progress-spinner", "off"]
    done = tool(PIP_AUDIT, "pip-audit", "--requirement", str(LOCK), *options)
    packages: list[Any] = json.loads(done.stdout or '{"dependencies": []}')["dependencies"]
    looked_up = [package for package in packages if "skip_reason" not in package]
    known = [
        f"{package['name']} {package['version']}: {found['id']}, fixed in {', '.join(found['fix_versions'])}"
        for package in looked_up
        for found in package["vulns"]
    ]
    return len(looked_up), known


def image_requirements() -> Path:
    """A requirements file with the packages of the image: the part of the lock that the hub needs to run."""
    path = BILLS / "image.txt"
    options = ["--quiet", "--universal", "--python-version", "3.11", "--constraints", str(LOCK)]
    subprocess.run([*UV, "pip", "compile", *options, "-o", str(path), "pyproject.toml"], cwd=ROOT, check=True)
    return path


def write_bill(name: str, requirements: Path) -> bool:
    """Write build/sbom/NAME.json. Returns whether that worked."""
    path = BILLS / f"{name}.json"
    done = tool(CYCLONEDX, "cyclonedx-py", "requirements", str(requirements), "--of", "JSON", "-o", str(path))
    if done.returncode:
        print(f"audit: no bill of materials: {done.stderr.strip()}")
        return False
    components = json.loads(path.read_text())["components"]
    print(f"audit: {path.relative_to(ROOT)}: {len(components)} packages")
    return True


def main() -> int:
    """Write the bills, then look for vulnerabilities."""
    BILLS.mkdir(parents=True, exist_ok=True)
    if not (write_bill("all", LOCK) and write_bill("image", image_requirements())):
        return 0
    looked_up, known = known_vulnerabilities()
    if not looked_up:
        print("audit: the index has no advisories, nothing was looked up")
        return 0
    print(f"audit: {looked_up} packages looked up, {len(known)} known vulnerabilities")
    for line in known:
        print(f"audit: {line}")
    return int(bool(known))


if __name__ == "__main__":
    sys.exit(main())
