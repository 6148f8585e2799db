"""Which sections of a session count, and what is told of those that do not: on recorded sections."""

from __future__ import annotations

import numpy as np
import pytest
from recorded import recorded

from compress.measure.session import Session

BLOCKS, CALLS = 8, 4


def section(us, lost=(), speed=None):
    """A load that takes ``us`` a call, and loses its core for 9 ms a call in the blocks ``lost``."""
    wall = [[us + 9000 if i in lost else us] * CALLS for i in range(BLOCKS)]
    off = [[9000 if i in lost else 0] * CALLS for i in range(BLOCKS)]
    return recorded(wall, off, speed)


def session(min_blocks=4, stolen=(), **loads):
    """As if it had been timed; ``stolen``: blocks in which the hypervisor took a core."""
    made = Session({name: [lambda: None] * len(own) for name, own in loads.items()}, (), min_blocks, 0)
    made._sections = loads
    made._stolen = [i in stolen for i in range(BLOCKS)]
    return made


def timing(made, name, reference="a"):
    return made.timing(name, reference, reference, 0.0, None)


def test_undisturbed_blocks_all_count():
    made = session(a=[section(100)], b=[section(50)])
    got = timing(made, "b")
    assert (got.blocks, got.dropped, got.sections, got.busy, got.warning) == (8, 0, 8, False, None)
    assert got.ratio.median == pytest.approx(0.5)
    assert (got.median_ms, got.n) == (pytest.approx(0.05), 32)
    assert not any(got.disturbed.values())
    assert "sections" not in got.note


def test_a_block_in_which_either_lost_its_core_does_not_count():
    made = session(a=[section(100, lost=(0, 1))], b=[section(50, lost=(1, 5))])
    got = timing(made, "b")
    assert (got.blocks, got.dropped, got.busy) == (5, 3, False)
    assert got.disturbed["lost the core"] == 2  # its own
    assert got.ratio.median == pytest.approx(0.5)
    assert (got.median_ms, got.p90_ms) == (pytest.approx(0.05), pytest.approx(0.05))
    assert got.note.startswith("1 load x 5 blocks, 3 dropped; of 8 sections 2 lost the core; ")


def test_of_several_loads_half_must_count():
    loads = [section(50, lost=(0, 1)), section(50, lost=(1,))]
    got = timing(session(a=[section(100), section(100)], b=loads), "b")
    assert (got.blocks, got.dropped, got.sections, got.loads) == (7, 1, 16, 2)
    assert got.disturbed["lost the core"] == 3
    assert got.ratio.median == pytest.approx(0.5)
    assert got.n == (BLOCKS * 2 - 3) * CALLS


def test_where_nearly_all_is_disturbed_all_counts_and_that_is_said():
    """As when every call is longer than the slices in which a neighbour gets the core."""
    lost = tuple(range(1, BLOCKS))
    made = session(a=[section(100)], b=[section(50, lost)])
    assert made.too_few([("b", "a")])
    got = timing(made, "b")
    assert (got.blocks, got.dropped, got.busy) == (BLOCKS, 0, True)
    assert got.disturbed["lost the core"] == 7
    assert got.warning.startswith("too much was disturbed (of 8 sections 7 lost the core): it counts all")
    other = timing(made, "a", reference="b")
    assert other.warning.startswith("too much was disturbed: ")  # beside it, not itself
    assert got.ratio.median > 1
    told = made.timing("b", "a", "a", 0.0, "two threads")
    assert told.warning == "two threads"  # what is known to be worse


def test_a_slow_run_has_fewer_blocks_than_asked_for_and_that_is_no_disturbance():
    made = session(min_blocks=20, a=[section(100)], b=[section(50)])
    assert made.too_few([("b", "a")])
    assert (timing(made, "b").busy, timing(made, "b").warning) == (False, None)


def test_a_core_at_another_speed_does_not_count():
    slow = float(np.log(1.5))
    speed = [(0.0, 0.0)] * 6 + [(0.0, slow), (slow, 0.0)]
    others = [section(100) for _ in range(3)]
    got = timing(session(a=others, b=[section(50, speed=speed)]), "b")
    assert (got.blocks, got.dropped) == (6, 2)
    assert got.disturbed["met another core speed"] == 2


def test_what_the_hypervisor_took_does_not_count_for_anyone():
    made = session(a=[section(100)], b=[section(50)], stolen=(2, 3))
    for name in "ab":
        assert timing(made, name).disturbed["were stolen by the hypervisor"] == 2
    assert (timing(made, "b").blocks, timing(made, "b").dropped) == (6, 2)


def test_enough_blocks_are_asked_of_each_pair():
    made = session(a=[section(100)], b=[section(50, (0, 1, 2))], c=[section(50, (3, 4, 5))])
    assert not made.too_few([("b", "a"), ("c", "a")])
    assert made.too_few([("b", "c")])  # two blocks in common
    assert made.ratio("b", "b").tie
    assert made.ratio("b", "a").median == pytest.approx(0.5)
