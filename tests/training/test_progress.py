"""What a training says while it runs."""

from __future__ import annotations

import io
import sys

import pytest
from fitting import spec, train
from tinynet import digits, tiny_net


def test_a_log_gets_few_lines_and_no_bar(capfd: pytest.CaptureFixture[str]) -> None:
    lines: list[str] = []
    train(tiny_net(), spec(epochs=40), images=32, tune=digits(200, 230), log=lines.append, progress=True)
    assert len(lines) == 12
    assert "40 epochs of 1 steps" in lines[0]
    assert lines[-1].startswith("epoch 40/40: loss ")
    assert "tune F1 0." in lines[-1]
    assert capfd.readouterr() == ("", "")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_bar_with_loss_f1_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(sys, "stderr", terminal)
    lines: list[str] = []
    train(tiny_net(), spec(), images=64, tune=digits(200, 230), log=lines.append, progress=True)
    drawn = terminal.getvalue()
    assert "epochs  loss 2." in drawn or "epochs  loss 1." in drawn
    assert "tune F1 0." in drawn
    assert "3.0/3" in drawn or "3/3" in drawn
    assert len(lines) == 1  # the bar takes the place of the lines
