"""Looks for known vulnerabilities in the pinned packages and writes bills of materials.

pip-audit asks the package index for the advisories about each version in requirements.lock, and about one
version that is known to be vulnerable. So an index without advisories is not taken for packages without
vulnerabilities. The exit codes:

- 0: every package was looked up, and none has a known vulnerability;
- 1: one has, or the audit is incomplete though the index has advisories, or a bill was not written, or the
  tools could not be installed, as when there is no index;
- 3: the index has no advisories, or does not answer about them. The last line begins with `AUDIT NOT DONE`.

The bills of materials (CycloneDX 1.6, JSON) are written to build/sbom/: one of the whole lock, one of the
image. Both have the crates of the module in Rust, too, which are not looked up: the index knows the
advisories of Python's packages alone. The tools are installed from requirements.lock with hashes, into an
environment of their own, build/audit.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
UV = [sys.executable, str(ROOT / "tools" / "uv.py")]
LOCK = ROOT / "requirements.lock"
CRATES = ROOT / "server" / "compiled" / "rust" / "crates.lock"
BILLS = ROOT / "build" / "sbom"
TOOLS = ROOT / "build" / "audit"
#: A version with published advisories.
CANARY = "pip", "23.2.1"
#: The exit code when nothing could be looked up.
NOT_DONE = 3


def tool(executable: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run an installed tool; its standard output is in the result."""
    command = [str(TOOLS / "bin" / executable), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def install_tools() -> None:
    """Install the tools in the versions and with the hashes of the lock. Raises CalledProcessError."""
    subprocess.run([*UV, "venv", "--quiet", "--clear", str(TOOLS)], cwd=ROOT, check=True)
    options = ["--quiet", "--python", str(TOOLS / "bin" / "python"), "--require-hashes"]
    options += ["--constraints", str(LOCK), "--group", "audit"]
    subprocess.run([*UV, "pip", "install", *options], cwd=ROOT, check=True)


def advisories_of(requirements: Path, *options: str) -> list[Any]:
    """What pip-audit says of each package of a file; empty when the index cannot be asked."""
    form = ["--disable-pip", "--format", "json", "--progress-spinner", "off"]
    done = tool("pip-audit", "--requirement", str(requirements), *form, *options)
    try:
        packages: list[Any] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        return []
    return packages


def verdict(packages: Sequence[Any], canary: Sequence[Any]) -> tuple[int, list[str]]:
    """The exit code, and the lines to print.

    packages, canary: what pip-audit says of each package of the lock, and of the vulnerable version.
    """
    if not any(package.get("vulns") for package in canary):
        return NOT_DONE, ["AUDIT NOT DONE: the index has no advisories; nothing was looked up"]
    looked_up = [package for package in packages if "skip_reason" not in package]
    known = [
        f"{package['name']} {package['version']}: {found['id']}, fixed in {', '.join(found['fix_versions'])}"
        for package in looked_up
        for found in package["vulns"]
    ]
    skipped = [f"{package['name']} was not looked up" for package in packages if "skip_reason" in package]
    lines = [f"{len(looked_up)} packages looked up, {len(known)} known vulnerabilities", *known, *skipped]
    return int(bool(known or skipped or not looked_up)), lines


def image_requirements() -> Path:
    """A requirements file with the packages of the image: the part of the lock that the hub needs to run."""
    path = BILLS / "image.txt"
    options = ["--quiet", "--universal", "--python-version", "3.11", "--constraints", str(LOCK)]
    subprocess.run([*UV, "pip", "compile", *options, "-o", str(path), "pyproject.toml"], cwd=ROOT, check=True)
    return path


def crate_components() -> list[dict[str, Any]]:
    """The crates of the module in Rust, as a bill of materials has them."""
    components: list[dict[str, Any]] = []
    for crate in tomllib.loads(CRATES.read_text())["package"]:
        if "checksum" in crate:  # not the module itself
            url = f"pkg:cargo/{crate['name']}@{crate['version']}"
            hashes = [{"alg": "SHA-256", "content": crate["checksum"]}]
            named = {"name": crate["name"], "version": crate["version"], "purl": url}
            components.append({"type": "library", "bom-ref": url, **named, "hashes": hashes})
    return components


def write_bill(name: str, requirements: Path) -> bool:
    """Write build/sbom/NAME.json. Returns whether that worked."""
    path = BILLS / f"{name}.json"
    done = tool("cyclonedx-py", "requirements", str(requirements), "--of", "JSON", "-o", str(path))
    if done.returncode:
        print(f"audit: no bill of materials: {done.stderr.strip()}")
        return False
    bill = json.loads(path.read_text())
    crates = crate_components()
    print(f"audit: {path.relative_to(ROOT)}: {len(bill['components'])} packages, {len(crates)} crates")
    bill["components"] += crates
    path.write_text(json.dumps(bill, indent=2) + "\n")
    return True


def main() -> int:
    """Write the bills, then look for vulnerabilities."""
    BILLS.mkdir(parents=True, exist_ok=True)
    install_tools()
    written = write_bill("all", LOCK) and write_bill("image", image_requirements())
    canary = BILLS / "canary.txt"
    canary.write_text("==".join(CANARY) + "\n")
    code, lines = verdict(advisories_of(LOCK, "--require-hashes"), advisories_of(canary, "--no-deps"))
    print(f"audit: {len(crate_components())} crates were not looked up; docs/howto/deploy.md says how to")
    for line in lines:
        print(f"audit: {line}" if code != NOT_DONE else line)
    return code if written else 1


if __name__ == "__main__":
    sys.exit(main())
