"""Where PostgreSQL's programs are: in their wheel, or for another user in a copy that it can reach."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import stat
import tempfile
from importlib import metadata
from pathlib import Path

from server.embedded_postgres.accounts import Account
from server.embedded_postgres.errors import EmbeddedServerError
from server.embedded_postgres.folders import is_safe_path

#: Where root keeps a copy of programs that lie below a closed folder: 27 MB for each version of the wheel.
CACHE = Path("/var/cache/ide-orchestrator")
_PACKAGE, _INSTALLED = "embedded_postgres", Path("pginstall")
_NEEDED = ("initdb", "postgres")


def program_folder(account: Account) -> Path:
    """The folder of `postgres` and `initdb`, which the account can reach.

    The account of root's server cannot enter a closed folder, such as a clone below /root, and PostgreSQL
    asks for the real path of its programs. Then they are copied, once. Raises EmbeddedServerError, OSError.
    """
    package = _package()
    programs = package / _INSTALLED / "bin"
    if not account.is_other or _open_to_all(programs):
        return programs
    record = metadata.distribution("embedded-postgres").read_text("RECORD") or ""
    copy = copied(package, CACHE / f"postgresql-{hashlib.sha256(record.encode()).hexdigest()[:16]}")
    return copy / _PACKAGE / _INSTALLED / "bin"


def copied(package: Path, copy: Path) -> Path:
    """The copy of the wheel's files, made when it is missing. Raises EmbeddedServerError, OSError."""
    if not copy.exists():
        _copy(package, copy)
    if not is_safe_path(copy):
        raise EmbeddedServerError(f"{copy} could be changed by another user than root: remove it")
    return copy


def _package() -> Path:
    """The folder of the wheel's Python package, which is not imported (ADR 0002)."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedServerError("the package embedded-postgres is missing: install it, or set DATABASE_URL")
    return Path(spec.submodule_search_locations[0])


def _open_to_all(programs: Path) -> bool:
    """Whether every user can execute the programs and read what lies beside them."""
    real = programs.resolve()
    passed = (real, *real.parents, real.parent / "lib", real.parent / "share")
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in passed) and all(
        (real / name).stat().st_mode & 0o005 == 0o005 for name in _NEEDED
    )


def _copy(package: Path, copy: Path) -> None:
    """Copy what the programs need, under another name first, so that a copy is whole or missing."""
    copy.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    if not is_safe_path(copy.parent):
        raise EmbeddedServerError(
            f"PostgreSQL's programs in {package} are below a closed folder, and cannot be copied to "
            f"{copy.parent}, which another user than root could change: open the folder (chmod o+x), or set "
            "DATABASE_URL"
        )
    unfinished = Path(tempfile.mkdtemp(prefix="unfinished-", dir=copy.parent))
    try:
        shutil.copytree(package, unfinished / _PACKAGE, ignore=_not_needed)
        libraries = package.with_name(f"{_PACKAGE}.libs")
        if libraries.exists():
            shutil.copytree(libraries, unfinished / libraries.name)
        for folder, _, files in os.walk(unfinished):
            Path(folder).chmod(0o755)
            for name in files:
                path = Path(folder, name)
                path.chmod(0o755 if path.stat().st_mode & stat.S_IXUSR else 0o644)
        try:
            unfinished.rename(copy)
        except OSError:
            if not copy.exists():
                raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _not_needed(folder: str, names: list[str]) -> list[str]:
    if Path(folder).name == "bin":
        return [name for name in names if name not in _NEEDED]
    return [name for name in names if name in ("include", "__pycache__")]
