"""``python -m search``: not built yet."""

from __future__ import annotations

import sys


def main() -> int:
    """Says so, and fails: whoever calls it gets no result."""
    print("search is not built yet; `python -m compress RECIPE.yaml` runs a recipe", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
