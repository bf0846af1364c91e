"""What the hub's wheel contains, and that building it needs no Node."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_the_wheel_has_the_page_of_the_workbench_and_is_built_without_node(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    # No other program can be found.
    environment = {**os.environ, "PATH": str(tmp_path)}
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, env=environment)
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = {
            name.removeprefix("server/workbench/"): archive.read(name)
            for name in archive.namelist()
            if name.startswith("server/workbench/")
        }
    assert packed == {path.name: path.read_bytes() for path in (ROOT / "server" / "workbench").iterdir()}
    assert "index.html" in packed
