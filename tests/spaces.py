"""What the tests of the space share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from compress import yamlio
from search.space import Space

FOLDER = Path(__file__).resolve().parents[1] / "recipes" / "spaces"
FILES = ("competition", "cpu", "quickstart")


def load(name: str) -> Space:
    """The space of a file in ``recipes/spaces``."""
    return Space.model_validate(yamlio.read(FOLDER / f"{name}.yaml")["space"])


def tiny(**changes: Any) -> dict[str, Any]:
    """A space as data: two slots, one net; and what a test makes of it."""
    conv = {"kind": "Conv", "channels": 16, "stride": 2}
    return {
        "image_size": 32,
        "slots": [{"blocks": [conv]}, {"blocks": [{**conv, "channels": 24}]}],
        "head": {"channels": 32},
        **changes,
    }
