"""When samplers begin to learn, and from which parameters."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
from fast_objective import SPACE, Fast, fast, loop, study_spec

from search.conduct import conduct
from search.folder import StudyFolder
from search.joint import suggest_values
from search.sample import suggest
from search.samplers import (
    Gp,
    Nsga2,
    Nsga3,
    Random,
    Sampler,
    Tpe,
    blind_to_limits,
    left_to_chance,
    sampler_of,
    seed_of,
    stuck,
    take_in,
)

BLOCKS = [{"kind": "Conv", "channels": {"low": 8, "high": 64, "step": 8}}, {"kind": "Pass"}]


def told(*outcomes: str) -> optuna.Study:
    """A study whose trials ended so, as the ledger tells them; values rise with the parameter."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    for outcome in outcomes:
        trial = study.ask()
        value = trial.suggest_float("x", 0, 1)
        trial.set_user_attr("outcome", outcome)
        state = {"evaluated": None, "infeasible": "PRUNED", "stopped": "PRUNED"}.get(outcome, "FAIL")
        ended = state and optuna.trial.TrialState[state]
        study.tell(trial, None if ended else value, state=ended)
    return study


@pytest.mark.parametrize(
    ("outcomes", "learns"),
    [
        (["infeasible"] * 9, False),  # Optuna would count them
        (["infeasible"] * 9 + ["duplicate", "failed", "evaluated"], False),
        (["evaluated", "stopped"], True),
        (["infeasible"] * 20, True),  # tight limits
    ],
)
def test_startup_counts_what_was_trained(outcomes: list[str], learns: bool) -> None:
    study = told(*outcomes)
    study.sampler = Tpe(startup=2).make(7)
    found = study.ask().suggest_float("x", 0, 1)
    study.sampler = optuna.samplers.RandomSampler(seed=7)
    assert (found != study.ask().suggest_float("x", 0, 1)) == learns


def test_it_is_stuck_when_the_last_that_ended_are_duplicates() -> None:
    """Whatever others have in work, who may be at it for hours."""
    assert not stuck(told(*["duplicate"] * 4).trials)
    assert not stuck(told(*["duplicate"] * 9, "evaluated").trials)
    study = told("evaluated", *["duplicate"] * 5)
    assert stuck(study.trials)
    study.ask()
    assert stuck(study.trials)


@pytest.mark.parametrize("sampler", [Nsga2(), Nsga3(), Gp()], ids=lambda sampler: sampler.kind)
def test_it_is_said_which_parameters_are_left_to_chance(sampler: Sampler) -> None:
    chosen = {**SPACE, "slots": [{"blocks": BLOCKS}, {"blocks": BLOCKS[:1]}]}
    spec = study_spec(space=chosen, search={"train.optimizer": ["sgd", "adamw"]})

    def sample(trial: Any) -> None:
        suggest(spec.space, trial)
        suggest_values(spec.search, trial)

    # head.channels, slot1.block, slot2's channels and the optimizer; of slot 1 the channels of its Conv
    line = left_to_chance(sampler, sample)
    assert line is not None
    assert line.startswith(f"sampler {sampler.kind} learns from 4 parameters")
    assert "the other 1 " in line
    for other in (Tpe(), Random()):
        assert left_to_chance(other, sample) is None
    plain = study_spec(space={**chosen, "slots": [{"blocks": BLOCKS[:1]}]}).space
    assert left_to_chance(sampler, lambda trial: suggest(plain, trial)) is None


def tried(
    sampler: Sampler, evaluated: Sequence[float], refused: Sequence[float] = (), limit: float | None = None
) -> optuna.Study:
    """A study of (x - 0.75)^2 in which these were evaluated and refused, as the ledger tells them."""
    study = optuna.create_study()
    for x in (*evaluated, *refused):
        study.sampler = sampler.make(0)
        study.enqueue_trial({"x": x})
        trial = study.ask()
        trial.suggest_float("x", 0, 1)
        take_in(sampler, trial)
        if limit is not None:
            trial.set_constraint("x", x / limit - 1)
        trial.set_user_attr("outcome", "infeasible" if x in refused else "evaluated")
        if x in refused:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            study.tell(trial, (x - 0.75) ** 2)
    return study


def asked(sampler: Sampler, study: optuna.Study) -> list[float]:
    """What it draws next, by several seeds."""
    found = []
    for seed in range(6):
        study.sampler = sampler.make(seed)
        trial = study.ask()
        found.append(trial.suggest_float("x", 0, 1))
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
    return found


EVALUATED = (0.05, 0.2, 0.35, 0.45, 0.6, 0.95)


def test_the_gaussian_process_learns_from_what_was_evaluated_and_its_limits() -> None:
    gp = Gp(startup=2)
    assert all(abs(x - 0.75) < 0.1 for x in asked(gp, tried(gp, EVALUATED)))
    assert all(x < 0.6 for x in asked(gp, tried(gp, EVALUATED, limit=0.5)))  # two are beyond, as measured
    assert len(set(asked(Random(), tried(Random(), EVALUATED)))) == 6  # anywhere


@pytest.mark.parametrize(
    "sampler", [Gp(startup=2), Nsga2(population=4), Nsga3(population=4)], ids=lambda sampler: sampler.kind
)
def test_what_was_refused_teaches_the_others_nothing_which_is_said(sampler: Sampler) -> None:
    """Should Optuna's own samplers learn from it one day, the line is to go."""
    evaluated, refused = EVALUATED[:5], (0.7, 0.72, 0.74, 0.76, 0.78, 0.8)
    blind = asked(sampler, tried(sampler, evaluated, limit=0.5))
    assert asked(sampler, tried(sampler, evaluated, refused, limit=0.5)) == blind
    assert f"sampler {sampler.kind} learns of limits from evaluated" in str(blind_to_limits(sampler))
    assert {blind_to_limits(other) for other in (Tpe(), Random())} == {None}


def generations(study: optuna.Study) -> list[int]:
    """Of its evaluated trials, as Optuna notes them."""
    done = [trial for trial in study.trials if trial.state.name == "COMPLETE"]
    return [
        next((value for key, value in trial.system_attrs.items() if key.endswith(":generation")), -1)
        for trial in done
    ]


@pytest.mark.parametrize("kind", ["nsga2", "nsga3"])
def test_what_dice_draw_is_of_a_generation_and_still_by_chance(
    kind: str,
) -> None:
    repeated = told(*["duplicate"] * 5).trials
    found = {}
    for sampler in ({"kind": kind, "population": 4}, {"kind": "random"}):
        spec = study_spec(sampler=sampler)
        study = optuna.create_study(directions=["maximize", "minimize"])
        for number in range(10):
            study.sampler = sampler_of(spec.sampler, repeated, seed_of(spec.seed, number))
            trial = study.ask()
            suggest(spec.space, trial)
            study.tell(trial, [number / 10, number])
        found[sampler["kind"]] = study
    assert generations(found[kind]) == [0] * 4 + [1] * 4 + [2] * 2
    assert [t.params for t in found[kind].trials] == [t.params for t in found["random"].trials]


@pytest.mark.parametrize("kind", ["nsga2", "nsga3"])
def test_a_trial_that_is_run_again_is_of_a_generation(tmp_path: Path, kind: str) -> None:
    spec = study_spec(trials=3, storage="journal", sampler={"kind": kind, "population": 2})

    class Interrupted(Fast):
        def evaluate(self, candidate: object) -> dict[str, float]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loop(spec, tmp_path, Interrupted(spec, tmp_path / "diary")).run()
    once = loop(spec, tmp_path)
    once.run()
    assert "rerun_of" in once.study.trials[1].user_attrs
    assert generations(once.study) == [0, 0, 1]


def test_a_study_says_so_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FAST_DIARY", str(tmp_path / "diary"))
    fidelity = {"epochs": [3, 60]}
    limits = {"params": 1e9}
    spec = study_spec(
        trials=1, storage="journal", sampler={"kind": "nsga2"}, fidelity=fidelity, limits=limits
    )
    for trials in (1, 2):
        with StudyFolder.open(spec) as folder:
            conduct(spec.model_copy(update={"trials": trials}), folder, fast, folder.log)
    text = (folder.path / "log.txt").read_text()
    assert len(re.findall("sampler nsga2 learns from [0-9]+ parameters", text)) == 1
    assert text.count("sampler nsga2 learns from full trainings only") == 1
    assert text.count("sampler nsga2 learns of limits from evaluated candidates only") == 1
    assert text.count(" of 2): F1 val ") == 1
