"""A place that cannot be written is said before any work, and nothing is left there."""

from __future__ import annotations

from pathlib import Path

import pytest
from report_samples import report

from compress.__main__ import main
from compress.errors import InputError
from compress.outputs import check_output
from compress.report.run_folder import write_report


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (
            ["data", "eda", "x", "--out", "folder"],
            "--out folder: a folder; name a file, e.g. folder/page.html",
        ),
        (["data", "eda", "x", "--out", "file/x.html"], "--out file/x.html: file is a file, so nothing"),
        (["compare", "a", "b", "--html", "file/x.html"], "--html file/x.html: file is a file, so nothing"),
        (
            ["data", "crops", "coco", "photos", "file"],
            "OUT file: a file, where a folder is needed; name another",
        ),
        (
            ["submit", "run", "--data", "d", "--out", "file"],
            "--out file: a file, where a folder is needed; name another",
        ),
        (
            ["export", "run", "--to", "onnx", "--out", "/proc/x"],
            "--out /proc/x: nothing can be written in /proc",
        ),
        (["tiny.yaml"], "all runs go to runs: a file, where a folder is needed; work in another folder"),
    ],
)
def test_every_command_names_its_option(
    args: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BEYONDNAS_STORE", str(tmp_path / "store"))
    (tmp_path / "folder").mkdir()
    for name in ("file", "runs"):
        (tmp_path / name).touch()
    (tmp_path / "tiny.yaml").write_text("name: tiny")
    write_report(tmp_path / "run", report())
    before = sorted(tmp_path.rglob("*"))
    assert main(args) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(said)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("store", ["file", "/proc/x"])
def test_a_store_that_cannot_be_written(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BEYONDNAS_STORE", store)
    (tmp_path / "file").touch()
    (tmp_path / "tiny.yaml").write_text("name: tiny")
    assert main(["tiny.yaml"]) == 2
    assert capsys.readouterr().err.startswith(f"BEYONDNAS_STORE {store}: ")
    assert not (tmp_path / "runs").exists()


def test_where_it_can_be_written_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "there.html").touch()
    for path in ("there.html", "new.html", "new/folder/x.html"):
        check_output(tmp_path / path, "--out")
    for path in (".", "new", "new/folder"):
        check_output(tmp_path / path, "--out", folder=True)
    assert [path.name for path in tmp_path.iterdir()] == ["there.html"]
    with pytest.raises(InputError, match=r"there\.html: a file, where a folder"):
        check_output(tmp_path / "there.html", "--out", folder=True)
