"""Model files: counts, shapes, repeats, strides, the replaced last layer, and every error's line."""

from __future__ import annotations

import copy
import csv
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from compress.errors import InputError
from compress.models import sizes
from compress.models.arch import build, plan
from compress.models.layers import divisible
from compress.models.rows import BLOCKS


def net(*rows: Any, **keys: Any) -> dict[str, Any]:
    """A model's content; ``rows`` may leave out the head."""
    base = {"input_channel": 3, "depth_multiple": 1.0, "width_multiple": 1.0}
    return {**base, **keys, "backbone": list(rows)}


HEAD = ([1, "GlobalAvgPool", []], [1, "FixedConv", [6, 1, 1, None, 1, None]])


def params(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def problems(source: Any, num_classes: int | None = None) -> tuple[str, ...]:
    with pytest.raises(InputError) as caught:
        build(source, num_classes)
    return caught.value.problems


def convs(module: nn.Module) -> list[nn.Conv2d]:
    return [m for m in module.modules() if isinstance(m, nn.Conv2d)]


def test_public_files_have_the_published_parameter_counts_and_give_logits(model_yaml: Path) -> None:
    with (model_yaml / "params.csv").open() as file:
        expected = {row["file"]: int(row["parameters"]) for row in csv.DictReader(file)}
    assert expected
    for name, count in expected.items():
        module = build(model_yaml / name).eval()
        assert params(module) == count, name
        assert module(torch.randn(2, 3, 64, 64)).shape == (2, 9 if name == "example.yaml" else 6), name


def test_num_classes_changes_the_last_layer_only(model_yaml: Path) -> None:
    for file in sorted(model_yaml.glob("*.yaml")):
        before, after = build(file), build(str(file), 4)
        assert after.eval()(torch.randn(1, 3, 64, 64)).shape == (1, 4)
        changed = [
            name
            for (name, a), b in zip(before.state_dict().items(), after.state_dict().values(), strict=True)
            if a.shape != b.shape
        ]
        assert len({name.split(".")[0] for name in changed}) == 1, (file, changed)


def test_num_classes_is_neither_scaled_nor_rounded() -> None:
    model = net([1, "GlobalAvgPool", []], [1, "Conv", [100, 1]], width_multiple=0.5)
    assert build(model, 3).eval()(torch.zeros(1, 3, 8, 8)).shape == (1, 3)
    assert build(model).eval()(torch.zeros(1, 3, 8, 8)).shape == (1, 48)


def test_a_model_given_as_a_dict_is_left_as_it_was() -> None:
    model = net([2, "Conv", [16, 3, 2]], *HEAD)
    before = copy.deepcopy(model)
    build(model, 3)
    assert model == before


@pytest.mark.parametrize(
    ("value", "expected"), [(1, 8), (8, 8), (11, 16), (12, 16), (20, 24), (19.9, 24), (44, 48), (88.08, 88)]
)
def test_divisible(value: float, expected: int) -> None:
    assert divisible(value) == expected
    assert expected % 8 == 0
    assert expected >= 0.9 * value


@pytest.mark.parametrize(
    ("repeat", "depth", "expected"),
    [(1, 0.1, 1), (1, 3.0, 1), (2, 0.5, 1), (3, 0.5, 2), (5, 0.5, 2), (7, 0.5, 4), (4, 0.1, 1), (2, 1.5, 3)],
)
def test_repeats_follow_depth_multiple(repeat: int, depth: float, expected: int) -> None:
    module = build(net([repeat, "Conv", [16, 3]], *HEAD, depth_multiple=depth))
    assert len(convs(module)) == expected + 1


def test_a_convolution_strides_last_and_a_residual_block_first() -> None:
    def strides(name: str, args: list[Any]) -> list[int]:
        found = convs(build(net([3, name, args], *HEAD)))[:-1]
        return [c.stride[0] for c in found if c.kernel_size[0] > 1]

    assert strides("Conv", [16, 3, 2]) == [1, 1, 2]
    assert strides("FixedConv", [16, 3, 2]) == [1, 1, 2]
    assert strides("DWConv", [16, 3, 2]) == [1, 1, 2]
    assert strides("InvertedResidualv2", [16, 2, 2]) == [2, 1, 1]
    assert strides("InvertedResidualv3", [3, 2, 16, 0, 0, 2]) == [2, 1, 1]
    assert strides("MBConv", [2, 16, 2, 3]) == [2, 1, 1]


def test_dwconv_has_gcd_groups() -> None:
    first, second = convs(build(net([1, "Conv", [16, 1]], [2, "DWConv", [24, 3]], *HEAD)))[1:3]
    assert (first.groups, second.groups) == (8, 24)


def test_width_multiple_scales_blocks_but_not_logits_or_fire() -> None:
    rows = (
        [1, "Conv", [64, 3]],
        [1, "Fire", [10, 20, 20]],
        [1, "InvertedResidualv2", [100, 6, 1]],
        *HEAD,
    )
    widths = [c.out_channels for c in convs(build(net(*rows, width_multiple=0.75)))]
    # 64 * 0.75; Fire as written; hidden 6 * 40, unrounded; 75 to the nearest multiple of 8
    assert widths == [48, 10, 20, 20, 240, 240, 72, 6]


@pytest.mark.parametrize(
    ("kernel", "padding", "expected"),
    [(3, None, 1), (5, None, 2), (1, None, 0), (3, 0, 1), (3, 2, 2), (3, [1], 1), (3, [0], 0), (4, None, 2)],
)
def test_padding(kernel: int, padding: Any, expected: int) -> None:
    conv = convs(build(net([1, "Conv", [8, kernel, 1, padding]], *HEAD)))[0]
    assert conv.padding == (expected, expected)


def test_arguments_left_out_or_null_take_their_defaults() -> None:
    left_out = build(net([1, "Conv", [8, 3]], [1, "Bottleneck", [8]], *HEAD))
    null = build(
        net(
            [1, "Conv", [8, 3, None, None, None, "ReLU"]],
            [1, "Bottleneck", [8, None, None, None, "ReLU"]],
            *HEAD,
        )
    )
    assert str(left_out) == str(null)
    without = build(net([1, "Conv", [8, 3, 1, None, 1, None]], *HEAD))
    assert not any(isinstance(m, nn.ReLU) for m in without.modules())


def test_pools_take_torch_arguments() -> None:
    rows = (
        [1, "MaxPool", [3, 2, 0, 1, False, True]],
        [1, "AvgPool", [2]],
        [1, "AvgPool", [[2, 3], None, [0, 1]]],
    )
    module = build(net(*rows, *HEAD))
    assert module[0].ceil_mode
    assert module[1].stride == (2, 2)
    assert (module[2].kernel_size, module[2].stride, module[2].padding) == ((2, 3), (2, 3), (0, 1))
    # several public files write ceil_mode third, where torch has padding
    assert build(net([1, "MaxPool", [3, 2, True]], *HEAD))[0].ceil_mode


def count_by_hand(rows: list[Any], channels: int, width: float, depth: float) -> tuple[int, int]:
    """Parameters and output channels, from the format's table and nothing else."""
    total = 0

    def conv(inp: int, out: int, k: int, groups: int = 1) -> int:
        return k * k * inp * out // groups + 2 * out

    def biased(inp: int, out: int, k: int) -> int:
        return k * k * inp * out + out

    for repeat, name, args in rows:
        for _ in range(max(round(repeat * depth), 1) if repeat > 1 else repeat):
            if name == "Conv":
                out = divisible(args[0] * width)
                total += conv(channels, out, args[1])
            elif name == "FixedConv":
                out = args[0]
                total += conv(channels, out, args[1])
            elif name == "DWConv":
                out = divisible(args[0] * width)
                total += conv(
                    channels, out, args[1], torch.gcd(torch.tensor(channels), torch.tensor(out)).item()
                )
            elif name == "InvertedResidualv2":
                c, t, _ = args
                out, hidden = divisible(c * width), round(channels * t)
                total += (conv(channels, hidden, 1) if t != 1 else 0) + conv(hidden, hidden, 3, hidden)
                total += conv(hidden, out, 1)
            elif name == "InvertedResidualv3":
                k, t, c, se, _, _ = args
                out, hidden = divisible(c * width), divisible(channels * t)
                squeeze = divisible(hidden // 4)
                total += (conv(channels, hidden, 1) if hidden != channels else 0) + conv(
                    hidden, hidden, k, hidden
                )
                total += (biased(hidden, squeeze, 1) + biased(squeeze, hidden, 1)) if se else 0
                total += conv(hidden, out, 1)
            elif name == "MBConv":
                t, c, _, k = args
                out, hidden, squeeze = divisible(c * width), channels * t, max(1, channels // 4)
                total += (conv(channels, hidden, 1) if t != 1 else 0) + conv(hidden, hidden, k, hidden)
                total += biased(hidden, squeeze, 1) + biased(squeeze, hidden, 1) + conv(hidden, out, 1)
            elif name == "Fire":
                squeeze, one, three = args
                out = one + three
                total += biased(channels, squeeze, 1) + biased(squeeze, one, 1) + biased(squeeze, three, 3)
            elif name == "Linear":
                out = args[0]
                total += channels * out + out
            else:
                out = channels
            channels = out
    return total, channels


def random_rows(rng: random.Random) -> list[Any]:
    def row() -> list[Any]:
        c, s, k = rng.randint(4, 70), rng.choice([1, 1, 2]), rng.choice([3, 5])
        t = rng.choice([1, 1.5, 2, 2.3, 4])
        name, args = rng.choice(
            [
                ("Conv", [c, rng.choice([1, 2, 3, 5]), s]),
                ("DWConv", [c, k, s]),
                ("InvertedResidualv2", [c, t, s]),
                ("InvertedResidualv3", [k, t, c, rng.randint(0, 1), rng.randint(0, 1), s]),
                ("MBConv", [rng.choice([1, 4]), c, s, k]),
                ("Fire", [rng.randint(1, 20), rng.randint(1, 20), rng.randint(1, 20)]),
                ("MaxPool", [2, s, 0, 1, False, rng.random() < 0.5]),
                ("AvgPool", [3, s, 1, rng.random() < 0.5]),
            ]
        )
        return [rng.randint(1, 4), name, args]

    head = [[1, "GlobalAvgPool", []], [1, "Flatten", []], [1, "Dropout", [0.1]], [1, "Linear", [5]]]
    return [row() for _ in range(rng.randint(1, 5))] + head


@pytest.mark.parametrize("seed", range(12))
def test_random_models_agree_with_counts_by_hand_and_traced_sizes_with_real_ones(seed: int) -> None:
    rng = random.Random(seed)
    rows, depth, width = random_rows(rng), rng.choice([0.4, 0.5, 1.0]), rng.choice([0.5, 0.75, 1.0, 1.3])
    model = net(*rows, depth_multiple=depth, width_multiple=width)
    size = (rng.randint(97, 130), rng.randint(97, 130))
    module = build(model, size=size).eval()
    assert params(module) == count_by_hand(rows, 3, width, depth)[0]

    x = torch.randn(1, 3, *size)
    for child, traced in zip(module, sizes.trace(plan(model, size=size).rows, size), strict=True):
        x = child(x)
        assert (tuple(x.shape[2:]) or None) == traced


def test_bottleneck_keeps_its_width_until_the_last_repeat() -> None:
    module = build(net([1, "Conv", [16, 1]], [3, "Bottleneck", [32, True, 1, 0.5]], *HEAD))
    assert [(c.in_channels, c.out_channels, c.kernel_size[0]) for c in convs(module[1])] == [
        *[(16, 8, 1), (8, 16, 3)] * 2,
        *[(16, 16, 1), (16, 32, 3)],
    ]
    assert [block.shortcut for block in module[1]] == [True, True, False]


@pytest.mark.parametrize("name", ["ShuffleNetV2", "ResBottleneck", "PreTrained", "mbconv", 7, None])
def test_an_unknown_block_names_the_row_and_the_known_blocks(name: Any, tmp_path: Path) -> None:
    file = tmp_path / "wild.yaml"
    file.write_text(
        "input_channel: 3\ndepth_multiple: 1.0\nwidth_multiple: 1.0\nbackbone:\n"
        f"  - [1, Conv, [16, 3, 2]]\n  - [2, {'null' if name is None else name}, [24]]\n"
    )
    (line,) = problems(file)
    shown = "null" if name is None else str(name)
    assert line.startswith(f"{file}:6: row 2 [2, {shown}, [24]]: unknown block {shown}")
    assert line.endswith(", ".join(sorted(BLOCKS)))


WRONG_ROWS = [
    ([0, "Conv", [8, 3]], "repeat must be a whole number above 0, found 0"),
    ([-1, "Conv", [8, 3]], "repeat must be"),
    ([1.5, "Conv", [8, 3]], "repeat must be a whole number above 0, found 1.5"),
    (["2", "Conv", [8, 3]], "repeat must be"),
    ([True, "Conv", [8, 3]], "repeat must be a whole number above 0, found true"),
    (
        [1, "Conv", [8]],
        "Conv takes 2 to 6 arguments (c, k, stride=1, padding=null, groups=1, activation=ReLU), found 1",
    ),
    ([1, "Conv", [8, 3, 1, 1, 1, "ReLU", 1]], "found 7"),
    ([1, "MBConv", [1, 8, 1]], "MBConv takes 4 arguments (t, c, s, k), found 3"),
    ([1, "GlobalAvgPool", [1]], "GlobalAvgPool takes no arguments, found 1"),
    ([1, "Conv", ["x", 3]], "c must be a number above 0, found x"),
    ([1, "Conv", [None, 3]], "c must be a number above 0, found null"),
    ([1, "Conv", [8, 3, 0]], "stride must be a whole number above 0, found 0"),
    ([1, "Conv", [8, 3, 1, "same"]], "padding must be"),
    ([1, "Conv", [8, 3, 1, [1, 1]]], "padding must be"),
    ([1, "Conv", [8, 3, 1, "None"]], "found None (YAML writes null)"),
    ([1, "Conv", [8, 3, 1, None, 2]], "groups=2 must divide the 3 channels in and 8 out"),
    ([1, "Conv", [8, 3, 1, None, 1, "HardSwich"]], "found HardSwich (nearest: HardSwish)"),
    ([1, "Conv", [8, 3, 1, None, 1, "relu"]], "found relu (nearest: ReLU)"),
    ([1, "Conv", [8, 3, 1, None, 1, "Conv2d"]], "activation must be"),
    ([1, "Conv", [float("nan"), 3]], "c must be"),
    ([1, "Conv", [10**400, 3]], "c must be"),
    ([1, "FixedConv", [6.5, 1]], "c must be a whole number above 0, found 6.5"),
    ([1, "InvertedResidualv3", [4, 1, 8, 0, 0, 1]], "k must be an odd whole number above 0, found 4"),
    ([1, "InvertedResidualv3", [3, 1, 8, "yes", 0, 1]], "se must be true, false, 1 or 0, found yes"),
    ([1, "InvertedResidualv3", [3, 1, 8, 2, 0, 1]], "se must be true, false, 1 or 0, found 2"),
    ([1, "InvertedResidualv2", [8, 0.1, 1]], "t=0.1 leaves none of 3 channels"),
    ([1, "Bottleneck", [8, True, 3]], "groups=3 must divide the 4 hidden channels and 8 out"),
    ([1, "MaxPool", [2, 2, 2]], "padding 2 is over half of kernel_size 2"),
    ([1, "MaxPool", [2, 2, 0, 1, True]], "return_indices must be false, found true"),
    ([1, "Dropout", [1.5]], "p must be a number from 0 to 1, found 1.5"),
    ([1, "Linear", [6]], "Linear takes N x C, so Flatten before it"),
    ([1, "Conv"], "expected [repeat, block, args] with args a list"),
    (["Conv"], "expected [repeat, block, args]"),
    ([1, "Conv", 8], "expected [repeat, block, args]"),
    ("Conv", "expected [repeat, block, args]"),
    ([1, ["Conv"], [8, 3]], "unknown block [Conv]"),
]


@pytest.mark.parametrize(("row", "expected"), WRONG_ROWS)
def test_a_wrong_row_is_named_with_what_would_be_right(row: Any, expected: str) -> None:
    (line,) = problems(net(row, *HEAD))
    assert line.startswith("model: row 1 ")
    assert expected in line


def test_all_problems_are_reported_at_once(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(
        "depth_multipel: 1.0\nwidth_multiple: -1\nwidth_multiple: 0\nbackbone:\n"
        "  - [1, Conv, [16, 3, two, null, 1, Swich]]\n  - [0, ShuffleNetV2, [24]]\n  - [1, Flatten]\n"
    )
    found = "\n".join(problems(file))
    for expected in (
        f"{file}:3: width_multiple: duplicate key",
        f"{file}: input_channel is missing",
        f"{file}: depth_multiple is missing (nearest: depth_multipel)",
        f"{file}:3: width_multiple must be a number above 0, found 0",
        f"{file}:5: row 1 [1, Conv, [16, 3, two, null, 1, Swich]]: stride must be",
        "found Swich (nearest: Swish)",
        f"{file}:6: row 2 [0, ShuffleNetV2, [24]]: repeat must be",
        "unknown block ShuffleNetV2",
        f"{file}:7: row 3 [1, Flatten]: expected [repeat, block, args]",
    ):
        assert expected in found


@pytest.mark.parametrize("backbone", [None, [], {}, "Conv", 3])
def test_a_backbone_that_is_no_list_of_rows(backbone: Any) -> None:
    (line,) = problems({**net(), "backbone": backbone})
    assert "backbone must be a list of rows [repeat, block, args], at least one" in line


def test_files_that_are_not_there_or_not_yaml(tmp_path: Path) -> None:
    assert "no such file" in problems(tmp_path / "absent.yaml")[0]
    (tmp_path / "broken.yaml").write_text("backbone: [1, 2")
    assert "not valid YAML" in problems(tmp_path / "broken.yaml")[0]


def test_num_classes_may_be_numpys() -> None:
    assert build(net(*HEAD), np.int64(4)).eval()(torch.zeros(1, 3, 8, 8)).shape == (1, 4)


@pytest.mark.parametrize("num_classes", [0, -1, 2.0, True, "6"])
def test_num_classes_must_be_a_whole_number(num_classes: Any) -> None:
    assert problems(net(*HEAD), num_classes) == (
        f"num_classes must be a whole number above 0, found {num_classes!r}",
    )


def test_num_classes_needs_a_layer_that_sets_the_logits() -> None:
    after = net(*HEAD, [1, "DWConv", [8, 1]])
    assert (
        "sets the last of Conv, FixedConv, Linear (row 2), but the list ends with 8" in problems(after, 6)[0]
    )
    without = net([1, "InvertedResidualv2", [8, 2, 2]], [1, "GlobalAvgPool", []])
    assert "(none), but the list ends with 8 channels" in problems(without, 6)[0]
    assert build(without).eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 8)


def test_a_map_where_logits_should_be_is_an_error() -> None:
    rows = ([1, "Conv", [16, 3, 2]], [1, "FixedConv", [6, 1]])
    (line,) = problems(net(*rows))
    assert "row 2 [1, FixedConv, [6, 1]]: ends in an N x C x 112 x 112 map at 224 x 224 px" in line
    assert "row 2 " in problems(net(*rows, INPUT_SIZE=[32, 64]))[0]
    assert build(net(*rows, INPUT_SIZE=[2, 2]), size=1) is not None  # 1 x 1 there
    assert "flattens an N x C x 112 x 112 map" in problems(net(rows[0], [1, "Flatten", []]))[0]


def test_without_a_global_pooling_the_size_of_the_images_decides() -> None:
    rows = ([1, "Conv", [16, 3, 2]], [1, "AvgPool", [16]], [1, "Flatten", []], [1, "Linear", [6]])
    module = build(net(*rows)).eval()  # its size is not said, but 32 px would do
    assert module(torch.zeros(2, 3, 32, 32)).shape == (2, 6)
    assert build(net(*rows, INPUT_SIZE=[32, 32])) is not None
    assert "2 x 2 map at 64 x 64 px" in problems(net(*rows, INPUT_SIZE=[64, 64]))[0]
    with pytest.raises(InputError, match="8 x 8 map that 16 x 16 px leave"):
        build(net(*rows), size=16)


def test_a_map_that_vanishes_is_an_error() -> None:
    (line,) = problems(net([1, "GlobalAvgPool", []], [1, "MaxPool", [2]], *HEAD))
    assert line == (
        "model: row 2 [1, MaxPool, [2]]: its window does not fit the 1 x 1 map that 224 x 224 px leave"
    )
    assert "row 1" in problems(net([4, "MaxPool", [2]], *HEAD, INPUT_SIZE=[8, 8]))[0]
    with pytest.raises(InputError, match=re.escape("does not fit the 1 x 1 map that 2 x 2 px leave")):
        build(net([2, "MaxPool", [2]], *HEAD), size=2)


def test_a_row_after_flattening_takes_no_map() -> None:
    (line,) = problems(net([1, "GlobalAvgPool", []], [1, "Flatten", []], [1, "Conv", [8, 1]]))
    assert "row 3 [1, Conv, [8, 1]]: Conv takes a map, but it is flattened by now" in line


def test_planning_needs_no_torch(tmp_path: Path) -> None:
    file = tmp_path / "m.yaml"
    file.write_text(
        "input_channel: 3\ndepth_multiple: 1.0\nwidth_multiple: 1.0\n"
        "backbone: [[1, Conv, [16, 3]], [1, GlobalAvgPool, []], [1, Flatten, []], [1, Linear, [6]]]\n"
    )
    code = (
        "import sys; from compress.models.zoo import YamlModel; "
        f"assert YamlModel(path={str(file)!r}).check() == []; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
