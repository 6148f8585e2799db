"""The recipe's ``ablation`` section."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from compress.spec import Spec

Kind = Literal["leave_one_out", "only_one", "order"]


class AblationSpec(Spec):
    """Which variants ``ablate`` runs: the full chain and every kind, at each sweep point, runtime, seed."""

    kinds: tuple[Kind, ...] = Field(
        ("leave_one_out", "only_one"), description="Besides the full chain; order: every legal one."
    )
    seeds: int = Field(
        3, ge=1, le=100, description="How many, from the recipe's on; fewer than three say little."
    )
    sweep: dict[str, tuple[Any, ...]] = Field(
        default_factory=dict, description="Values to try: {'stages[0].target': [0.3, 0.5, 0.7]}."
    )
    runtimes: tuple[str, ...] = Field(
        (), description="Kinds of runtime to ship every variant to; the recipe's when left out."
    )
    gate: Literal["always", "recipe"] = Field(
        "always", description="always: a stage's effect shows even where the recipe's gate would drop it."
    )
    margin: float = Field(
        0.05, gt=0, description="Score points that matter; with f1_time a point of F1 or a tenth of the time."
    )
    max_variants: int | None = Field(None, ge=1, description="Run at most so many, each seed counted.")
    max_hours: float | None = Field(None, gt=0, description="Start no further stage after so many hours.")
