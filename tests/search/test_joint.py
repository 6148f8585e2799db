"""Values of the recipe searched beside the net."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from fast_objective import SPACE, Fast, loop, study_spec
from optuna.trial import FixedTrial

from compress.errors import CompressError, InputError
from search.candidate import Candidate
from search.joint import suggest_values, with_values
from search.recipes import chain_recipe, recipe_of
from search.sample import suggest
from search.spec import StudySpec

ROOT = Path(__file__).resolve().parents[2]
STAGES = [{"kind": "prune", "target": 0.5}, {"kind": "quantize"}]
SEARCH = {"stages[0].target": {"low": 0.2, "high": 0.8}, "train.optimizer": ["sgd", "adamw"]}
NET = {"slot1.Conv.channels": 8, "slot1.Conv.stride": 2, "slot2.block": "Pass", "head.channels": 16}


def test_drawn_values_are_in_the_recipe() -> None:
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
        ("{data.image_size: [16, 32]}", "of train, stages and gate can be searched here; all candidates"),
        ("{runtime.threads: [1, 2]}", "all are timed in one, that of the baseline"),
        ("{trian.lr: [0.1, 0.2]}", "did you mean 'train'?"),
        ("{train.batch_size: {low: 16, high: 32.5}}", "found high 32.5; must be a whole number"),
        ("{train.batch_size: {low: 16, high: 32, step: 0.5}}", "found step 0.5; must be a whole number"),
        ("{train.lr: {low: 0, high: 1, log: true}}", "low 0: a log range begins above 0"),
        ("{train.lr: {low: 0.1, high: 0.5, log: true, step: 0.1}}", "either log or has a step"),
        ("{train.lr: {low: true, high: 2}}", "train.lr.low: found true; must be a number"),
        ("{train.channels_last: {low: 0, high: 1}}", "0.5: train.channels_last: found 0.5; must be true"),
        ("{train.mixup: [0, 0.0]}", "the list names a value twice: 0, 0.0"),
        ("{train.mix_prob: [0.5, 1]}", "0.5: train: mix_prob says"),
        ("{gate: [better, always], gate.within: [0.1, 0.2]}", "gate.within: cannot stand beside gate"),
        ("{'stages[0].kind': [prune, quantize]}", "quantize: stages[1]: quantize cannot stand after"),
        (
            "{train.augment.kind: [flip_crop, randaugment], train.augment.n: {low: 1, high: 3}}",
            "beside train.augment.kind flip_crop: train.augment.n: unknown key",
        ),
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
        (
            {"stages": [{"kind": "prune", "retry": [0.3]}], "gate": "always"},
            "the gate is always, which keeps the first",
        ),
        ({"gate": "always"}, "no effect without stages"),
        ({"search": {"gate": ["better", "always"]}}, "no effect without stages"),
        (
            {
                "space": {**SPACE, "train": {"n_select": [1, 2]}},
                "search": {"train.augment.kind": ["flip_crop", "competition"]},
            },
            "space.train.n_select is searched already",
        ),
        (
            {"fidelity": {"epochs": [2, 60]}, "search": {"train.epochs": [30, 60]}},
            "both say how long to train",
        ),
    ],
)
def test_parts_that_do_not_fit(parts: dict[str, object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        study_spec(**parts)


def drawn(search: dict[str, Any], many: int = 20, **parts: Any) -> list[dict[str, Any]]:
    """Values of so many trials; each makes a recipe."""
    spec = study_spec(search=search, **parts)
    net = suggest(spec.space, FixedTrial(NET))
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    found = [suggest_values(spec.search, study.ask()) for _ in range(many)]
    for values in found:
        content = recipe_of(spec, replace(net, values=values)).canonical()
        assert with_values(content, values) == content
    return found


def test_a_range_may_begin_at_zero_and_has_the_type_of_its_key() -> None:
    search = {
        "train.mixup": {"low": 0, "high": 1},
        "train.label_smoothing": {"low": 0.0, "high": 0.3, "step": 0.1},
        "train.augment.flip": {"low": 0.0, "high": 0.5},
        "train.batch_size": {"low": 100, "high": 400, "log": True},
        "train.epochs": {"low": 0.0, "high": 9.0, "step": 3.0},
        "train.weight_decay": {"low": 1e-6, "high": 1e-2, "log": True},
    }
    found = drawn(search)
    assert 0 < sum(0 < values["train.mixup"] < 1 for values in found) == len(found)
    assert {values["train.label_smoothing"] for values in found} == {0.0, 0.1, 0.2, 0.3}
    assert all(type(values["train.batch_size"]) is int for values in found)
    assert sum(values["train.batch_size"] < 200 for values in found) in range(6, 15)  # half of the octaves
    assert {values["train.epochs"] for values in found} == {0, 3, 6, 9}
    one, other = ({"train.mixup": {"low": low, "high": 1}} for low in (0, 0.0))
    assert study_spec(search=one).identity == study_spec(search=other).identity


def test_a_gate_and_kinds_are_values_too() -> None:
    search = {"gate.within": {"low": 0, "high": 0.1}, "stages[0].kind": ["prune", "decompose"]}
    found = drawn(search, many=8, stages=STAGES)
    assert {values["stages[0].kind"] for values in found} == {"prune", "decompose"}
    search = {"stages[0].kind": ["finetune", "distill"], "stages[0].epochs": {"low": 1, "high": 9}}
    found = drawn(search, many=8, stages=STAGES[1:])  # a kind that has no epochs
    assert {type(values["stages[0].epochs"]) for values in found} == {int}


def test_another_kind_keeps_what_a_stage_of_any_kind_has() -> None:
    stage = {"kind": "finetune", "epochs": 5, "gate": "always", "label": "more"}
    (changed,) = with_values({"stages": [stage]}, {"stages[0].kind": "distill"})["stages"]
    assert changed == {"kind": "distill", "gate": "always", "label": "more"}


def test_values_that_do_not_fit_together_fail_that_candidate_alone(tmp_path: Path) -> None:
    class Joint(Fast):
        def sample(self, trial: Any) -> Candidate:
            return replace(super().sample(trial), values=suggest_values(self.spec.search, trial))

        def evaluate(self, candidate: Candidate) -> dict[str, float]:
            recipe_of(self.spec, candidate)
            return super().evaluate(candidate)

    search = {"train.mixup": [0, 0.2], "train.mix_prob": [0.5, 1]}
    spec = study_spec(trials=12, storage="journal", search=search)
    once = loop(spec, tmp_path, Joint(spec, tmp_path / "diary"))
    once.run()
    records = once.ledger.records()
    assert {record.outcome for record in records} == {"evaluated", "failed"}
    for record in records:
        assert record.candidate is not None
        values = record.candidate.values
        assert (record.outcome == "failed") == (values == {"train.mixup": 0, "train.mix_prob": 0.5})
        if record.error:
            assert record.error.startswith("train.mixup 0, train.mix_prob 0.5 make no recipe: train: mix")
    with pytest.raises(CompressError) as caught:
        recipe_of(spec, replace(suggest(spec.space, FixedTrial(NET)), values={"train.epochs": -1}))
    assert not isinstance(caught.value, InputError)  # which would end the study
