"""The space as YAML: what it says, and what it refuses."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from spaces import FILES, FOLDER, load, tiny

from compress import yamlio
from compress.data.augment import CompetitionAugment
from compress.errors import InputError
from compress.reading import read_spec
from search.space import Space
from search.strides import StridePlan


@pytest.mark.parametrize("name", FILES)
def test_a_space_equals_what_it_is_dumped_as(name: str) -> None:
    space = load(name)
    assert Space.model_validate(yaml.safe_load(yaml.safe_dump(space.canonical()))) == space


def test_the_files_here_are_the_ones_tested() -> None:
    assert {path.stem for path in FOLDER.glob("*.yaml")} == set(FILES)


def test_reading_a_space_loads_neither_torch_nor_optuna() -> None:
    code = (
        "import sys, search.space, search.sample, search.candidate, search.proxies;"
        "print([m for m in ('torch', 'optuna', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=FOLDER.parents[1])
    assert done.stdout.strip() == "[]", done.stderr


CONV: dict[str, Any] = {"kind": "Conv", "channels": 16}
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"image_size": 4}, "found 4; must be from 8 to 2048 pixels"),
    ({"image_size": [32, 48, 32]}, "the list names a value twice: 32, 48, 32"),
    ({"image_size": {"low": 32, "high": 60, "step": 16}}, "steps of 16 from 32 do not meet high 60"),
    ({"image_size": {"low": 64, "high": 32}}, "low 64 is above high 32"),
    ({"width_multiple": {"low": 0.5, "high": 1.0, "step": 0.5, "log": True}}, "either log or has a step"),
    ({"total_stride": {"least": 8}}, "no choice of strides gives a total stride from 8 to 32 on 32 px"),
    ({"least_map": 16}, "no choice of strides gives a total stride from 1 to 2 on 32 px"),
    ({"slots": [{"blocks": [{**CONV, "kernel": [3, 4]}]}]}, "found 4; must be odd"),
    ({"slots": [{"blocks": [{**CONV, "stride": 0}]}]}, "found 0; must be at least 1 or a list"),
    ({"slots": [{"blocks": [{**CONV, "stride": True}]}]}, "found true; must be a whole number or a list"),
    ({"slots": [{"blocks": [{**CONV, "activation": "relu"}]}]}, "found relu; must be one of CELU"),
    ({"slots": [{"blocks": [CONV, CONV]}]}, "Conv stands twice; give one with the whole range"),
    ({"slots": [{"blocks": [{**CONV, "kind": "Convv"}]}]}, "found 'Convv'; must be Conv, DWConv"),
    ({"slots": [{"blocks": [{**CONV, "expansion": 6}]}]}, "unknown key, found 'expansion'"),
    ({"slots": [{"blocks": []}]}, "must have at least 1"),
    ({"train": {"batch_size": [1, 32]}}, "found 1; must be at least 2"),
    ({"train": {"n_select": [2, 20]}}, "found 20; must be from 0 to 14"),
    ({"train": {"n_select": {"low": 0, "high": 30}}}, "found 15; must be from 0 to 14"),
    (
        {"slots": [{"blocks": [{**CONV, "stride": [1, 3]}]}], "total_stride": {"most": 2}},
        "slots[0]: Conv with stride 3 can never be drawn",
    ),
]


@pytest.mark.parametrize(("changes", "line"), WRONG, ids=[line for _, line in WRONG])
def test_a_mistake_is_one_line(changes: dict[str, Any], line: str) -> None:
    located = yamlio.parse(yaml.safe_dump(tiny(**changes)), "space.yaml")
    with pytest.raises(InputError) as raised:
        read_spec(Space, located)
    (problem,) = raised.value.problems
    assert problem.startswith("space.yaml:")
    assert line in problem


def test_the_most_operations_of_a_space_are_the_most_of_the_augmentation() -> None:
    most = 14
    assert Space.model_validate(tiny(train={"n_select": {"low": 0, "high": most}}))
    assert CompetitionAugment(n_select=most)
    for refused in (
        lambda: Space.model_validate(tiny(train={"n_select": most + 1})),
        lambda: CompetitionAugment(n_select=most + 1),
    ):
        with pytest.raises(ValidationError):
            refused()


@given(
    st.lists(st.frozensets(st.integers(1, 3), min_size=1), min_size=1, max_size=4),
    st.integers(1, 20),
    st.integers(1, 40),
)
def test_strides_lead_where_some_choice_of_the_rest_does(
    options: list[frozenset[int]], least: int, most: int
) -> None:
    """Against every combination there is."""
    plan = StridePlan(tuple(options), least, most, 64)
    valid = [nets for nets in itertools.product(*options) if least <= math.prod(nets) <= most]
    assert plan.possible == bool(valid)
    for i, strides in enumerate(options):
        for stride in range(1, 4):
            assert plan.ever(i, stride) == any(
                least <= math.prod((*nets[:i], stride, *nets[i + 1 :])) <= most
                for nets in itertools.product(*options)
            )
        for before in itertools.product(*options[:i]):
            for stride in strides:
                expected = any(nets[: i + 1] == (*before, stride) for nets in valid)
                assert plan.leads(i, math.prod(before) * stride) == expected
