from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from tests.contract.schema.golden_events import FOLDER, GOLDEN
from tests.support.tools import need

ROOT = Path(__file__).parents[3]
MODULES = ROOT / "tools" / "typescript" / "node_modules"
COMPILER = {
    "strict": True,
    # The compiler that comes with the generator is older than the library's own declarations.
    "skipLibCheck": True,
    "target": "es2022",
    "module": "es2022",
    "moduleResolution": "bundler",
    "types": [],
    "outDir": "stubs",
    "rootDir": "sources",
}


def run(command: list[str], cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_typescript_stubs_compile_strictly_and_read_every_golden_event(tmp_path: Path) -> None:
    need(shutil.which("node"), "install node")
    need(MODULES.exists(), "the TypeScript generator is not installed: run the task gen")
    (tmp_path / "node_modules").symlink_to(MODULES)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    shutil.copytree(ROOT / "gen" / "typescript", tmp_path / "sources")
    shutil.copy(Path(__file__).with_name("check_golden.mjs"), tmp_path)
    config = {"compilerOptions": COMPILER, "include": ["sources"]}
    (tmp_path / "tsconfig.json").write_text(json.dumps(config))

    run(["node", "node_modules/typescript/bin/tsc", "-p", "."], tmp_path)
    said = run(["node", "check_golden.mjs", "stubs", str(FOLDER)], tmp_path)

    assert said.strip() == f"{len(GOLDEN)} events, 0 bad"
