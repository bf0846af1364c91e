"""Looks for known weaknesses in what is installed, and writes what that is: `python tools/audit.py`.

pip-audit asks the package index's advisories about each pinned version of requirements.lock and of the
image; a known weakness ends it with 1. Where no advisories can be had it says so: then nothing was looked
at. The bills of materials (CycloneDX 1.6, JSON) are written to build/sbom/, one for each lock. The two tools
get an environment of their own, since nothing of theirs belongs into the project's.
"""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ["pip-audit==2.10.1", "cyclonedx-bom==7.5.0"]
LOCKS = {"checks": ROOT / "requirements.lock", "image": ROOT / "deploy" / "image" / "requirements.txt"}
BILLS = ROOT / "build" / "sbom"


def audited(tools: Path, lock: Path) -> tuple[int, list[str]]:
    """How many distributions were looked up, and the weaknesses that are known of them."""
    command = [str(tools / "pip-audit"), "--requirement", str(lock), "--require-hashes", "--disable-pip"]
    done = subprocess.run(
        [*command, "--format", "json", "--progress-spinner", "off"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=False,
    )
    told: list[Any] = json.loads(done.stdout or '{"dependencies": []}')["dependencies"]
    looked_up = [each for each in told if "skip_reason" not in each]
    known = [
        f"{each['name']} {each['version']}: {weakness['id']}, mended in {', '.join(weakness['fix_versions'])}"
        for each in looked_up
        for weakness in each["vulns"]
    ]
    return len(looked_up), known


def bill(tools: Path, name: str, lock: Path) -> int:
    """Write a bill of materials; how many components it has."""
    BILLS.mkdir(parents=True, exist_ok=True)
    path = BILLS / f"{name}.json"
    command = [str(tools / "cyclonedx-py"), "requirements", str(lock), "--of", "JSON", "-o", str(path)]
    subprocess.run(command, stderr=subprocess.DEVNULL, check=True)
    return len(json.loads(path.read_text())["components"])


def main() -> int:
    """Audit every lock."""
    failed = False
    with TemporaryDirectory(prefix="audit-") as made:
        venv.create(made, with_pip=True)
        tools = Path(made) / "bin"
        install = [str(tools / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        if subprocess.run([*install, *TOOLS], check=False).returncode:
            print("audit: the tools could not be installed, nothing was looked at")
            return 0
        for name, lock in LOCKS.items():
            count = bill(tools, name, lock)
            print(f"audit: {name}: {count} distributions in {(BILLS / name).relative_to(ROOT)}.json")
            looked_up, known = audited(tools, lock)
            if looked_up:
                print(f"audit: {name}: {looked_up} looked up, {len(known)} known weaknesses")
            else:
                print(f"audit: {name}: no advisories could be had here, nothing was looked up")
            for line in known:
                print(f"audit: {name}: {line}")
            failed = failed or bool(known)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
