"""Go programs that the tasks run: pinned, and built once into a cache folder.

python tools/go_tools.py       build those that are missing
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

CACHE = Path(__file__).resolve().parent / ".cache"
#: The packages of the programs, with their versions. tools/go/go.mod pins what the Go stubs import.
PINS = {
    "protoc-gen-go": "google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12",
    "protoc-gen-go-grpc": "google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2",
    "helm": "helm.sh/helm/v4/cmd/helm@v4.3.1",
    "oasdiff": "github.com/oasdiff/oasdiff@v1.37.0",
}


class GoToolMissing(Exception):
    """A program is not built; `str(error)` says what is missing."""


def folder_of(name: str) -> Path:
    """Where the program is built. Its name has the version, so one of another version counts as missing."""
    return CACHE / f"{name}-{PINS[name].rpartition('@')[2]}"


def go_tool(name: str) -> Path:
    """The program. Raises GoToolMissing."""
    found = shutil.which(name, path=str(folder_of(name)))
    if found is not None:
        return Path(found)
    if shutil.which("go") is None:
        raise GoToolMissing("go is not installed")
    raise GoToolMissing(f"{name} is not installed")


def build(name: str) -> None:
    """Build the program unless it is there. Raises GoToolMissing with the output of go."""
    if folder_of(name).exists():
        return
    try:
        subprocess.run(
            ["go", "install", PINS[name]],
            env={**os.environ, "GOBIN": str(folder_of(name))},
            check=True,
            capture_output=True,
            text=True,
        )
    except FileNotFoundError:
        raise GoToolMissing("go is not installed") from None
    except subprocess.CalledProcessError as failed:
        raise GoToolMissing(f"go install {PINS[name]} failed:\n{failed.stderr}") from None


def main() -> int:
    """Build all. Returns 0, or 1 if one could not be built."""
    try:
        for name in PINS:
            build(name)
    except GoToolMissing as missing:
        print(missing, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
