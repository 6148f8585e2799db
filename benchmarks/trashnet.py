"""The chain on TrashNet: every step's figures, and the final model's score with its interval.

python benchmarks/trashnet.py PATH/trashnet [--set train.epochs=...]

Hours from nothing, seconds from the store; killed, it goes on.
"""

from __future__ import annotations

import sys

from compress.__main__ import main as compress

if __name__ == "__main__":
    sys.exit(compress(["recipes/trashnet.yaml", "--set", f"data.root={sys.argv[1]}", *sys.argv[2:]]))
