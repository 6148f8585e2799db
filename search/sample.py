"""One net drawn from a space by an Optuna trial."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from search.candidate import Candidate
from search.values import Chooser, draw, draw_among

if TYPE_CHECKING:
    from search.space import Space, Training


def suggest(space: Space, trial: Chooser, classes: int = 6) -> Candidate:
    """A candidate of ``space``, its choices asked of ``trial``; always a valid net.

    Parameters are named after where they stand (``slot3.block``, ``slot3.InvertedResidualv3.kernel``,
    ``width_multiple``, ``train.epochs``) and always have the same distribution. Blocks and strides that
    would lead out of the space's bounds are not offered; see ``draw_among`` for the names then. What
    has one possible value is not asked.

    Args:
        classes: channels of the logits; ``arch.build`` can replace them.
    """
    size = draw(trial, "image_size", space.image_size)
    depth, width = (draw(trial, key, getattr(space, key)) for key in ("depth_multiple", "width_multiple"))
    head = [draw(trial, f"head.{key}", getattr(space.head, key)) for key in ("channels", "activation")]
    body = _rows(space, trial, size)
    model = model_of([row for _, row in body], head, classes, size, depth, width)
    return Candidate(model, size, _training(space.train, trial), places=tuple(place for place, _ in body))


def model_of(
    body: Sequence[list[Any]], head: Sequence[Any], classes: int, size: int, depth: float, width: float
) -> dict[str, Any]:
    """A model file's content: rows of slots, then the head, its channels and activation as given."""
    rows = [
        *body,
        [1, "Conv", [head[0], 1, 1, None, 1, head[1]]],
        [1, "GlobalAvgPool", []],
        [1, "FixedConv", [classes, 1, 1, None, 1, None]],
    ]
    multiples = {"depth_multiple": depth, "width_multiple": width}
    return {"input_channel": 3, **multiples, "INPUT_SIZE": [size, size], "backbone": rows}


def _rows(space: Space, trial: Chooser, size: int) -> list[tuple[str, list[Any]]]:
    """Rows of a model file, each with the place it was drawn for: ``slot3.InvertedResidualv3``."""
    plan, total = space.strides(size), 1
    rows: list[tuple[str, list[Any]]] = []
    for i, slot in enumerate(space.slots):
        name = f"slot{i + 1}"
        open_strides = {
            block.kind: [s for s in block.strides if plan.leads(i, total * s)] for block in slot.blocks
        }
        kinds = [kind for kind, strides in open_strides.items() if strides]
        kind = draw_among(trial, f"{name}.block", list(open_strides), kinds)
        block = next(block for block in slot.blocks if block.kind == kind)
        stride = draw_among(trial, f"{name}.{kind}.stride", block.strides, open_strides[kind])
        total *= stride

        def pick(key: str, block: Any = block, prefix: str = f"{name}.{kind}") -> Any:
            return draw(trial, f"{prefix}.{key}", getattr(block, key))

        row = block.row(pick, stride)
        if row is not None:
            rows.append((f"{name}.{kind}", row))
    return rows


def _training(training: Training, trial: Chooser) -> dict[str, Any]:
    drawn = {
        key: draw(trial, f"train.{key}", choices)
        for key in type(training).model_fields
        if (choices := getattr(training, key)) is not None
    }
    if "n_select" in drawn:
        drawn["augment"] = {"kind": "competition", "n_select": drawn.pop("n_select")}
    return drawn
