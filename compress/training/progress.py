"""What a person sees of a training: a bar on a terminal, sparse lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any

_LINES = 10  # about so many lines of a whole training go to a log


class Reporter:
    """A rich bar with loss, tune F1 and ETA when ``progress`` is on and stderr is a terminal; else log lines.

    Args:
        name: of the bar.
        epochs, steps: epochs of the training, steps of each.
        start: epochs done already (a resumed training).
    """

    def __init__(
        self, name: str, epochs: int, steps: int, start: int, progress: bool, log: Callable[[str], None]
    ) -> None:
        self.epochs, self.log = epochs, log
        self.bar: Any = None
        if progress and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            self.bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("epochs  loss {task.fields[loss]}  tune F1 {task.fields[f1]}  left"),
                TimeRemainingColumn(elapsed_when_finished=True),
                console=Console(stderr=True),
                transient=True,
            )
            self.task = self.bar.add_task(name, total=epochs, completed=start, loss="-", f1="-")
        self.step_size = 1 / max(1, steps)

    def __enter__(self) -> Reporter:
        if self.bar is not None:
            self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.stop()

    def step(self, epoch: int, i: int, loss: float | None) -> None:
        """Step ``i`` (from 0) of ``epoch`` (from 0) is done; ``loss`` where it is known cheaply."""
        if self.bar is not None:
            fields = {} if loss is None else {"loss": f"{loss:.3f}"}
            self.bar.update(self.task, completed=round(epoch + (i + 1) * self.step_size, 2), **fields)

    def epoch(self, record: dict[str, Any]) -> None:
        """An epoch is done; ``record`` is its entry in the history."""
        done = record["epoch"]
        if self.bar is not None:
            fields = {} if record["f1"] is None else {"f1": f"{record['f1']:.3f}"}
            self.bar.update(self.task, completed=done, loss=f"{record['loss']:.3f}", **fields)
        elif done == 1 or done == self.epochs or done % max(1, self.epochs // _LINES) == 0:
            f1 = "" if record["f1"] is None else f", tune F1 {record['f1']:.3f}"
            self.log(
                f"epoch {done}/{self.epochs}: loss {record['loss']:.4f}{f1}, "
                f"lr {record['lr']:.2g}, {record['seconds']:.1f} s"
            )
