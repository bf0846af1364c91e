"""Patches of proposals as they are downloaded, applied by the real git."""

from __future__ import annotations

from pathlib import Path

from server.domain.proposals.files import File
from server.domain.proposals.folder import folder_names
from tests.support.git import applied, needs_git
from tests.support.hub import finished, running_hub, start
from tests.support.recordings import NAMES, content_of, write_recording
from tests.unit.domain.review.test_patch import HOSTILE_NAMES


@needs_git
async def test_the_patch_of_a_recorded_run_makes_exactly_its_files(database: str, tmp_path: Path) -> None:
    given = {"/plain.md": "old\n", "/gone.md": "x", "/a/b": "1\r\n2"}
    hostile = {path: f"{number}\r\n\u2028é" for number, path in enumerate(HOSTILE_NAMES)}
    names = [f"{path}\n+++ b" for path in ("/line", "/\t", '/"')]
    write_recording(tmp_path, "hostile", given, {**hostile, **dict.fromkeys(names, ""), "/a/b": "1\n2\n"})
    async with running_hub(database, recordings=tmp_path) as own, running_hub(database) as shipped:
        for hub, name, draft in [(own, "hostile", given), *((shipped, name, {}) for name in NAMES)]:
            async with hub.client() as client:
                made = await client.call("POST", "/api/workflows", {"name": name, "files": draft})
                proposal = await finished(client, await start(client, f"[[replay:{name}]]", made["id"]))
                path, accepts = f"/api/proposals/{proposal['id']}/diff", {"Accept": "text/x-patch"}
                patch = b"".join([piece async for piece in client.pieces(path, accepts)])
            base = {each: File(text.encode()) for each, text in draft.items()}
            found = {each: content_of(file) for each, file in proposal["generated_files"].items()}
            assert len(found) > (30 if name == "hostile" else 1), name
            kept, lost = folder_names(found)
            assert lost == []
            expected = {kept[each]: content for each, content in found.items()}
            assert applied(tmp_path / f"of {name}", base, patch) == expected, name
