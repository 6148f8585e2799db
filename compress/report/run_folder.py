"""A run's folder: what a run leaves for people and programs to read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress import folders
from compress.bench.report import still_valid
from compress.errors import InputError
from compress.other_runtimes import times_in_other_runtimes
from compress.report.figures import figures, write_figures
from compress.report.markdown import render as render_markdown
from compress.report.page import render as render_page
from compress.runtimes.folder import Artifact
from compress.spec import digest
from compress.step import Step
from compress.store import Store, move_aside, write_text
from compress.track import figures_of, tracking

if TYPE_CHECKING:
    from filelock import FileLock

    from compress.recipe import Recipe

ROOT = Path("runs")

_KEYS = {"recipe", "machine", "runtime", "metric", "baseline", "steps", "final", "control", "require"}
_KEYS |= {"other_runtimes_ms"}
_STEP_KEYS = {"label", "kind", "kept", "why", "f1_val", "f1_test", "latency_ms", "latency_ratio", "params"}
_STEP_KEYS |= {"macs", "bytes", "score_val", "score_test", "f1_test_interval", "score_test_interval"}
_STEP_KEYS |= {"latency_ratio_interval", "f1_per_class", "seconds", "notes"}
# What reports of earlier versions, and of runs without it, lack.
_OPTIONAL: dict[str, Any] = {"data_notes": [], "flips": None, "shapes": None, "test": None, "elsewhere": []}
_OPTIONAL["given"] = {}


@dataclass
class RunFolder:
    """``runs/<name>``, written while the run goes: recipe, log and steps first, the report last."""

    path: Path
    recipe: Recipe
    lock: FileLock  # held until the run, or its process, ends
    say: Callable[[str], None]
    steps: list[Step] = field(default_factory=list)
    report: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def open(cls, recipe: Recipe, root: Path = ROOT, say: Callable[[str], None] | None = None) -> RunFolder:
        """The folder of this recipe; one left by another recipe of that name is moved aside.

        ``say`` gets every line of the log.

        Raises:
            InputError: another run of that name is going on.
        """
        path = root / recipe.name
        lock = folders.hold(path)
        moved = folders.claim(path, recipe.to_yaml())
        folder = cls(path, recipe, lock, say or (lambda line: None))
        if moved:
            folder.log(f"the run of another recipe of that name is now {moved}")
        return folder

    def _apart(self, given: dict[str, str]) -> None:
        """Move aside what the same recipe left with another model or data given to it."""
        try:
            before = read_report(self.path)["given"]
        except InputError:  # none ended here
            return
        if before != given:
            moved = move_aside(self.path)
            folders.claim(self.path, self.recipe.to_yaml())
            self.log(f"the run of that name with another model or other data given to it is now {moved}")

    def follow(self, steps: Iterable[Step], store: Store) -> Iterator[Step]:
        """Write each step down as it passes; the report once all stages are done, again after a control."""
        try:
            with tracking(self.recipe) as tracker:
                for step in steps:
                    if not self.steps:
                        self._apart(step.given)
                    self.add(step)
                    self.log(f"{step.label}: {'kept' if step.kept else 'not kept'}, {step.why}")
                    if tracker:
                        tracker.step(len(self.steps) - 1, step.label, figures_of(step), step.why)
                    if len(self.steps) > len(self.recipe.stages):
                        self.report = self.finish(store)
                    yield step
                if tracker and self.report:
                    tracker.report(self.path)
        finally:  # after a failure, too: a notebook keeps the exception, and with it this folder
            self.lock.release()

    def log(self, line: str) -> None:
        """Append a line with the time of day to ``log.txt``, and say it."""
        folders.log(self.path, line)
        self.say(line)

    def add(self, step: Step) -> None:
        """Append a step to ``steps.jsonl``, which the first one begins anew."""
        mode = "a" if self.steps else "w"  # not before: until then a run that ended keeps its steps
        self.steps.append(step)
        with (self.path / "steps.jsonl").open(mode) as file:
            file.write(json.dumps(step.to_dict()) + "\n")

    def finish(self, store: Store) -> dict[str, Any]:
        """Write artifacts, ``net.pt`` and the reports; gives the content of ``report.json``."""
        baseline, final = self.steps[0], final_step(self.steps)
        for name, step in (("baseline", baseline), ("artifact", final)):
            assert step.artifact is not None
            _replace(Path(step.artifact), self.path / name)
        net = store.net(final.key)
        assert net is not None
        from compress.models.checkpoint import save_net

        save_net(net, self.path / "net.pt")
        times = times_in_other_runtimes(net, final.key, store, self.recipe.runtime.threads)
        report = build(self.recipe, self.steps, times)
        report["shapes"] = _shapes(store, baseline.key, final.key)
        for name, step in (("baseline", baseline), ("final", final)):
            report[name]["layers_ms"] = _layers_ms(step, store)
        report["flips"] = self._flips(baseline, final)
        report["elsewhere"] = still_valid(self.path, report)
        write_report(self.path, report)
        return report

    def _flips(self, baseline: Step, final: Step) -> dict[str, Any] | None:
        """Thumbnails of photos that the two models tell apart, taken now: a report needs no data later."""
        from compress.report.photos import flips

        if baseline.test is None or baseline.score is None or final.score is None:
            return None
        before, after = baseline.score.predictions_test, final.score.predictions_test
        return flips(baseline.test, before, after, self.path)


def record(recipe: Recipe, steps: Iterable[Step], store: Store | None = None) -> Iterator[Step]:
    """Pass the steps of ``run(recipe)`` on, leaving the same ``runs/<name>`` as the command line does.

    ``store`` is the one given to ``run``. The folder is taken when the first step is asked for. Its
    ``log.txt`` has a line for each step; what ``run`` says besides goes to the ``log`` given to that.

    Raises:
        InputError: another run of that name is going on.
    """
    yield from RunFolder.open(recipe).follow(steps, store or Store())


def final_step(steps: Sequence[Step]) -> Step:
    """The last step that was kept."""
    return [step for step in steps if step.kept][-1]


def build(recipe: Recipe, steps: Sequence[Step], times: dict[str, float | None]) -> dict[str, Any]:
    """The content of ``report.json``."""
    from compress.measure.machine import machine

    final = final_step(steps)
    assert final.score is not None
    score = final.score
    met = recipe.metric.met(f1=score.f1_test, time_ms=_time_ms(recipe, steps[0], final), macs=score.macs)
    controls = [step for step in steps if step.kind == "control"]
    change = {"f1_test_change_interval": _change_of_f1(steps[0], final)}
    return {
        "recipe": recipe.canonical(),
        "given": steps[0].given,  # in place of the recipe's
        "machine": machine(),
        "runtime": json.loads((Path(final.artifact or "") / "artifact.json").read_text())["runtime"],
        "metric": recipe.metric.canonical(),
        "baseline": _with_content(steps[0]),
        "steps": [_with_content(s) for s in steps[1:] if s.kind != "control"],
        "final": {**_with_content(final), **change},
        "control": controls[0].to_dict() if controls else None,
        "require": [{"met": one.ok, "line": one.line} for one in met],
        "other_runtimes_ms": times,
        "data_notes": list(steps[0].notes),  # of the baseline's step: what is odd about the data
        "test": _test(steps[0]),
    }


def _time_ms(recipe: Recipe, baseline: Step, final: Step) -> float:
    """The time that the metric counts, as tables show it: the baseline's times the paired ratio."""
    assert baseline.score is not None
    assert final.score is not None
    if recipe.metric.time == "model":
        return baseline.score.latency.median * final.score.latency.ratio
    return baseline.score.end_to_end_ms * final.score.end_to_end_ratio.median


def _change_of_f1(baseline: Step, final: Step) -> tuple[float, float] | None:
    """95 % of the final model's macro F1 on test minus the baseline's, on the same resampled photos."""
    from compress.measure.quality import f1_difference_interval

    if baseline.test is None or baseline.score is None or final.score is None:
        return None
    before, after = baseline.score.predictions_test, final.score.predictions_test
    test = baseline.test
    return f1_difference_interval(test.targets, np.asarray(after), np.asarray(before), groups=test.groups)


def _test(baseline: Step) -> dict[str, Any] | None:
    """Which test photos these are, by their classes in order and, where they are files, their names: runs on
    others do not compare."""
    if (test := baseline.test) is None:
        return None
    classes = digest(test.labels, test.targets.tolist())
    return {"photos": len(test), "digest": classes, "files": digest(test.names) if test.names else None}


def write_report(path: Path, report: dict[str, Any]) -> None:
    """``report.json``, ``report.md``, ``report.html`` and ``figures/`` from one content."""
    write_text(path / "report.md", render_markdown(report))
    write_text(path / "report.html", render_page(report, path))
    write_figures(path, list(figures(report).values()))
    write_text(path / "report.json", json.dumps(report, indent=1))


def _with_content(step: Step) -> dict[str, Any]:
    """What ``report --timing`` finds the step's artifact by."""
    return {**step.to_dict(), "content": step.artifact and Artifact(Path(step.artifact)).content}


def _layers_ms(step: Step, store: Store) -> list[dict[str, Any]] | None:
    """Where the time of a step's artifact goes; None where its runtime has no profiler."""
    from compress.layers.times import layers_ms

    net = store.net(step.key)
    if net is None or step.artifact is None or step.score is None:
        return None
    return layers_ms(net, step.key, Path(step.artifact), store, step.score.latency.median)


def _shapes(store: Store, baseline: str, final: str) -> dict[str, Any]:
    from compress.report.shapes import shapes

    nets = {"baseline": store.net(baseline), "final": store.net(final)}
    return {name: shapes(net.module) if net else [] for name, net in nets.items()}


def read_report(path: str | Path) -> dict[str, Any]:
    """``report.json`` of a run's folder.

    Raises:
        InputError: no such run, it has not ended, or the file is damaged.
    """
    path = Path(path)
    file = path / "report.json"
    if not file.is_file():
        raise InputError(folders.no_run(path))
    try:
        report = json.loads(file.read_text(encoding="utf-8"))
        lacking = sorted(_lacking(report))
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{file}: damaged ({error}); run its recipe again to write it anew") from error
    if lacking:
        raise InputError(f"{file}: lacks {', '.join(lacking)}; run its recipe again to write it anew")
    return {**_OPTIONAL, **report}


def _lacking(report: dict[str, Any]) -> set[str]:
    """Keys that a report must have and this one has not."""
    lacking: set[str] = _KEYS - report.keys()
    if lacking:
        return lacking
    steps = [report.get("baseline", {}), report.get("final", {}), *report.get("steps", [])]
    steps += [report["control"]] if report.get("control") else []
    for step in steps:
        lacking |= _STEP_KEYS - step.keys()
    lacking |= {"name", "runtime"} - report.get("recipe", {}).keys()
    return lacking


def _replace(source: Path, target: Path) -> None:
    """Put a copy of ``source`` at ``target``, which is gone no longer than from one rename to the next."""
    part, old = (target.with_name(f".{target.name}.{end}") for end in ("part", "old"))
    for left in (part, old):  # by a run that was killed
        shutil.rmtree(left, ignore_errors=True)
    shutil.copytree(source, part)
    if target.exists():
        target.rename(old)
    part.rename(target)
    shutil.rmtree(old, ignore_errors=True)
