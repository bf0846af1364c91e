"""The key that `ideo dev` keeps."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from server.auth.secret_file import NAME, SecretFileError, create_secret, read_secret
from server.auth.tokens import SharedSecret


def test_a_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    directory = tmp_path / "not" / "there"
    secret = create_secret(directory)
    assert create_secret(directory) == read_secret(directory) == secret
    assert stat.S_IMODE((directory / NAME).stat().st_mode) == 0o600
    assert [entry.name for entry in directory.iterdir()] == [NAME]
    assert SharedSecret(secret).ready
    assert create_secret(tmp_path) != secret


def test_the_file_is_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        create_secret(tmp_path)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / NAME).stat().st_mode) == 0o600


def test_all_that_start_at_once_have_the_same_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        found = set(pool.map(lambda _: create_secret(tmp_path), range(64)))
    assert len(found) == 1
    assert [entry.name for entry in tmp_path.iterdir()] == [NAME]


def test_a_key_that_is_not_there_is_not_made_by_reading(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_secret(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o666])
def test_a_key_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    secret = create_secret(tmp_path)
    (tmp_path / NAME).chmod(mode)
    with pytest.raises(SecretFileError, match="others") as caught:
        create_secret(tmp_path)
    assert secret not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"short", b"\n" * 100, b"x" * 31, b" " * 40 + b"x"])
def test_a_file_without_a_key_is_refused_and_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / NAME).write_bytes(content)
    (tmp_path / NAME).chmod(0o600)
    with pytest.raises(SecretFileError, match="jwt_secret has no key"):
        create_secret(tmp_path)


def test_a_link_a_pipe_or_a_directory_is_no_key(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("x" * 64)
    elsewhere.chmod(0o600)
    for make in (
        lambda path: path.symlink_to(elsewhere),
        lambda path: path.symlink_to(tmp_path / "nothing"),
        os.mkfifo,
        Path.mkdir,
    ):
        directory = Path(str(tmp_path / f"in-{make!r}".replace("/", "")))
        directory.mkdir()
        make(directory / NAME)  # type: ignore[operator]
        with pytest.raises((SecretFileError, OSError)):
            create_secret(directory)
