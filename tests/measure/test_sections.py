import functools
import time

import numpy as np
import pytest
from recorded import recorded

from compress.measure import sections
from compress.measure.sections import Sections, bound, core_speed, on_cpu, timer, warm_up


def test_calls_that_lost_the_core_do_not_count():
    made = recorded(
        [[100] * 4, [100, 9000, 100, 100], [5000] * 4, [100, 9000, 9000, 9000]],
        [[0] * 4, [0, 8900, 0, 0], [4900] * 4, [0, 8900, 8900, 8900]],
    )
    assert made.undisturbed().tolist() == [
        [True] * 4,
        [True, False, True, True],
        [False] * 4,
        [True, False, False, False],
    ]
    assert made.lost_core().tolist() == [False, False, True, True]
    assert np.exp(made.levels()) == pytest.approx([100e3, 100e3, 5000e3, 100e3])


def test_the_level_is_the_lower_quartile_of_what_counts():
    made = recorded([[1, 2, 3, 4, 5, 900]], [[0, 0, 0, 0, 0, 899]])
    assert np.exp(made.levels()) == pytest.approx([2e3])


def test_a_section_at_another_core_speed_is_seen():
    """The core loses a third while section 1 runs, and section 2 begins slow and ends fast again."""
    slow = float(np.log(1.5))
    made = recorded([[100]] * 4, [[0]] * 4, [(0.0, 0.01), (0.0, slow), (slow, 0.0), (0.02, -0.03)])
    assert made.other_speed(np.zeros(4)).tolist() == [False, True, True, False]
    # Where the whole block is slow, slow is the usual.
    assert recorded([[100]], [[0]], [(slow, slow)]).other_speed(np.array([slow])).tolist() == [False]


def test_the_speed_of_a_core_is_steady():
    speeds = [core_speed() for _ in range(50)]
    assert np.median(np.abs(np.diff(speeds))) < 0.15
    assert 1e2 < np.exp(np.median(speeds)) < 1e6  # ns


@pytest.mark.parametrize(
    ("call_ns", "calls", "lead"), [(1e3, 64, 4), (0.4e6, 15, 4), (2e6, 3, 1), (1e8, 3, 1)]
)
def test_a_section_makes_a_few_calls_and_some_that_do_not_count(call_ns, calls, lead):
    made = Sections(call_ns)
    count = []
    speed = made.time_one(lambda: count.append(1), 1.5)
    assert len(count) == calls + lead
    assert made.wall.shape == made.undisturbed().shape == (1, calls)
    assert made.speed.tolist() == [[1.5, speed]]


def test_time_off_the_core_is_told_from_time_on_it():
    wall, off = on_cpu(lambda: time.sleep(0.002), 3)
    assert min(wall) >= 2e6
    assert min(off) > 0.7 * min(wall)
    end = []

    def work():
        end.append(sum(range(20_000)))

    wall, off = on_cpu(work, 20)
    assert len(wall) == 20
    assert np.median(off) < 0.5 * np.median(wall)


def test_warming_up_ends():
    began = time.perf_counter()
    noisy = np.random.default_rng(0)
    took = warm_up(lambda: time.sleep(0.001 * noisy.integers(1, 4)), most_ns=5e7)
    assert 0.5e6 < took < 2e7
    assert time.perf_counter() - began < 3


def test_a_run_on_a_gpu_is_timed_by_events():
    """Which clock is taken; the events themselves need a GPU."""

    def run(images):
        return images

    assert timer(lambda: None) is on_cpu
    assert timer(bound(run, np.zeros(1))) is on_cpu
    run.cuda_stream = object()
    call = bound(run, np.zeros(1))
    assert isinstance(call, functools.partial)
    assert call.cuda_stream is run.cuda_stream
    assert timer(call) is not on_cpu


def test_events_on_a_gpu_agree_with_the_wall_clock():
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no GPU here")
    stream = torch.cuda.Stream()
    work = torch.rand(2048, 2048, device="cuda")

    def run(_):
        with torch.cuda.stream(stream):
            return (work @ work).sum().item()

    run.cuda_stream = stream
    call = bound(run, np.zeros(1))
    warm_up(call, 1e8)
    by_events, off = timer(call)(call, 20)
    by_wall, _ = on_cpu(call, 20)
    assert off == [0] * 20
    assert 0.3 < np.median(by_events) / np.median(by_wall) <= 1.2


def test_each_bound_call_has_an_array_of_its_own():
    value = np.zeros(3)
    seen = bound(lambda array: array, value)()
    assert seen is not value
    assert not np.shares_memory(seen, value)
    assert sections.bound(np.sum, np.arange(4))() == 6
