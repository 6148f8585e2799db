import gc
import os
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from compress.errors import CompressError
from compress.measure import latency
from compress.measure.exclusive import exclusive, pinned
from compress.measure.latency import interleaved

ROOT = Path(__file__).resolve().parents[2]


def spin(us):
    """A call of known length, whatever the CPU's frequency."""

    def call():
        end = time.perf_counter_ns() + us * 1000
        while time.perf_counter_ns() < end:
            pass

    return call


def test_twice_as_slow_is_a_ratio_of_two():
    got = interleaved(
        {"base": spin(400), "slow": spin(800), "fast": spin(200)}, reference="base", seconds=1.0
    )
    assert got["slow"].ratio.median == pytest.approx(2.0, rel=0.05)
    assert got["fast"].ratio.median == pytest.approx(0.5, rel=0.05)
    assert got["fast"].ratio.faster
    assert not got["slow"].ratio.faster
    assert not got["slow"].ratio.tie
    for timing, us in ((got["base"], 400), (got["slow"], 800)):
        assert timing.median_ms == pytest.approx(us / 1000, rel=0.05)
        assert timing.p10_ms <= timing.median_ms <= timing.p90_ms
        assert timing.n >= 10
        assert timing.blocks >= 20
    assert (got["base"].ratio.median, got["base"].ratio.low, got["base"].ratio.high) == (1, 1, 1)


def test_a_second_reference_has_its_own_ratio():
    runs = {"base": spin(400), "parent": spin(200), "new": spin(100)}
    got = interleaved(runs, reference="base", against="parent", seconds=0.6)
    assert got["new"].ratio.median == pytest.approx(0.25, rel=0.05)
    assert got["new"].ratio_against.median == pytest.approx(0.5, rel=0.05)
    assert got["base"].ratio_against.median == pytest.approx(2.0, rel=0.05)
    assert got["parent"].ratio_against.median == 1.0
    with pytest.raises(ValueError, match="'grandparent' is not among"):
        interleaved(runs, reference="base", against="grandparent")


def test_the_same_work_twice_is_about_one():
    work = np.random.default_rng(0).random((90, 90)).astype(np.float32)
    got = interleaved({"a": lambda: work @ work, "b": lambda: work @ work}, reference="a", seconds=1.0)
    assert got["b"].ratio.median == pytest.approx(1.0, abs=0.05)
    assert got["b"].ratio.low <= got["b"].ratio.median <= got["b"].ratio.high


def test_equal_noise_is_mostly_a_tie():
    """Calls whose length is drawn from one distribution: the 95 % interval must contain 1 nearly always."""
    rng = np.random.default_rng(0)

    def noisy():
        spin(int(rng.integers(100, 300)))()

    ties = [
        interleaved({"a": noisy, "b": noisy}, reference="a", seconds=0.3, precision=0, seed=seed)[
            "b"
        ].ratio.tie
        for seed in range(4)
    ]
    assert sum(ties) >= 2


def test_the_interval_of_independent_ratios_is_calibrated():
    rng = np.random.default_rng(0)
    held = 0
    for seed in range(300):
        low, high = latency._bootstrap_median(rng.normal(size=60), seed, samples=300)
        held += low <= 0 <= high
    assert 270 <= held <= 297


def test_one_run_alone_is_timed():
    got = interleaved({"only": spin(200)}, reference="only", seconds=0.2)
    assert got["only"].median_ms == pytest.approx(0.2, rel=0.1)


def test_the_reference_must_be_there():
    with pytest.raises(ValueError, match="'c' is not among the runs"):
        interleaved({"a": spin(1), "b": spin(1)}, reference="c")


def test_a_run_that_fails_puts_everything_back():
    before = os.sched_getaffinity(0)

    def broken():
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        interleaved({"a": spin(10), "b": broken}, reference="a")
    assert os.sched_getaffinity(0) == before
    assert gc.isenabled()
    with exclusive(wait=1):
        pass


def test_calls_that_lost_the_core_do_not_count():
    sections = latency._Sections(spin(100), 100e3)
    sections._wall = [[100_000] * 4, [100_000, 9_000_000, 100_000, 100_000], [5_000_000] * 4]
    sections._off = [[0] * 4, [0, 8_900_000, 0, 0], [4_900_000] * 4]
    assert sections.undisturbed().tolist() == [[True] * 4, [True, False, True, True], [False] * 4]
    timing = latency._timing(sections, sections, 2, 0)
    assert (timing.blocks, timing.dropped, timing.busy, timing.n) == (2, 1, False, 7)
    assert timing.p90_ms == 0.1
    assert latency._timing(sections, sections, 3, 0).busy


def test_a_run_that_waits_by_itself_is_not_disturbed():
    got = interleaved({"a": lambda: time.sleep(0.002), "b": spin(2000)}, reference="a", seconds=0.6)
    assert got["a"].median_ms == pytest.approx(2.1, rel=0.2)
    assert got["a"].n > 20


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity calls here")
def test_every_thread_is_pinned_and_put_back():
    stop, there = threading.Event(), threading.Event()
    ids = []

    def worker():
        ids.append(threading.get_native_id())
        there.set()
        stop.wait()

    thread = threading.Thread(target=worker)
    thread.start()
    there.wait()
    before = os.sched_getaffinity(0)
    born = []
    with pinned() as cores:
        assert len(cores) == 1
        assert os.sched_getaffinity(0) == os.sched_getaffinity(ids[0]) == set(cores)
        late = threading.Thread(target=lambda: (born.append(threading.get_native_id()), stop.wait()))
        late.start()
        while not born:
            time.sleep(0.001)
        assert os.sched_getaffinity(born[0]) == set(cores)
    assert os.sched_getaffinity(0) == os.sched_getaffinity(ids[0]) == os.sched_getaffinity(born[0]) == before
    stop.set()
    thread.join()
    late.join()


def test_the_collector_rests_while_timing():
    seen = []
    interleaved({"a": lambda: seen.append(gc.isenabled())}, reference="a", seconds=0.05)
    assert not any(seen)
    assert gc.isenabled()


def test_two_timings_never_overlap(tmp_path):
    """Another process holds the lock: ours waits, then says who holds it."""
    code = """
        import sys, time
        from compress.measure.exclusive import exclusive
        with exclusive():
            print("held", flush=True)
            sys.stdin.readline()
    """
    other = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    try:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(CompressError, match=r"another timing .*beyondnas-timing"), exclusive(wait=0.2):
            pass
    finally:
        other.communicate("\n")
    with exclusive(wait=30):
        pass
