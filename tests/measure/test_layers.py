from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tinynet import tiny_net
from torch import Tensor, nn

from compress.measure.layers import peak_bytes, row_of
from compress.ops.trace import kernels, trace


def test_rows_of_the_tiny_net() -> None:
    net = tiny_net()
    found = [row_of(kernel) for kernel in kernels(trace(net.module, net.example()))]
    rows = {(row.name, row.kind): row for row in found}
    stem = rows["stem.0", "dense"]
    assert (stem.shape, stem.out, stem.act, stem.merged) == (
        (3, 16, 16), (16, 16, 16), "hardtanh", ("stem.1", "stem.2"),
    )  # fmt: skip
    assert stem.memory == 3 * 256 + 16 * 256 + stem.params
    assert stem.activations == 16 * 256
    assert rows["block1.body.0.0", "pointwise"].act == "hardtanh"
    assert rows["block1.body.1.0", "depthwise"].groups == 64
    assert rows["block1", "add"].macs == 0
    assert rows["head.3", "linear"].out == (10,)
    assert rows["head.3", "linear"].activations == 0


class Graph(nn.Module):
    """Node i is the sum of some earlier ones, each through a 1 x 1 convolution to a width of its own."""

    def __init__(self, reads: list[list[int]], widths: list[int]) -> None:
        super().__init__()
        self.reads = reads
        channels = [3, *widths]
        self.convs = nn.ModuleList(
            nn.ModuleList(nn.Conv2d(channels[r], width, 1) for r in inputs)
            for inputs, width in zip(reads, widths, strict=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        made = [x]
        for convs, inputs in zip(self.convs, self.reads, strict=True):
            total = None
            for conv, r in zip(convs, inputs, strict=True):
                y = conv(made[r])
                total = y if total is None else total + y
            assert total is not None
            made.append(total)
        return made[-1]


def slow_peak(module: nn.Module, x: Tensor) -> int:
    """Walk forwards; at each kernel add up what it reads, writes, and what a later one still reads."""
    found = kernels(trace(module, x))
    size = {-1: x.numel() * 4} | {i: k.written * 4 for i, k in enumerate(found)}
    peak = 0
    for now in range(len(found)):
        later = {r for kernel in found[now:] for r in kernel.reads if r < now}
        peak = max(peak, size[now] + sum(size[i] for i in later))
    return peak


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_peak_memory_against_a_slow_reference(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 5))
    reads = [data.draw(st.lists(st.integers(0, i), min_size=1, max_size=3)) for i in range(count)]
    for i in range(count - 1):  # every node is read, as a runtime drops the others
        if not any(i + 1 in inputs for inputs in reads[i + 1 :]):
            reads[-1].append(i + 1)
    widths = data.draw(st.lists(st.integers(1, 6), min_size=count, max_size=count))
    x = torch.zeros(1, 3, 2, 2)
    module = Graph(reads, widths)
    assert peak_bytes(kernels(trace(module, x)), x) == slow_peak(module, x)


def test_the_peak_of_nothing_is_the_input() -> None:
    x = torch.zeros(1, 3, 4, 4)
    assert peak_bytes([], x) == 192
