"""`ideo proposal download` and `ideo draft download`: write an archive or a patch to a file."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from ide_orchestrator.client import Fault
from server.cli.exit_codes import CommandError, notice
from server.cli.hub_client import HubClient
from server.cli.hub_session import run_with_hub
from server.cli.local_files import check_folder, save
from server.cli.printable import json_line, print_line

#: Lines of an archive's comment that are shown.
_SHOWN_LINES = 10


def run(
    address: str,
    asked: Mapping[str, int | None],
    name: str,
    *,
    patch: bool,
    output: str | None,
    force: bool,
    url: str | None,
    token: str | None,
    as_json: bool,
) -> NoReturn:
    """Write the archive or the patch to a file, which exists only once it is whole; `-` is standard output.

    address: of the proposal or draft. asked: members of the query, None for the default. name: of the file
    without its ending. Raises CommandError when the file exists already, except with `force`.
    """
    target = Path(output or f"{name}.{'patch' if patch else 'zip'}")
    if output != "-" and target.exists() and not force:
        raise CommandError(f"{target} exists already: choose another --output, or use --force")

    if output != "-":
        check_folder(target)

    async def _download(client: HubClient) -> int:
        if patch:
            pieces = client.pieces(f"{address}/diff", {"Accept": "text/x-patch"}, **asked)
        else:
            pieces = client.pieces(f"{address}/archive", **asked)
        if output == "-":
            async for piece in pieces:
                sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
            return 0
        size_bytes = await save(pieces, target)
        if not patch:
            _show_comment(target)
        found = {"file": str(target), "size_bytes": size_bytes}
        print_line(json_line(found) if as_json else f"{target}  {size_bytes} bytes")
        return 0

    run_with_hub(_download, url=url, token=token)


def _show_comment(target: Path) -> None:
    """Show what the archive's comment says about its names. Raises HubError when it is not an archive."""
    try:
        with zipfile.ZipFile(target) as archive:
            lines = archive.comment.decode("ascii", "backslashreplace").splitlines()
    except zipfile.BadZipFile:
        raise Fault(f"{target} is not an archive as the hub makes it") from None
    for line in lines[:_SHOWN_LINES]:
        notice(line)
    if len(lines) > _SHOWN_LINES:
        notice(f"and {len(lines) - _SHOWN_LINES} more, in the archive's comment: unzip -z {target}")
