"""A finished run's final model in every format there is, and what is said where that cannot be."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from report_samples import report
from tinynet import digits, tiny_net

from compress.__main__ import main
from compress.errors import InputError
from compress.exporting import FORMATS, export_run
from compress.models.checkpoint import save_net
from compress.net import Net, Quant
from compress.report.run_folder import read_report, write_report
from compress.runtimes.deploy import eager_logits, export_net
from compress.runtimes.kinds import BY_KIND, load_artifact
from compress.runtimes.onnxruntime_runtime import OnnxRuntime
from compress.store import Store

ROOT = Path(__file__).resolve().parents[1]


def a_run(folder: Path, net: Net) -> Path:
    write_report(folder, report())
    save_net(net, folder / "net.pt")
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = a_run(tmp_path_factory.mktemp("runs") / "tiny", tiny_net())
    export_net(tiny_net(), OnnxRuntime(), folder / "artifact")
    return folder


@pytest.mark.parametrize("to", FORMATS)
def test_the_final_model_in_another_format_gives_its_logits(run: Path, to: str, tmp_path: Path) -> None:
    kind = FORMATS[to]
    if line := BY_KIND[kind]().missing(export=True):
        with pytest.raises(InputError, match=line.split("'")[0]):
            export_run(run, to, tmp_path / to)
        assert not (tmp_path / to).exists()
        return
    folder = export_run(run, to, tmp_path / to)
    images = digits(0, 12).images
    want = eager_logits(tiny_net(), images)
    assert np.abs(load_artifact(folder, None)(images) - want).max() < 1e-4 * np.abs(want).max()


def test_every_runtime_has_a_format() -> None:
    assert set(FORMATS.values()) == set(BY_KIND)


def test_the_command_writes_beside_the_run(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(run), "--to", "onnx"]) == 0
    assert capsys.readouterr().out == f"{run}/export-onnx\n"
    assert (run / "export-onnx" / "model.onnx").is_file()
    assert main(["export", str(run), "--to", "tflite"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"--to tflite: unknown format; one of {', '.join(FORMATS)}"


def test_an_extra_that_is_not_installed_is_named(run: Path) -> None:
    for absent in ("ncnn", "pnnx"):
        code = f"import sys; sys.modules[{absent!r}] = None\nfrom compress.__main__ import main\n"
        code += f"sys.exit(main(['export', {str(run)!r}, '--to', 'ncnn']))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
        said = f"{absent} is not installed: pip install 'beyondnas[ncnn]'\n"
        assert (done.returncode, done.stdout, done.stderr) == (2, "", said)


def test_int8_where_it_cannot_be_held(tmp_path: Path) -> None:
    net = tiny_net()
    net.quant = Quant(digits(0, 16).images)
    run = a_run(tmp_path / "tiny", net)
    export_net(tiny_net(), OnnxRuntime(), run / "artifact")
    for kind, right in (("distill", ""), ("quantize", "; --step prune exports the float net before it")):
        content = report()
        content["steps"][1].update(kind=kind, kept=True)
        write_report(run, content)
        with pytest.raises(InputError) as error:
            export_run(run, "torch", tmp_path / "out")
        assert (
            str(error.value) == f"--to torch: this run's final model is int8, which torch cannot hold{right}"
        )


def test_steps_of_one_label_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As runs number them now; reports of earlier versions have the label twice."""
    monkeypatch.setenv("BEYONDNAS_STORE", str(tmp_path))
    final = tiny_net()
    final.quant = Quant(digits(0, 16).images)
    run = a_run(tmp_path / "tiny", final)
    export_net(tiny_net(), OnnxRuntime(), run / "artifact")
    content = report()
    pruned = content["steps"][0]
    kinds = ("prune", "finetune", "quantize", "finetune")
    content["steps"] = [
        {**pruned, "label": kind, "kind": kind, "key": str(i)} for i, kind in enumerate(kinds)
    ]
    write_report(run, content)
    with pytest.raises(InputError, match=r"; --step finetune exports the float net before it$"):
        export_run(run, "torch", tmp_path / "out")
    Store().put_net("1", tiny_net())
    Store().put_net("3", final)
    assert load_artifact(export_run(run, "torch", tmp_path / "float", "finetune"), None) is not None
    with pytest.raises(InputError, match="step finetune-2 is int8"):
        export_run(run, "torch", tmp_path / "out", "finetune-2")
    assert main(["export", str(run), "--to", "onnx", "--step", "finetune-3"]) == 2
    assert capsys.readouterr().err.endswith("one of baseline, prune, finetune, quantize, finetune-2\n")


def test_the_net_of_a_step_comes_from_the_store(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BEYONDNAS_STORE", str(tmp_path))
    args = ["export", str(run), "--to", "torch", "--out", str(tmp_path / "out"), "--step"]
    first = read_report(run)["baseline"]
    assert main([*args, "baseline"]) == 2
    assert capsys.readouterr().err.startswith(
        f"--step baseline: its net is not in {tmp_path}; run the recipe"
    )
    assert main([*args, "nosuch"]) == 2
    assert capsys.readouterr().err.startswith(
        "--step nosuch: no step of this run that was kept; one of baseline"
    )
    other = tiny_net()
    other.module.head[-1].bias.data.add_(1)
    Store().put_net(first["key"], other)
    assert main([*args, "baseline"]) == 0
    images = digits(0, 12).images
    want = eager_logits(other, images)
    assert np.abs(load_artifact(tmp_path / "out", None)(images) - want).max() < 1e-4 * np.abs(want).max()
