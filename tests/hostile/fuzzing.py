"""Coverage-guided fuzzing of one reader of hostile bytes: `python -m tests.hostile.fuzzing TARGET
SECONDS CORPUS`, where libFuzzer takes the process over and writes its figures to standard error.

Each target knows what may come out: a value, or the hub's own errors. Anything else ends the process.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["server", "jwt"], enable_loader_override=False):
    from tests.hostile.fuzz_targets import MAX_INPUT, TARGETS


def main() -> None:
    """Fuzz until the time is over."""
    name, seconds, corpus = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    target = TARGETS[name]
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
    options = [f"-max_total_time={seconds}", f"-max_len={MAX_INPUT}", "-timeout=10", "-rss_limit_mb=2048"]
    options += ["-print_final_stats=1", f"-artifact_prefix={corpus}/found-", *sys.argv[4:]]
    atheris.Setup([sys.argv[0], *options, str(corpus)], target.read)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
