"""One net drawn from a space by an Optuna trial."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from search.candidate import Candidate
from search.values import draw, draw_among

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

    from search.space import Space, Training


def suggest(space: Space, trial: BaseTrial, classes: int = 6) -> Candidate:
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
    rows = [
        *_rows(space, trial, size),
        [1, "Conv", [head[0], 1, 1, None, 1, head[1]]],
        [1, "GlobalAvgPool", []],
        [1, "FixedConv", [classes, 1, 1, None, 1, None]],
    ]
    model = {
        "input_channel": 3,
        "depth_multiple": depth,
        "width_multiple": width,
        "INPUT_SIZE": [size, size],
        "backbone": rows,
    }
    return Candidate(model, size, _training(space.train, trial))


def _rows(space: Space, trial: BaseTrial, size: int) -> list[list[Any]]:
    plan, total = space.strides(size), 1
    rows = []
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
            rows.append(row)
    return rows


def _training(training: Training, trial: BaseTrial) -> dict[str, Any]:
    drawn = {
        key: draw(trial, f"train.{key}", choices)
        for key in type(training).model_fields
        if (choices := getattr(training, key)) is not None
    }
    if "n_select" in drawn:
        drawn["augment"] = {"kind": "competition", "n_select": drawn.pop("n_select")}
    return drawn
