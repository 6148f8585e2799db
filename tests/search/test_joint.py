"""Values of the recipe searched beside the net."""

from __future__ import annotations

from pathlib import Path

import pytest
from fast_objective import study_spec
from optuna.trial import FixedTrial

from compress.errors import InputError
from search.joint import suggest_values
from search.recipes import chain_recipe, recipe_of
from search.sample import suggest
from search.spec import StudySpec

ROOT = Path(__file__).resolve().parents[2]
STAGES = [{"kind": "prune", "target": 0.5}, {"kind": "quantize"}]
SEARCH = {"stages[0].target": {"low": 0.2, "high": 0.8}, "train.optimizer": ["sgd", "adamw"]}
NET = {"slot1.Conv.channels": 8, "slot1.Conv.stride": 2, "slot2.block": "Pass", "head.channels": 16}


def test_drawn_values_are_in_the_recipe() -> None:
    from dataclasses import replace

    spec = study_spec(stages=STAGES, search=SEARCH)
    trial = FixedTrial({**NET, "stages[0].target": 0.3, "train.optimizer": "adamw"})
    net = suggest(spec.space, trial)
    candidate = replace(net, values=suggest_values(spec.search, trial))
    recipe = recipe_of(spec, candidate)
    assert recipe.stages[0].canonical()["target"] == 0.3
    assert recipe.train.optimizer == "adamw"
    assert recipe_of(spec).stages == ()  # the baseline's
    chain = chain_recipe(spec, candidate, Path("runs/fast/best-score.yaml"))
    assert chain.stages == recipe.stages
    assert candidate.key != net.key
    assert type(net).from_dict(candidate.to_dict()) == candidate


@pytest.mark.parametrize(
    ("search", "text"),
    [
        ("{'stages[4].target': [0.1, 0.2]}", "there is no stages[4]; the last is stages[1]"),
        ("{'stages[0].target': {low: 0.2, high: 1.8}}", "1.8: stages[0].target: found 1.8; must be above 0"),
        ("{'stages[0].targett': [0.1, 0.2]}", "did you mean 'target'"),
        ("{data.image_size: [16, 32]}", "only values of train and stages"),
        ("{'stages[': [1, 2]}", "must be key.path=value"),
    ],
)
def test_what_no_recipe_has_is_told_before_anything_runs(
    search: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    stages = "stages=[{kind: prune, target: 0.5}, {kind: quantize}]"
    with pytest.raises(InputError) as caught:
        StudySpec.from_yaml("recipes/spaces/quickstart.yaml", [stages, f"search={search}"])
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ({"stages": STAGES[::-1]}, "cannot stand after quantize"),
        ({"gate": "always"}, "no effect without stages"),
        (
            {"fidelity": {"epochs": [2, 60]}, "search": {"train.epochs": [30, 60]}},
            "both say how long to train",
        ),
    ],
)
def test_parts_that_do_not_fit(parts: dict[str, object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        study_spec(**parts)
