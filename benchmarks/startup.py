"""How long `import compress` and `python -m compress --help` take, and that torch stays out.

python benchmarks/startup.py
"""

from __future__ import annotations

import subprocess
import sys
import time
from statistics import median

CALLS = {
    "python -c pass": ["-c", "pass"],
    "import compress": ["-c", "import compress"],
    "import compress.recipe": ["-c", "import compress.recipe, sys; assert 'torch' not in sys.modules"],
    "python -m compress --help": ["-m", "compress", "--help"],
}


def main(repeats: int = 11) -> None:
    """Print the median wall time of each call, taken in turns."""
    took: dict[str, list[float]] = {name: [] for name in CALLS}
    for _ in range(repeats):
        for name, args in CALLS.items():
            began = time.perf_counter()
            subprocess.run([sys.executable, *args], check=True, stdout=subprocess.DEVNULL)
            took[name].append(time.perf_counter() - began)
    for name, seconds in took.items():
        print(f"{name}: {median(seconds):.3f} s (from {min(seconds):.3f} to {max(seconds):.3f})")


if __name__ == "__main__":
    main()
