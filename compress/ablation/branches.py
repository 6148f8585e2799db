"""The variants of an ablation by seed and runtime, each with its lab; data is loaded once a seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from compress.ablation.variants import Variant
from compress.lab import Lab

if TYPE_CHECKING:
    from compress.data.images import Splits
    from compress.lab import Given
    from compress.recipe import Recipe
    from compress.runtimes.base import Runtime

_WAITING = 2_000_000_000  # bytes of images in memory of all seeds that wait for their run


@dataclass
class Labs:
    """A lab for each seed: what a forecast has loaded, the run after it uses.

    Seeds whose images would need more than 2 GB of memory while they wait are loaded again instead.
    """

    given: Given
    _waiting: dict[int, Lab] = field(default_factory=dict)

    def take(self, recipe: Recipe) -> Lab:
        """The lab of the recipe's seed, for this recipe; it measures in no runtime yet."""
        lab = self._waiting.pop(recipe.seed, None)
        if lab is not None:
            return replace(lab, recipe=recipe, scorer=None)
        lab = Lab.start(recipe, **self.given)
        if self.given.get("model") is not None:
            lab.check_model()
        return lab

    def put_back(self, lab: Lab) -> None:
        """Keep the data of a lab that is done with, for the next ``take`` of its seed."""
        waiting = [*self._waiting.values(), lab]
        if sum(_in_memory(one.splits) for one in waiting) <= _WAITING:
            self._waiting[lab.recipe.seed] = lab


def branches(
    variants: Sequence[Variant], labs: Labs, again: bool = False
) -> Iterator[tuple[Lab, list[Variant]]]:
    """The variants by seed and runtime, each with a lab.

    ``auto`` means one runtime for all seeds: the one that the first branch's lab has resolved when the next
    is asked for.

    Args:
        again: they will be asked for again, so their data is to be kept.
    """
    resolved: Runtime | None = None
    for _, of_seed in groupby(variants, key=lambda variant: variant.seed):
        lab: Lab | None = None
        for kind, same in groupby(of_seed, key=lambda variant: variant.runtime):
            some = list(same)
            if kind is None and resolved is not None:
                some = [replace(one, recipe=_in_runtime(one.recipe, resolved)) for one in some]
            recipe = some[0].recipe
            lab = labs.take(recipe) if lab is None else replace(lab, recipe=recipe, scorer=None)
            yield lab, some
            if kind is None and resolved is None and lab.scorer is not None:
                resolved = lab.scorer.spec
        if again and lab is not None:
            labs.put_back(lab)


def _in_runtime(recipe: Recipe, runtime: Runtime) -> Recipe:
    return type(recipe).model_validate({**dict(recipe), "runtime": runtime.canonical()})


def _in_memory(splits: Splits) -> int:
    """Bytes of images, but for those that lie on disk."""
    sets = (splits.train, splits.tune, splits.val, splits.test)
    return sum(part.images.nbytes for part in sets if not isinstance(part.images, np.memmap))
