"""A recipe's variants: which there are, that they are legal and distinct, and their budget."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress import AblationSpec, Decompose, Distill, Finetune, InputError, Prune, Quantize, Recipe, Within
from compress.ablation.run import _cut
from compress.ablation.variants import MOST, variants
from compress.stages.base import Stage, stage_names

ROOT = Path(__file__).resolve().parents[2]
FOUR = (Prune(), Decompose(), Distill(epochs=3), Quantize())


def recipe(*stages: Stage, **ablation: Any) -> Recipe:
    return Recipe(name="x", stages=stages, ablation=AblationSpec(**{"seeds": 1, **ablation}))


def names(*stages: Stage, **ablation: Any) -> list[str]:
    return [one.name for one in variants(recipe(*stages, **ablation))]


def test_each_kind_by_name() -> None:
    two = (Prune(), Quantize())
    assert names(*two, kinds=()) == ["full"]
    assert names(*two, kinds=("leave_one_out",)) == ["full", "without prune", "without quantize"]
    assert names(*FOUR, kinds=("only_one",)) == ["full", *(f"only {s.kind}" for s in FOUR)]


def test_the_four_stages_have_eight_legal_orders() -> None:
    made = variants(recipe(*FOUR, kinds=("order",)))
    orders = [[link.name for link in one.chain] for one in made]
    assert len(orders) == 8  # quantize last: 3!; or before distill, after the other two: 2
    assert orders[0] == ["prune", "decompose", "distill", "quantize"]
    assert all(order[-1] == "quantize" or order[-2:] == ["quantize", "distill"] for order in orders)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from([Prune(), Distill(), Quantize(), Finetune(), Prune(target=0.2)]), max_size=4))
def test_orders_are_all_the_legal_ones_and_none_twice(stages: list[Stage]) -> None:
    if not stages or not legal(stages):
        return
    found = [contents(one.recipe.stages) for one in variants(recipe(*stages, kinds=("order",)))]
    wanted = {contents(order) for order in permutations(stages) if legal(order)}
    assert len(found) == len(wanted)
    assert set(found) == wanted


def legal(order: Sequence[Stage]) -> bool:
    """After quantize only what trains as int8."""
    kinds = [stage.kind for stage in order]
    after = kinds[kinds.index("quantize") + 1 :] if "quantize" in kinds else []
    return set(after) <= {"distill", "finetune"}


def contents(stages: Sequence[Stage]) -> tuple[str, ...]:
    return tuple(str(stage.canonical()) for stage in stages)


def test_equal_chains_are_one_variant_with_several_names() -> None:
    made = variants(recipe(Prune(), Quantize(), kinds=("leave_one_out", "only_one", "order")))
    assert [one.name for one in made] == ["full", "without prune", "without quantize"]
    assert made[1].also == ("only quantize",)
    assert made[1].kinds == ("leave_one_out", "only_one")


def test_the_product_of_sweep_runtimes_and_seeds() -> None:
    made = variants(
        recipe(
            Prune(),
            Quantize(),
            kinds=("leave_one_out",),
            sweep={"stages[0].target": [0.3, 0.5], "stages[0].steps": [1, 2, 3]},
            runtimes=("onnxruntime", "openvino"),
            seeds=2,
        )
    )
    # full and without quantize at 6 points; without prune is the same at all of them
    assert len(made) == 2 * 2 * (6 + 6 + 1)
    assert {one.seed for one in made} == {0, 1}
    assert {one.recipe.runtime.kind for one in made} == {"onnxruntime", "openvino"}
    swept = {(one.recipe.stages[0].target, one.recipe.stages[0].steps) for one in made if len(one.chain) == 2}  # type: ignore[attr-defined]
    assert swept == {(target, steps) for target in (0.3, 0.5) for steps in (1, 2, 3)}
    assert made[0].name == "full, stages[0].target=0.3, stages[0].steps=1"


def test_values_may_be_lists_and_mappings() -> None:
    teacher = {"kind": "pretrained", "name": "efficientnet_lite0"}
    sweep = {"stages[0].ignore": [["a"], ["b", "c"]], "stages[1].teacher": ["baseline", teacher]}
    made = variants(recipe(Prune(), Distill(), kinds=(), sweep=sweep))
    assert len({one.chain for one in made}) == len(made) == 4
    assert {one.recipe.stages[0].ignore for one in made} == {("a",), ("b", "c")}  # type: ignore[attr-defined]


def test_every_variant_keeps_what_it_measures_unless_the_recipe_s_gate_is_asked_for() -> None:
    stages = (Prune(gate=Within(within=0.1), retry=(0.3,)), Finetune())
    for one in variants(recipe(*stages)):
        assert one.recipe.gate == "always"
        assert all(stage.gate is None and stage.retry is None for stage in one.recipe.stages)
    full = variants(recipe(*stages, gate="recipe"))[0].recipe
    assert full.gate == "better"
    assert full.stages == stages


def test_variants_are_recipes_of_their_own() -> None:
    for one in variants(recipe(*FOUR, kinds=("leave_one_out", "only_one", "order"), seeds=2)):
        assert Recipe.model_validate(one.recipe.canonical()) == one.recipe
        assert one.recipe.ablation is None
    long = Recipe(name="x" * 60, stages=FOUR, ablation=AblationSpec(kinds=("order",), seeds=1))
    assert len({one.recipe.name for one in variants(long)}) == 8


def test_a_budget_takes_the_first() -> None:
    every = variants(recipe(*FOUR, kinds=("leave_one_out", "order"), seeds=3))
    few = variants(recipe(*FOUR, kinds=("leave_one_out", "order"), seeds=3, max_variants=5))
    assert [one.name for one in few] == [one.name for one in every[:5]]


def test_a_budget_of_the_most_or_more_is_no_mistake() -> None:
    many = tuple(Finetune(epochs=i) for i in range(1, 8))  # 5040 orders
    short = recipe(*many, kinds=("order",), max_variants=MOST)
    assert len(variants(short)) == MOST
    assert _cut(short)  # which asks for one more


def test_what_cannot_be_ablated_is_said() -> None:
    with pytest.raises(InputError, match="stages: found none"):
        variants(Recipe(name="x"))
    many = tuple(Finetune(epochs=i) for i in range(1, 9))
    with pytest.raises(InputError, match="more than 1000 variants"):
        variants(recipe(*many, kinds=("order",)))
    clash = {"stages[0].engine": ["nni"], "stages[0].importance": ["lamp"]}
    with pytest.raises(InputError, match=r"do not go together: .*lamp is not one of engine nni"):
        variants(recipe(Prune(importance="l1"), sweep=clash))


def test_stages_of_one_kind_are_told_apart() -> None:
    stages = (Finetune(), Finetune(epochs=3), Prune(label="cut"))
    assert stage_names(stages) == ["finetune", "finetune-2", "cut"]
    assert "without finetune-2" in names(*stages)
    assert stage_names((Finetune(label="finetune-2"), Finetune(), Finetune())) == [
        "finetune-2",
        "finetune",
        "finetune-3",
    ]


def test_the_recipe_of_ours_needs_at_most_half_of_the_stage_runs_it_asks_for() -> None:
    """Shared beginnings counted slowly; a baseline's training is one."""
    made = variants(Recipe.from_yaml(ROOT / "recipes/ablation.yaml", files=False))
    chains = {tuple(link.name for link in one.chain) for one in made}
    assert len(chains) == len(made) == 16
    asked = sum(1 + len(chain) for chain in chains)
    different = {chain[:length] for chain in chains for length in range(len(chain) + 1)}
    assert (asked, len(different)) == (64, 29)
    kinds = {kind for one in made for kind in one.kinds}
    assert kinds == {"full", "leave_one_out", "only_one", "order"}


def test_without_a_section_the_default_kinds_run() -> None:
    made = variants(Recipe(name="x", stages=(Prune(), Quantize())))
    assert len(made) == 3 * 3
