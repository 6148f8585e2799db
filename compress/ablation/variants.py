"""A recipe's variants: which stages, in which order, how strong, in which runtime, from which seed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice, permutations, product
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from compress.ablation.checks import index_of, with_values
from compress.ablation.spec import AblationSpec
from compress.errors import InputError
from compress.spec import digest
from compress.stages.base import Stage, stage_names

if TYPE_CHECKING:
    from compress.recipe import Recipe

MOST = 1000  # variants without max_variants: more is a mistake, not a plan


@dataclass(frozen=True)
class Link:
    """One stage of a variant's chain.

    Attributes:
        index: which stage of the recipe; ``name`` it has in tables.
        values: what the sweep puts in place of the recipe's, by key; lists and mappings as text.
    """

    index: int
    name: str
    values: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True)
class Variant:
    """One chain to run.

    Attributes:
        name: what it is, without seed and runtime; ``also``: other names of the same chain.
        kinds: full, leave_one_out, only_one, order: all that it is.
        chain: its stages in order.
        recipe: what ``run`` takes; it gives the same numbers as the ablation.
    """

    name: str
    kinds: tuple[str, ...]
    chain: tuple[Link, ...]
    runtime: str | None
    seed: int
    recipe: Recipe = field(repr=False)
    also: tuple[str, ...] = ()


def variants(recipe: Recipe) -> list[Variant]:
    """Every variant that ``recipe.ablation`` asks for, equal ones merged; the first seed's first.

    The gate of each is ``always`` (see ``AblationSpec.gate``); then ``retry`` has no use and is left out.

    Raises:
        InputError: no stages, more than ``MOST`` variants, or swept values that do not go together.
    """
    spec = recipe.ablation or AblationSpec()
    if not recipe.stages:
        raise InputError("stages: found none; an ablation needs at least one")
    merged: dict[str, Variant] = {}
    limit = spec.max_variants
    for variant in _all(recipe, spec):
        key = digest({**variant.recipe.canonical(), "name": ""})
        if key in merged:
            merged[key] = _merge(merged[key], variant)
        elif limit is not None and len(merged) >= limit:
            break
        elif limit is None and len(merged) >= MOST:
            raise InputError(f"ablation: more than {MOST} variants; ask for fewer, or set max_variants")
        else:
            merged[key] = variant
    return list(merged.values())


def _merge(one: Variant, other: Variant) -> Variant:
    kinds = tuple(dict.fromkeys((*one.kinds, *other.kinds)))
    return replace(one, kinds=kinds, also=tuple(dict.fromkeys((*one.also, other.name))))


def _all(recipe: Recipe, spec: AblationSpec) -> Iterator[Variant]:
    names = stage_names(recipe.stages)
    points = [tuple(zip(spec.sweep, values, strict=True)) for values in product(*spec.sweep.values())]
    for seed, runtime in product(range(spec.seeds), spec.runtimes or (None,)):
        for kind, title, order in _chains(spec, names):
            for point in points:
                chain = tuple(
                    Link(i, names[i], tuple((k, _plain(v)) for k, v in point if index_of(k) == i))
                    for i in order
                )
                if not _legal([recipe.stages[i] for i in order]):
                    continue
                name = ", ".join([title, *(f"{k}={v}" for link in chain for k, v in link.values)])
                made = _recipe(recipe, spec, order, dict(point), name, runtime, recipe.seed + seed)
                yield Variant(name, (kind,), chain, runtime, recipe.seed + seed, made)


def _chains(spec: AblationSpec, names: Sequence[str]) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    """Kind, title and stages of each chain, the full one first."""
    every = tuple(range(len(names)))
    yield "full", "full", every
    for kind in dict.fromkeys(spec.kinds):
        if kind == "leave_one_out":
            for i in every:
                yield kind, f"without {names[i]}", every[:i] + every[i + 1 :]
        elif kind == "only_one":
            for i in every:
                yield kind, f"only {names[i]}", (i,)
        else:
            for order in islice(permutations(every), 1, None):  # the first is the full chain
                yield kind, "order " + " > ".join(names[i] for i in order), order


def _legal(stages: Sequence[Stage]) -> bool:
    from compress.recipe import misplaced

    return not list(misplaced([(type(stage), getattr(stage, "student", None)) for stage in stages]))


def _plain(value: Any) -> Any:
    """A swept value as one can look it up."""
    return value if isinstance(value, str | int | float | None) else json.dumps(value, sort_keys=True)


def _recipe(
    recipe: Recipe,
    spec: AblationSpec,
    order: Sequence[int],
    point: dict[str, Any],
    name: str,
    runtime: str | None,
    seed: int,
) -> Recipe:
    """The recipe of one variant, named after it."""
    stages = []
    for index in order:
        stage = recipe.stages[index]
        if spec.gate == "always":
            stage = stage.model_copy(update={"gate": None, "retry": None})
        values = {key: value for key, value in point.items() if index_of(key) == index}
        try:
            stages.append(with_values(stage, values) if values else stage)
        except ValidationError as error:
            said = error.errors(include_url=False)[0]["msg"]
            raise InputError(f"ablation.sweep: {values} do not go together: {said}") from error
    changes: dict[str, Any] = {"name": _slug(recipe.name, name, seed, runtime), "seed": seed}
    changes |= {"stages": tuple(stages), "ablation": None, "control": False}
    if spec.gate == "always":
        changes["gate"] = "always"
    if runtime is not None:
        changes["runtime"] = {"kind": runtime, "threads": recipe.runtime.threads}
    return type(recipe).model_validate({**dict(recipe), **changes})


def _slug(recipe: str, name: str, seed: int, runtime: str | None) -> str:
    """A run's name: letters, digits, dots and dashes, 64 at most."""
    words = [recipe, name.replace(" > ", "-"), *([runtime] if runtime else []), f"seed{seed}"]
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", "-".join(words)).strip("-")
    return slug if len(slug) <= 64 else f"{slug[:55]}-{digest(slug)[:8]}"
