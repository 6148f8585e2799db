"""A run's folder: what is in it whatever happened while it was written."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from report_samples import AFTER, BEFORE, photos, report

from compress.report.photos import flips
from compress.report.run_folder import read_report, write_report


def test_names_of_files_need_not_be_utf8(tmp_path: Path) -> None:
    data, name = photos(), os.fsdecode(b"caf\xe9.jpg")
    shown = flips(replace(data, names=(name,) * len(data)), BEFORE, AFTER, tmp_path)
    write_report(tmp_path, report(flips=shown, data_notes=[f"skipped 1 of 10 files: {name}"]))
    for file in ("report.html", "report.md"):
        assert r"caf\udce9.jpg" in (tmp_path / file).read_text()
    assert read_report(tmp_path)["data_notes"] == [f"skipped 1 of 10 files: {name}"]
