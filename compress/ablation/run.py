"""ablate(recipe): all variants of a recipe, and what each stage earned."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from compress.ablation.branches import Labs, branches
from compress.ablation.contrasts import Images, Measured, Seed
from compress.ablation.effects import Effect, Interaction, effects, interactions
from compress.ablation.forecast import forecast
from compress.ablation.ranking import Rank, rank
from compress.ablation.spec import AblationSpec
from compress.ablation.tables import EFFECTS, INTERACTIONS, RANKS, Table
from compress.ablation.tree import Branch, OutOfTime, Result, Saving
from compress.ablation.variants import variants
from compress.errors import CompressError, os_error, told
from compress.inputs import sets_of
from compress.paired import Split
from compress.stages.base import stage_names

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from compress.lab import Given, Lab
    from compress.recipe import Recipe


@dataclass
class Ablation:
    """What an ablation measured; its tables show themselves in a notebook.

    Attributes:
        variants: every variant that was run, with its steps.
        saving: stage runs that shared beginnings saved.
        stopped: why it ended before all variants were done; None when it did not.
        broke: whether that was a failure, of a seed's baseline.
        seeds: the measured chains, by runtime.
    """

    recipe: Recipe
    variants: list[Result] = field(default_factory=list)
    saving: Saving = field(default_factory=Saving)
    stopped: str | None = None
    broke: bool = False
    seeds: dict[str, list[Seed]] = field(default_factory=dict)

    @property
    def stages(self) -> list[str]:
        """Names of the recipe's stages, as the tables have them."""
        return stage_names(self.recipe.stages)

    @property
    def spec(self) -> AblationSpec:
        return self.recipe.ablation or AblationSpec()

    @cached_property
    def effects(self) -> Table[Effect]:
        """What each stage earned, in each runtime."""
        margin = self.spec.margin
        each = (effects(self.stages, name, seeds, margin) for name, seeds in self.seeds.items())
        return Table("effects", EFFECTS, [effect for some in each for effect in some])

    @cached_property
    def interactions(self) -> Table[Interaction]:
        """What each two stages earned together beside what they earned alone."""
        each = (interactions(self.stages, name, seeds) for name, seeds in self.seeds.items())
        return Table("interactions", INTERACTIONS, [one for some in each for one in some])

    @cached_property
    def ranking(self) -> Table[Rank]:
        """Every variant and the baseline, best first, each runtime for itself."""
        chains = list(dict.fromkeys([(), *(result.variant.chain for result in self.variants)]))
        each = (rank(chains, name, seeds) for name, seeds in self.seeds.items())
        return Table("variants", RANKS, [one for some in each for one in some])

    @cached_property
    def orders(self) -> Table[Rank]:
        """The chains with all stages, in every order and at every strength, best first."""
        whole = [r.variant.chain for r in self.variants if len(r.variant.chain) == len(self.recipe.stages)]
        chains = list(dict.fromkeys(whole))
        if len(chains) < 2:
            chains = []
        each = (rank(chains, name, seeds) for name, seeds in self.seeds.items())
        return Table("orders", RANKS, [one for some in each for one in some])

    @property
    def best_order(self) -> tuple[str, ...] | None:
        """Stages in the order with the best score on val in the first runtime; None with one order only.

        ``orders[1].tied`` says whether the second best is worse by more than noise.
        """
        return tuple(link.name for link in self.orders[0].chain) if self.orders else None

    @property
    def failed(self) -> list[Result]:
        """Variants in which a stage failed."""
        return [result for result in self.variants if result.error]

    def _repr_html_(self) -> str:
        parts = [table._repr_html_() for table in (self.effects, self.orders) if table]
        return "\n".join(parts)


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during an ablation.

    Attributes:
        ablation: what was measured by then.
    """

    def __init__(self, ablation: Ablation) -> None:
        super().__init__("interrupted")
        self.ablation = ablation


def ablate(recipe: Recipe, **given: Unpack[Given]) -> Ablation:
    """Run every variant that ``recipe.ablation`` asks for; what they share is computed once, and stored.

    Run again, it answers from the store; killed, it goes on from the last epoch that was saved. A stage
    that fails ends its variant alone: see ``Ablation.failed``.

    Args:
        given: what ``run`` takes: ``model``, ``data``, ``store``, ``log``, ``progress``.

    Raises:
        InputError: the recipe or what it names is wrong.
        CompressError: the first baseline failed, or every variant did. What ends it later, as the baseline of
            another seed, is in ``Ablation.stopped``.
        Interrupted: Ctrl-C; its ``ablation`` is what was measured by then.
    """
    log = given.get("log", print)
    asked = variants(recipe)
    ablation = Ablation(recipe)
    hours = ablation.spec.max_hours
    if given.get("data") is not None:
        given["data"] = sets_of(given["data"])  # of all seeds
    labs = Labs(given)
    expected = forecast(branches(asked, labs, again=True))
    log(f"ablation: {expected}" + (f"; it stops after {hours:g} hours" if hours else ""))
    deadline = None if hours is None else time.monotonic() + 3600 * hours
    costs: dict[str, list[float]] = {}
    try:
        for lab, some in branches(asked, labs):
            branch = Branch(lab, ablation.saving, deadline, costs)
            results: list[Result] = []
            try:
                for variant in some:
                    results.append(branch.run(variant))
                    log(_progress(results[-1], len(ablation.variants) + len(results), expected.variants))
                    log(_left(ablation.saving, costs, expected.most))
            finally:  # also on Ctrl-C
                _add(ablation, lab, results)
        if len(asked) == ablation.spec.max_variants and _cut(recipe):
            ablation.stopped = f"max_variants is {ablation.spec.max_variants}: there are more variants"
    except OutOfTime:
        done, every = len(ablation.variants), len(asked)
        ablation.stopped = f"max_hours ({hours:g}) were over after {done} of {every} variants"
    except (CompressError, RuntimeError) as error:  # RuntimeError: torch's, as when memory runs out
        if not ablation.variants or os_error(error) is not None:
            raise
        ablation.stopped, ablation.broke = f"a baseline failed: {told(error)}", True
    except KeyboardInterrupt:
        ablation.stopped = f"interrupted after {len(ablation.variants)} of {len(asked)} variants"
        raise Interrupted(ablation) from None
    if ablation.failed and len(ablation.failed) == len(ablation.variants):
        raise CompressError(f"every variant failed, the first at {ablation.failed[0].error}")
    return ablation


def _add(ablation: Ablation, lab: Lab, results: list[Result]) -> None:
    """What a branch has measured so far: every variant and every beginning of one."""
    if not results:
        return
    ablation.variants += results
    chains = {
        result.variant.chain[:length]: Measured(*measured)
        for result in results
        for length, measured in enumerate(zip(result.scores, result.steps, result.nets, strict=True))
    }
    images: dict[Split, Images] = {"val": Images.of(lab.splits.val), "test": Images.of(lab.splits.test)}
    seed = Seed(lab.recipe.seed, lab.recipe.metric, chains, images)
    ablation.seeds.setdefault(lab.measuring.runtime, []).append(seed)


def _cut(recipe: Recipe) -> bool:
    """Whether ``max_variants`` leaves any out."""
    spec = recipe.ablation or AblationSpec()
    assert spec.max_variants is not None
    more = spec.model_copy(update={"max_variants": spec.max_variants + 1})
    return len(variants(recipe.model_copy(update={"ablation": more}))) > spec.max_variants


def _progress(result: Result, number: int, every: int) -> str:
    final = result.final
    told = result.error or f"score_val {final.points_val:.3f}, F1 val {final.f1_val:.3f}"
    where = f"{result.runtime}, seed {result.variant.seed}"
    return f"variant {number} of {every}: {result.variant.name} ({where}): {told}"


def _left(saving: Saving, costs: dict[str, list[float]], most: int) -> str:
    took = [seconds for some in costs.values() for seconds in some]
    left = most - saving.done
    about = f", about {left * sum(took) / len(took) / 60:.1f} min left" if took and left else ""
    return f"stage runs: {saving.done} of at most {most} done, for {saving.asked} asked so far{about}"
