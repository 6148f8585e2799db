"""Recipes of candidates: what trains and measures one in a study, and what goes on from the one found."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from compress.errors import CompressError, InputError
from compress.explain import validate
from compress.recipe import Recipe
from compress.yamlio import show
from search.joint import with_values

if TYPE_CHECKING:
    from search.candidate import Candidate
    from search.spec import StudySpec


def recipe_of(spec: StudySpec, candidate: Candidate | None = None, **parts: Any) -> Recipe:
    """The study's own data, training and metric, and with a candidate its values and the study's stages.

    Args:
        parts: what takes the place of the study's.

    Raises:
        InputError: ``space.train`` has a value that a recipe refuses.
        CompressError: values that were drawn do not fit together. Others may, so this one candidate fails.
    """
    content: dict[str, Any] = {
        "name": spec.name,
        "seed": spec.seed,
        "data": spec.data.canonical(),
        "train": spec.train.canonical(),
        "runtime": spec.runtime.canonical(),
        "metric": spec.metric.canonical(),
    }
    if candidate is not None:
        content["gate"] = spec.gate if isinstance(spec.gate, str) else spec.gate.canonical()
        content["stages"] = [stage.canonical() for stage in spec.stages]
        content["data"]["image_size"] = candidate.image_size
        try:
            content["train"] = candidate.training(spec.train).canonical()
        except ValidationError as error:
            raise InputError(f"space.train: {candidate.train}: {error.errors()[0]['msg']}") from error
        content = with_values(content, candidate.values)
    recipe, problems, _ = validate(Recipe, {**content, **parts})
    if recipe is None:
        drawn = ", ".join(f"{path} {value}" for path, value in candidate.values.items()) if candidate else ""
        wrong = "; ".join(f"{show(one.path)}: {one.text}" for one in problems)
        raise CompressError(f"{drawn} make no recipe: {wrong}" if drawn else f"no recipe: {wrong}")
    return recipe


def chain_recipe(spec: StudySpec, candidate: Candidate, path: Path, rule: str = "score") -> Recipe:
    """The whole chain from the model file at ``path``, the best by ``rule``: the study's stages with what was
    found for them; where it has none the usual four, as long as its training allows.

    Of a study with ``one_shot`` from the fine-tuned net beside that file, which needs no more training.
    """
    end = "-chain" if rule == "score" else f"-{rule}-chain"
    named: dict[str, Any] = {
        "name": spec.name[: 64 - len(end)] + end,
        "model": {"kind": "yaml", "path": str(path)},
    }
    if spec.stages:
        return recipe_of(spec, candidate, **named)
    weights = path.with_suffix(".pt")
    if weights.exists():
        named["model"] = {"kind": "checkpoint", "path": str(weights)}
        named["train"] = {**candidate.training(spec.train).canonical(), "epochs": 0}
    epochs = recipe_of(spec, candidate).train.epochs
    stages = [
        {"kind": "prune", "target": 0.5, "epochs": -(-epochs // 2)},
        {"kind": "decompose", "epochs": -(-epochs // 4)},
        {"kind": "distill", "teacher": "baseline", "epochs": max(1, epochs)},
        {"kind": "quantize"},
    ]
    return recipe_of(spec, candidate, **named, stages=stages)
