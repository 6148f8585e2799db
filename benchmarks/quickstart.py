"""How long the quickstart takes, the first time and from the store.

python benchmarks/quickstart.py
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Run recipes/quickstart.yaml twice with an empty store; print its table and both times."""
    with tempfile.TemporaryDirectory() as store:
        env = {**os.environ, "BEYONDNAS_STORE": store}
        for name in ("first", "again"):
            began = time.monotonic()
            command = [sys.executable, "-m", "compress", "recipes/quickstart.yaml"]
            done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True)
            print(done.stdout[done.stdout.rindex("┏") :] if name == "first" else "", end="")
            print(f"{name}: {time.monotonic() - began:.1f} s")


if __name__ == "__main__":
    main()
