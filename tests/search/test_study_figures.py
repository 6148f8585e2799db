"""What Optuna's own figures of a study are about."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest
from fast_objective import study_spec
from optuna.distributions import FloatDistribution
from optuna.visualization import matplotlib as draw

from search import figures

DRAWN = FloatDistribution(0, 1)


def told(study: optuna.Study, params: Mapping[str, float], f1: float, ms: float) -> None:
    drawn = dict.fromkeys(params, DRAWN)
    study.add_trial(optuna.trial.create_trial(params=dict(params), distributions=drawn, values=[f1, ms]))


def empty() -> optuna.Study:
    return optuna.create_study(directions=study_spec().directions)


def test_what_matters_to_an_objective_is_what_its_best_trials_have_in_common(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not what its worst have: F1 is maximised, time minimised."""
    study, rng = empty(), random.Random(0)
    for _ in range(200):
        params = {name: rng.random() for name in ("good", "bad", "quick")}
        f1 = 0.9 if params["good"] > 0.85 else 0.1 if params["bad"] > 0.85 else 0.5
        told(study, params, f1, 1.0 if params["quick"] > 0.85 else 2.0)
    plot, seen = draw.plot_param_importances, dict[str, str]()

    def spy(*args: Any, **options: Any) -> Any:
        axes = plot(*args, **options)
        widths = [bar.get_width() for bar in axes.patches]
        names = [label.get_text() for label in axes.get_yticklabels()]
        seen[options["target_name"]] = names[widths.index(max(widths))]
        return axes

    monkeypatch.setattr(draw, "plot_param_importances", spy)
    figures._optunas(tmp_path, study_spec(), study)
    assert seen == {"f1": "good", "ms": "quick"}


def test_no_parameter_needs_to_be_in_all_trials(tmp_path: Path) -> None:
    study = empty()
    for i in range(12):
        told(study, {f"of block {i % 2}": i / 12}, i / 20, float(i))
    figures._optunas(tmp_path, study_spec(), study)
    assert (tmp_path / "optuna-importances-f1.png").exists()


def test_a_few_trials_are_no_evidence_of_what_matters(tmp_path: Path) -> None:
    study, rng = empty(), random.Random(0)
    for _ in range(9):
        told(study, {"any": rng.random()}, rng.random(), rng.random())
    figures._optunas(tmp_path, study_spec(), study)
    assert not list(tmp_path.glob("optuna-importances-*"))
