"""What ``python -m search`` does with a study: run it, then say what was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from compress.errors import CompressError
from search import figures, outputs
from search.choose import choices
from search.clock import Spent, words
from search.conduct import conduct
from search.finals import records_of
from search.folder import StudyFolder
from search.one_shot import objective_of
from search.records import BASE, TIME_MS, Record, comparable, counted, front
from search.spec import DIRECTIONS, StudySpec
from search.storage import open_study

_SHOWN = 20  # trials of the front


def run(spec: StudySpec) -> None:
    """Conduct a study in ``runs/<name>``, write what it leaves, print the front.

    Raises:
        InputError, CompressError: as ``conduct``; also when no candidate was evaluated.
    """
    with StudyFolder.open(spec) as folder:

        def log(line: str) -> None:
            folder.log(line)
            print(line, flush=True)

        if folder.moved:
            log(f"what another study or run of that name left is now {folder.moved}")
        if folder.back:
            log(f"this study goes on with what it left in {folder.back}, which is {folder.path} again")
        stopped = None
        try:
            stopped = conduct(spec, folder, objective_of, log)
        finally:  # also on Ctrl-C
            records = _close(spec, folder)
        done = counted(records)
        if stopped:
            print(f"ended after {done} of {spec.trials} trials: {stopped}")
        evaluated = sum(record.outcome == "evaluated" for record in records)
        if not evaluated:
            raise CompressError(
                f"none of {len(records)} candidates was evaluated; see {folder.path}/trials.csv"
            )
        if not comparable(records):
            tuned = sum(bool(record.shared) for record in records)
            which = f"{tuned} fine-tuned finalists" if tuned else f"{evaluated} evaluated candidates"
            raise CompressError(
                f"all {which} are beyond the limits as measured, so none is best; "
                f"see {folder.path}/trials.csv"
            )


def _close(spec: StudySpec, folder: StudyFolder) -> list[Record]:
    """Write every file, print the table."""
    study = open_study(spec, folder.path)
    records = records_of(study)
    base = study.user_attrs.get(BASE, {})
    if not base:
        return records  # ended before the baseline was measured
    outputs.write(folder.path, spec, records, base)
    figures.write(folder.path, spec, study, records)
    _show(spec, records, base)
    if "runtime" in base:
        auto = ", which auto chose for the baseline" if spec.runtime.kind == "auto" else ""
        print(f"times are in {base['runtime']}{auto}")
    print(f"{words(Spent.on(study).hours)} of work, the baseline's training included")
    for one in outputs.forecasts(spec, records):
        print(one)
    print(outputs.listed(folder.path))
    return records


def _show(spec: StudySpec, records: Sequence[Record], base: Mapping[str, float]) -> None:
    from rich.console import Console
    from rich.table import Table

    best = front(records, {name: DIRECTIONS[name] for name in spec.objectives})
    named: dict[int, list[str]] = {}
    for name, record in choices(spec, records).items():
        named.setdefault(record.number, []).append(name)
    rows = {record.number: record for record in [*best[:_SHOWN], *choices(spec, records).values()]}
    table = Table(title=f"{spec.name}: the front, and the best by each rule")
    whole = spec.metric.time == "end_to_end"  # the time that its score counts, beside the model's
    label = ["photo to label, ms"] if whole else []
    for column in ("trial", "F1 val", "ms", *label, "params", "MACs", "score", "best by"):
        table.add_column(column, justify="left" if column == "best by" else "right")
    table.add_row("baseline", *_cells(base, whole), "")
    for number, record in rows.items():
        table.add_row(str(number), *_cells(record.measured, whole), ", ".join(named.get(number, [])))
    console = Console()
    (console if console.is_terminal else Console(width=100)).print(table)
    tally = outputs.summary(spec, records, base)["outcomes"]
    told = ", ".join(f"{count} {outcome}" for outcome, count in sorted(tally.items()))
    print(f"{len(records)} candidates: {told}")
    if beyond := sum(record.outcome == "evaluated" and not record.feasible for record in records):
        print(f"{beyond} of the evaluated are beyond the limits as measured: on no front, and never the best")


def _cells(values: Mapping[str, Any], whole: bool) -> list[str]:
    from compress.report.tables import count

    label = f"{values[TIME_MS]:.3f}" if TIME_MS in values else ""
    return [
        f"{values['f1']:.3f}",
        f"{values['ms']:.3f}",
        *([label] if whole else []),
        count(round(values["params"])),
        count(round(values["macs"])),
        f"{values['score']:.3f}",
    ]
