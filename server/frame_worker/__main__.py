"""The process that interprets large frames: `python -m server.frame_worker CPU_SECONDS BYTES`, which the hub
starts."""

import os
import sys

#: Others come first: a large frame may take longer, and everybody else's calls may not.
NICENESS = 10

# Before the imports, which take longer than most frames.
os.nice(NICENESS)

from server.frame_worker.process import main  # noqa: E402

main(float(sys.argv[1]), int(sys.argv[2]))
