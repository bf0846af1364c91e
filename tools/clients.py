"""Checks the clients in other languages: types in TypeScript; `go vet` and the format in Go.

A client whose language is not installed is not checked, and a line says so. With `CI` in the environment
that is a failure.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

CLIENTS = Path(__file__).resolve().parent.parent / "clients"
#: The folder of each client, and the commands that check it. They print nothing, or what is wrong.
CHECKS = {
    "typescript": [["npm", "ci", "--prefer-offline", "--silent"], ["npm", "run", "--silent", "check"]],
    "go": [["gofmt", "-l", "."], ["go", "vet", "./..."]],
}


def check(client: str) -> bool:
    """Whether a client passes its checks. Prints the result."""
    commands = CHECKS[client]
    missing = sorted({command[0] for command in commands if shutil.which(command[0]) is None})
    if missing:
        print(f"clients/{client}: not checked: {', '.join(missing)} is not installed")
        return not os.environ.get("CI")
    for command in commands:
        done = subprocess.run(command, cwd=CLIENTS / client, capture_output=True, text=True, check=False)
        if done.returncode or done.stdout:
            print(f"clients/{client}: {' '.join(command)} failed:\n{done.stdout}{done.stderr}")
            return False
    print(f"clients/{client}: passed")
    return True


def main() -> int:
    """Check all of them. Returns 0, or 1 when one fails."""
    results = [check(client) for client in CHECKS]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
