"""``runs/<study>/``: what a study leaves for people and programs to read, written anew after every trial."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from compress import yamlio
from compress.store import write_text
from search.choose import choices
from search.recipes import chain_recipe
from search.records import MEASURED, TIME_MS, Record, front
from search.rungs import Correlation, correlations
from search.spec import DIRECTIONS, StudySpec

_F1_MS = {name: DIRECTIONS[name] for name in ("f1", "ms")}
RULES = ("score", "knee", "constraint")
_LEFT = (
    *("recipe.yaml", "recipe-*.yaml", "best-*.yaml", "best-score.pt"),
    *("pareto.json", "trials.csv", "trials", "figures"),
)


def write(path: Path, spec: StudySpec, records: Sequence[Record], base: Mapping[str, Any]) -> None:
    """Every file but the figures.

    Args:
        base: the baseline, measured as candidates are; empty where there is none.
    """
    for record in records:
        file = path / "trials" / f"{record.number}.yaml"
        if record.candidate is not None and not file.exists():
            write_text(file, _commented(record, spec, record.candidate.to_yaml(), measured=False))
    write_text(path / "trials.csv", table(records))
    chosen = choices(spec, records)
    for name in RULES:
        file, chain = path / f"best-{name}.yaml", path / recipe_file(name)
        best = chosen.get(name)
        if best is None or best.candidate is None:
            for one in (file, chain):  # the recipe goes on from the other
                one.unlink(missing_ok=True)
            continue
        write_text(file, _commented(best, spec, best.candidate.to_yaml()))
        recipe = chain_recipe(spec, best.candidate, file, name)
        content = {key: value for key, value in recipe.canonical().items() if value is not None}
        write_text(chain, _commented(best, spec, yamlio.dump(content)))
    write_text(path / "pareto.json", json.dumps(summary(spec, records, base), indent=1))


def clear(path: Path) -> None:
    """Remove what ``write`` would take for a new study's own: nets of one whose trials are gone, as after
    ``study.db`` was deleted."""
    for file in (*(path / "trials").glob("*.yaml"), path / "best-score.pt"):
        file.unlink(missing_ok=True)


def recipe_file(rule: str) -> str:
    """The name of the recipe that goes on from the best by that rule."""
    return "recipe.yaml" if rule == "score" else f"recipe-{rule}.yaml"


def listed(path: Path) -> str:
    """The study's folder and what of all that lies in it, in a line."""
    names = []
    for pattern in _LEFT:
        found = list(path.glob(pattern))
        if any(one.is_file() or any(one.iterdir()) for one in found):
            names.append(f"{pattern}/" if found[0].is_dir() else pattern)
    return f"{path}/: {', '.join(names)}"


def summary(spec: StudySpec, records: Sequence[Record], base: Mapping[str, Any]) -> dict[str, Any]:
    """The content of ``pareto.json``: ``front`` is that of the study's objectives, one point where there is
    one objective; ``front_f1_ms`` that of F1 and time, whatever they are."""
    from compress.measure.machine import machine

    names: dict[str, str] = {name: DIRECTIONS[name] for name in spec.objectives}
    return {
        "study": spec.name,
        "objectives": names,
        "machine": machine(),
        "baseline": dict(base),
        "outcomes": dict(Counter(record.outcome or "open" for record in records)),
        "front": [_point(record) for record in front(records, names)],
        "front_f1_ms": [_point(record) for record in front(records, _F1_MS)],
        "best": {name: _point(record) for name, record in choices(spec, records).items()},
        "rank_correlations": [vars(one) for one in forecasts(spec, records)],
    }


def forecasts(spec: StudySpec, records: Sequence[Record]) -> list[Correlation]:
    """What pauses of it and the proxy said of the full training."""
    epochs = spec.fidelity.epochs if spec.fidelity else ()
    return correlations(records, epochs, spec.proxies.kind if spec.proxies else None)


def table(records: Sequence[Record]) -> str:
    """``trials.csv``: a line a trial; the last columns are what was drawn beside the model file."""
    out = io.StringIO()
    rows = [record.row() for record in records]
    fields = list(dict.fromkeys(key for row in (Record(0, "", None, None, None).row(), *rows) for key in row))
    writer = csv.DictWriter(out, fields, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def _point(record: Record) -> dict[str, Any]:
    known = [*MEASURED, *([TIME_MS] if TIME_MS in record.measured else [])]
    return {
        "number": record.number,
        **{name: record.measured[name] for name in known},
        "file": f"trials/{record.number}.yaml",
        "drawn": record.drawn(),
    }


def _commented(record: Record, spec: StudySpec, text: str, measured: bool = True) -> str:
    """With what the file does not say: whose it is, what it came to, what was drawn beside it."""
    lines = [f"trial {record.number} of the study {spec.name}"]
    if measured:
        found = record.measured
        after = " after its stages" if spec.stages else ""
        whole = f", {found[TIME_MS]:.4f} ms from photo to label" if TIME_MS in found else ""
        lines[0] += (
            f": F1 {found['f1']:.4f} on val, {found['ms']:.4f} ms{whole}, score {found['score']:.4f}{after}"
        )
    if drawn := record.drawn():
        lines.append(f"drawn with it: {', '.join(f'{key} {value}' for key, value in drawn.items())}")
    return "".join(f"# {line}\n" for line in lines) + text
