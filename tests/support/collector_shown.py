"""`ideo`, which prints `collector THRESHOLD` at SIGUSR1: how many collections of the middle generation its
interpreter makes before one of all objects."""

from __future__ import annotations

import gc
import signal

from server.__main__ import main

if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, lambda *_: print("collector", gc.get_threshold()[2], flush=True))
    main()
