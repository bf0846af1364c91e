"""Runs uv with pip's configuration: `python tools/uv.py pip install …`.

The first call installs uv into this interpreter's environment with pip, in the version and with the hashes
of requirements.lock. uv reads neither pip.conf nor PIP_* variables, so this passes pip's index, proxy and
certificate settings on to it. uv's own variables take precedence.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

LOCK = Path(__file__).resolve().parent.parent / "requirements.lock"
#: pip's options, and the environment variables that mean the same to uv.
VARIABLES = {
    "cert": ("SSL_CERT_FILE",),
    "default-timeout": ("UV_HTTP_TIMEOUT",),
    "extra-index-url": ("UV_INDEX",),
    "find-links": ("UV_FIND_LINKS",),
    "index-url": ("UV_DEFAULT_INDEX",),
    "proxy": ("HTTP_PROXY", "HTTPS_PROXY"),
    "timeout": ("UV_HTTP_TIMEOUT",),
    "trusted-host": ("UV_INSECURE_HOST",),
}


def pinned() -> tuple[str, str]:
    """The version of uv in the lock, and its lines there."""
    found = re.search(r"^uv==(\S+) .*?(?=^\S|\Z)", LOCK.read_text(), re.MULTILINE | re.DOTALL)
    if found is None:
        sys.exit(f"{LOCK} does not name uv")
    return found[1], found[0]


def install() -> None:
    """Install the pinned uv with pip, unless it is installed."""
    version, lines = pinned()
    try:
        if metadata.version("uv") == version:
            return
    except metadata.PackageNotFoundError:
        pass
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command += ["--require-hashes", "--only-binary", "uv", "--requirement", "/dev/stdin"]
    subprocess.run(command, input=lines, text=True, check=True)


def pip_options() -> dict[str, str]:
    """The options of pip by name, from its files and the environment, as `pip install` sees them."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    options: dict[str, str] = {}
    # Later sections win.
    for section in ("global", "install", ":env:"):
        for name, value in re.findall(rf"^{section}\.(\S+?)=(.*)$", listed, re.MULTILINE):
            options[name] = str(ast.literal_eval(value))
    return options


def environment(options: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """The environment for uv: `given`, and pip's options in the variables that it lacks.

    As pip does, uv then trusts the system's certificates, and takes a version from whichever index has it.
    """
    found = {"UV_SYSTEM_CERTS": "1", "UV_INDEX_STRATEGY": "unsafe-best-match"}
    for option, names in VARIABLES.items():
        values = options.get(option, "").split()
        if option == "find-links":
            # uv fails on a folder that does not exist; pip ignores it.
            values = [",".join(value for value in values if "://" in value or Path(value).exists())]
        if any(values):
            found |= dict.fromkeys(names, " ".join(values))
    return {**found, **given, "UV_PYTHON": sys.executable}


def main() -> int:
    """Run uv with the arguments of the command line."""
    try:
        install()
        options = pip_options()
    except subprocess.CalledProcessError as error:
        return error.returncode
    arguments = sys.argv[1:]
    if options.get("no-index", "").lower() in ("1", "true", "yes", "on"):
        arguments.append("--no-index")
    command = [str(Path(sysconfig.get_path("scripts")) / "uv"), *arguments]
    return subprocess.run(command, env=environment(options, dict(os.environ)), check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
