"""Counted, predicted and measured times of a net, layer by layer; the table and the figure of them."""

from __future__ import annotations

import math
import struct
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from latency_rows import known_table
from rich.console import Console
from tinynet import tiny_net

from compress.errors import InputError
from compress.layers.plot import check_plot, layer_plot
from compress.layers.table import block_lines, layer_summary, layer_table
from compress.layers.times import THE_NET, LayerLine, correlations, layer_lines, layers_ms
from compress.measure.guidelines import guidelines
from compress.net import Net
from compress.runtimes.deploy import export_net
from compress.runtimes.onnxruntime_runtime import OnnxRuntime
from compress.runtimes.profiling import UNATTRIBUTED, LayerTime, profile
from compress.store import Store


def time(name: str, kind: str, ms: float) -> LayerTime:
    return LayerTime(name, kind, ms, 0.0, 2 * ms)


@pytest.fixture
def net() -> Net:
    return tiny_net()


def test_every_time_finds_its_layer(net: Net) -> None:
    times = [
        time("stem.0", "conv", 0.3),
        time("stem.2", "act", 0.05),  # a runtime that has not merged it
        time("block1", "add", 0.02),
        time("head.3", "linear", 0.1),
        time("head.0", "pool", 0.01),
        time("block1", "reorder", 0.04),
        time("", UNATTRIBUTED, 0.5),
    ]
    lines = layer_lines(net, times)
    found = {(line.name, line.kind): line for line in lines}
    assert found["stem.0", "dense"].ms == pytest.approx(0.35)
    assert found["stem.0", "dense"].watched_ms == pytest.approx(0.7)
    assert found["stem.0", "dense"].shape == "3>16 @16 k3"
    assert found["dense.0", "dense"].shape == "16>32 @16>8 k3"
    assert found["dense.0", "dense"].ms == 0  # merged, or not reported
    assert found["block1", "add"].ms == 0.02
    assert found["block1", "reorder"].cost is None
    assert found[THE_NET, UNATTRIBUTED].ms == 0.5
    assert sum(line.ms for line in lines) == pytest.approx(sum(t.ms for t in times))
    assert sum(line.macs for line in lines) == sum(
        guide.row.macs for guide in guidelines(net.module, net.example()).layers
    )
    assert all(line.table_ms is None for line in lines)


def test_the_latency_table_stands_beside_it(net: Net, tmp_path: Path) -> None:
    lines = layer_lines(net, [time("stem.0", "conv", 0.3)], known_table(tmp_path))
    layers = [line for line in lines if line.cost is not None]
    assert all(line.table_ms and line.table_ms > 0 for line in layers)
    assert "latency table" in correlations(lines)
    net.quant = object()  # type: ignore[assignment]  # int8: the table knows floats only
    assert all(
        line.table_ms is None
        for line in layer_lines(net, [time("stem.0", "conv", 0.3)], known_table(tmp_path))
    )


def test_correlations_are_of_ranks() -> None:
    def line(macs: int, memory: int, cost: float | None, ms: float) -> LayerLine:
        return LayerLine("x", "dense", "", 0, macs, memory, (), cost, None, ms, ms)

    lines = [line(1, 9, 1, 0.1), line(10, 5, 20, 0.2), line(100, 1, 3000, 0.3), line(0, 0, None, 99.0)]
    assert correlations(lines) == pytest.approx({"MACs": 1, "memory access": -1, "guidelines": 1})


def test_measured_once_and_stored(net: Net, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    artifact = export_net(net, OnnxRuntime(), tmp_path / "net")
    rows = layers_ms(net, "key", artifact.path, store, whole_ms=0.05)
    assert rows is not None
    assert next(row["name"] for row in rows if row["macs"]) == "stem.0"
    assert {"name", "kind", "ms", "macs"} == set(rows[0])
    assert sum(row["ms"] for row in rows) == pytest.approx(0.05, rel=1e-3)
    assert layers_ms(net, "key", artifact.path, store) == rows
    (kept,) = (tmp_path / "store" / "layers").iterdir()
    kept.unlink()
    assert layers_ms(net, "key", artifact.path, store) != rows  # measured anew: other microseconds


def test_the_table_says_what_is_against_a_layer_and_what_it_takes(net: Net, tmp_path: Path) -> None:
    runtime = OnnxRuntime()
    artifact = export_net(net, runtime, tmp_path / "net")
    times = profile(runtime, artifact, np.zeros((1, 16, 16, 3), np.uint8), runs=20, whole_ms=0.05)
    lines = layer_lines(net, times)
    console = Console(width=132, record=True, file=(tmp_path / "out").open("w"))
    console.print(layer_table(lines, "a title"))
    text = console.export_text()
    stem = next(row for row in text.splitlines() if row.startswith("stem.0"))
    assert all(word in stem for word in ("dense", "3>16 @16 k3", "111 k"))
    assert "merged" in next(row for row in text.splitlines() if row.startswith("block1 "))
    assert "G2" in next(row for row in text.splitlines() if row.startswith("block1.body.1.0"))
    summary = layer_summary(lines, 0.05)
    assert summary[0].startswith("the whole net takes 0.050 ms")
    assert "MACs" in summary[1]
    assert "guidelines" in summary[1]
    blocks = guidelines(net.module, net.example()).blocks
    assert any(line.startswith("G3 speaks against") for line in block_lines(blocks))


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_the_figure_is_written_and_large_enough(net: Net, tmp_path: Path, ending: str) -> None:
    lines = layer_lines(net, [time("stem.0", "conv", 0.3), time("dense.0", "conv", 0.1)])
    path = tmp_path / f"layers.{ending}"
    layer_plot(lines, path, "a title")
    if ending == "png":
        width, height = struct.unpack(">II", path.read_bytes()[16:24])
        assert width > 1200
        assert height > 500
    else:
        root = ET.parse(path).getroot()
        assert root.tag.endswith("svg")
        assert math.isfinite(float(root.attrib["height"].removesuffix("pt")))


def test_where_no_figure_can_be_written_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--plot layers.jpg: the file must end in .png, .svg, .pdf"):
        check_plot(Path("layers.jpg"))
    with pytest.raises(InputError, match="there is no folder"):
        check_plot(tmp_path / "none" / "layers.png")
