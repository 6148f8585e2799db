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

from compress.errors import BusyError
from compress.measure.exclusive import exclusive, first_in_line, pinned
from compress.measure.latency import Loads, interleaved

ROOT = Path(__file__).resolve().parents[2]
SPIN = "import time\nend = time.monotonic() + 60\nwhile time.monotonic() < end: pass"


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
        interleaved({"a": noisy, "b": noisy}, reference="a", seconds=0.3, seed=seed)["b"].ratio.tie
        for seed in range(4)
    ]
    assert sum(ties) >= 2


def slower_by_luck(us):
    """Each load is 0 to 10 % slower than ``us`` for good, as a bad place in memory makes it."""
    rng = np.random.default_rng(1)
    return Loads(lambda: spin(us * (1 + 0.1 * rng.random())))


def test_the_luck_of_a_load_is_in_the_interval():
    """One load a side is told apart from itself; several are not."""
    luck = slower_by_luck(300)
    one = interleaved({"a": luck.load(), "b": luck.load()}, reference="a", seconds=0.3)["b"]
    assert not one.ratio.tie
    assert one.loads == 1
    several = interleaved({"a": luck, "b": luck}, reference="a", seconds=0.8)["b"]
    assert several.ratio.tie
    assert several.loads == 4
    assert several.ratio.high / several.ratio.low > 1.05
    twice = {"a": luck, "b": Loads(lambda: spin(600))}
    assert interleaved(twice, reference="a", seconds=0.8)["b"].ratio.median == pytest.approx(2.0, rel=0.1)


def test_what_loads_slowly_is_loaded_less_often():
    def slow(seconds):
        def load():
            time.sleep(seconds)
            return spin(100)

        return load

    runs = {
        "quick": Loads(slow(0.0)),
        "slow": Loads(slow(0.05), seconds=0.12),
        "very slow": Loads(slow(0.05), seconds=0.01),
    }
    got = interleaved(runs, reference="quick", seconds=0.2)
    assert {name: timing.loads for name, timing in got.items()} == {"quick": 4, "slow": 2, "very slow": 1}


def test_any_two_compare_and_the_note_says_how():
    runs = {"a": spin(400), "b": spin(200), "c": spin(100)}
    got = interleaved(runs, reference="a", seconds=0.6)
    assert got.ratio("c", "b").median == pytest.approx(0.5, rel=0.05)
    there, back = got.ratio("c", "b"), got.ratio("b", "c")
    assert (back.median, back.low, back.high) == pytest.approx(
        (1 / there.median, 1 / there.high, 1 / there.low)
    )
    assert got.ratio("b", "a") == got["b"].ratio
    assert got["b"].note.startswith(f"1 load x {got['b'].blocks} blocks, {got['b'].dropped} dropped; ")
    assert f"of {os.cpu_count()} cores busy" in got["b"].note


def test_the_time_given_is_for_timing_and_there_is_always_an_interval():
    """However long loading and one call take."""
    got = interleaved({"a": spin(20_000), "b": spin(30_000)}, reference="a", seconds=0.01)["b"]
    assert got.blocks + got.dropped == 3
    assert got.ratio.median == pytest.approx(1.5, rel=0.1)
    assert 1 < got.ratio.low < got.ratio.high < 3


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


@pytest.fixture
def neighbour_on_our_core():
    """A real busy process on one core, and this process allowed that core alone, at ordinary priority."""
    before = os.sched_getaffinity(0)
    core = max(before)
    code = f"import os\nos.sched_setaffinity(0, {{{core}}})\nprint(flush=True)\n{SPIN}"
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    other.stdout.readline()
    os.sched_setaffinity(0, {core})
    yield other
    os.sched_setaffinity(0, before)
    other.kill()
    other.communicate()


def work(ms):
    """A call that takes so much CPU time, however long that is on the clock."""

    def call():
        end = time.thread_time_ns() + ms * 1_000_000
        while time.thread_time_ns() < end:
            pass

    return call


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity calls here")
def test_what_a_neighbour_disturbs_does_not_count(neighbour_on_our_core, monkeypatch):
    """They split the core in slices of milliseconds: some of the short calls lose it."""
    monkeypatch.delattr(os, "sched_getscheduler")  # as for those who may not raise their priority
    short = interleaved({"a": work(1), "b": work(1)}, reference="a", seconds=0.8, min_blocks=5)["b"]
    assert short.others > 0.3
    assert short.median_ms == pytest.approx(1.0, rel=0.1)
    assert short.p90_ms < 1.5  # a disturbed call takes at least twice as long
    assert 0.8 < short.ratio.median < 1.25


@pytest.mark.skipif(not hasattr(os, "SCHED_RR"), reason="no real-time priority here")
def test_where_it_is_allowed_a_neighbour_hardly_disturbs(neighbour_on_our_core):
    with first_in_line() as allowed:
        policy = os.sched_getscheduler(0)
    if not allowed:
        pytest.skip("this user may not raise its priority")
    assert (policy, os.sched_getscheduler(0)) == (os.SCHED_RR, os.SCHED_OTHER)
    got = interleaved({"a": spin(1000), "b": spin(1000)}, reference="a", seconds=0.5)["b"]
    assert got.disturbed["lost the core"] < got.sections / 4
    assert not got.busy
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity calls here")
def test_two_threads_beside_busy_processes_are_warned_about(tmp_path):
    """As many busy processes as cores: no two cores are free for two threads."""
    others = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(os.cpu_count())]
    try:
        got = interleaved({"a": spin(200)}, reference="a", seconds=0.6, cores=2)["a"]
        alone = interleaved({"a": spin(200)}, reference="a", seconds=0.2)["a"]
    finally:
        for other in others:
            other.kill()
            other.wait()
    assert got.warning is not None
    assert "2 threads were timed while other processes kept" in got.warning
    assert "(pid " in got.warning
    assert "\n" not in got.warning
    assert "threads were timed" not in (alone.warning or "")


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity calls here")
def test_two_threads_on_one_core_are_warned_about():
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        got = interleaved({"a": spin(200)}, reference="a", seconds=0.05, cores=2)["a"]
    finally:
        os.sched_setaffinity(0, before)
    assert got.warning.startswith("2 threads were timed on 1 core: such times say little")


def test_two_threads_are_put_on_two_cores_and_not_on_hyperthreads_of_one(tmp_path, monkeypatch):
    from compress.measure import exclusive as module

    monkeypatch.setattr(module, "_SIBLINGS", f"{tmp_path}/{{}}")
    for core, shared in {0: "0,4", 4: "0,4", 1: "1,5", 5: "1,5"}.items():
        (tmp_path / str(core)).write_text(shared)
    assert module._apart([4, 0, 5, 1]) == [4, 5, 0, 1]  # the least busy first
    assert module._apart([2, 0, 3]) == [2, 0, 3]  # where the system does not tell, each is a core


def test_a_run_that_waits_by_itself_is_not_disturbed():
    got = interleaved({"a": lambda: time.sleep(0.002), "b": spin(2000)}, reference="a", seconds=0.6)
    assert got["a"].median_ms == pytest.approx(2.1, rel=0.2)
    assert got["a"].n > 20


def test_a_system_without_affinity_and_priority_is_timed_all_the_same(monkeypatch):
    """As macOS."""
    for name in ("sched_setaffinity", "sched_getaffinity", "sched_setscheduler", "sched_getscheduler"):
        monkeypatch.delattr(os, name, raising=False)
    with exclusive() as cores:
        assert cores == ()
    got = interleaved({"a": spin(200), "b": spin(400)}, reference="a", seconds=0.2)
    assert got["b"].ratio.median == pytest.approx(2.0, rel=0.1)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity calls here")
def test_where_pinning_is_forbidden_it_is_timed_all_the_same(monkeypatch):
    """As in some sandboxes."""

    def forbidden(thread, cores):
        raise PermissionError("not here")

    monkeypatch.setattr(os, "sched_getaffinity", lambda thread: {0, 1})
    monkeypatch.setattr(os, "sched_setaffinity", forbidden)
    with exclusive() as cores:
        assert cores == ()


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
        with pytest.raises(BusyError, match=r"another timing .*beyondnas-timing"), exclusive(wait=0.2):
            pass
    finally:
        other.communicate("\n")
    with exclusive(wait=30):
        pass
