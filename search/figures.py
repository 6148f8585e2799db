"""The figures of a study: F1 against its cost with the front and the baseline, and Optuna's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from compress.report.charts.scatter import HEIGHT, axes
from compress.report.figures import write_figures
from compress.report.marks import Dot, Figure, Line, Text
from search.choose import COSTS
from search.records import BASE, Record, front
from search.spec import DIRECTIONS, ObjectiveName

if TYPE_CHECKING:
    import optuna

    from search.spec import StudySpec

    Target = Callable[[optuna.trial.FrozenTrial], float]

_TOP = 5  # so many trials at least, by what they have in common parameters are weighed
_UNITS = {"ms": "milliseconds an image", "params": "parameters", "macs": "multiply-accumulates"}


def write(path: Path, spec: StudySpec, study: optuna.Study, records: Sequence[Record]) -> None:
    """``path/figures``; nothing while no candidate has been evaluated. F1 is drawn against time, and against
    other costs where they are objectives."""
    if not any(record.outcome == "evaluated" for record in records):
        return
    base = study.user_attrs.get(BASE, {})
    costs = [name for name in COSTS if name == "ms" or name in spec.objectives]
    write_figures(path, [f1_against(cost, records, base) for cost in costs])
    _optunas(path / "figures", spec, study)


def f1_against(cost: str, records: Sequence[Record], base: Mapping[str, float]) -> Figure:
    """Every evaluated candidate, the front joined, the baseline marked; F1 is on val."""
    found = [record for record in records if record.outcome == "evaluated"]
    some = any(record.shared for record in found)
    others = "other finalists, and trials with shared weights" if some else "other trials"
    best = front(found, {"f1": "maximize", cost: "minimize"})
    numbers = {record.number for record in best}
    points = [(record.measured[cost], record.measured["f1"]) for record in found]
    if base:
        points.append((base[cost], base["f1"]))
    costs, f1s = zip(*points, strict=True)
    x, y, marks = axes(costs, f1s, "F1 on val", _UNITS[cost])
    ordered = sorted(best, key=lambda record: record.measured[cost])
    for one, two in pairwise(ordered):
        ends = [(x(r.measured[cost]), y(r.measured["f1"])) for r in (one, two)]
        marks.append(Line(*ends[0], *ends[1], "accent", 1.5))
    for record in found:
        on = record.number in numbers
        tip = f"trial {record.number}: F1 {record.measured['f1']:.3f}, {cost} {record.measured[cost]:.4g}"
        at = x(record.measured[cost]), y(record.measured["f1"])
        marks.append(Dot(*at, "accent" if on else "pale", tip, hollow=not record.feasible))
        if on:
            marks.append(Text(at[0], at[1] - 9, str(record.number), "ink", "middle", size=12, halo=True))
    if base:
        tip = f"baseline: F1 {base['f1']:.3f}, {cost} {base[cost]:.4g}"
        marks.append(Dot(x(base[cost]), y(base["f1"]), "worse", tip, radius=6))
    rows = [(r.number, r.measured["f1"], r.measured[cost], r.number in numbers) for r in found]
    return Figure(
        name=f"f1-{cost}",
        title=f"F1 against {_UNITS[cost]}",
        summary=" ".join(
            f"trial {r.number}: F1 {r.measured['f1']:.3f}, {r.measured[cost]:.4g}." for r in ordered
        ),
        height=HEIGHT,
        marks=tuple(marks),
        columns=("trial", "F1 val", cost, "on the front"),
        rows=tuple(rows),
        legend=(("accent", "on the front"), ("pale", others), ("worse", "baseline")),
    )


def _optunas(folder: Path, spec: StudySpec, study: optuna.Study) -> None:
    """Its history of each objective, its front, and which parameters matter, where that can be told."""
    import warnings

    import matplotlib

    matplotlib.use("Agg")
    import optuna
    from matplotlib import pyplot
    from optuna.visualization import matplotlib as draw

    done = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    several = len(spec.objectives) > 1

    def save(axes: object, name: str) -> None:
        pyplot.gcf().savefig(folder / f"optuna-{name}.png", dpi=120, bbox_inches="tight")
        pyplot.close("all")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # experimental, and parameters that not every trial has
        for i, name in enumerate(spec.objectives):

            def target(trial: optuna.trial.FrozenTrial, at: int = i) -> float:
                return float(trial.values[at])

            history = draw.plot_optimization_history(
                study, target=target if several else None, target_name=name
            )
            save(history, f"history-{name}")
            if _can_weigh(done, i):
                top = max(0.1, _TOP / len(done))
                weighed = draw.plot_param_importances(
                    study,
                    evaluator=optuna.importance.PedAnovaImportanceEvaluator(target_quantile=top),
                    target=_lower(target, name) if several else None,
                    target_name=name,
                )
                save(weighed, f"importances-{name}")
        if 2 <= len(spec.objectives) <= 3:
            save(draw.plot_pareto_front(study, target_names=list(spec.objectives)), "front")


def _lower(target: Target, name: ObjectiveName) -> Target:
    """The objective's values as Optuna weighs parameters by them: with a target it takes lower as better,
    whatever the study's directions."""
    return target if DIRECTIONS[name] == "minimize" else lambda trial: -target(trial)


def _can_weigh(done: Sequence[optuna.trial.FrozenTrial], objective: int) -> bool:
    """Importances need enough trials, and values that vary: of the objective, and of a parameter, whether all
    trials have it or not."""
    if len(done) < 2 * _TOP or len({trial.values[objective] for trial in done}) < 2:
        return False
    drawn = {(name, value) for trial in done for name, value in trial.params.items()}
    return len(drawn) > len({name for name, _ in drawn})
