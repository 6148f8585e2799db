import os
import subprocess
import sys
import time

import pytest

from compress.measure.others import Others, busiest, stolen_s

SPIN = "import time\nprint(flush=True)\nend = time.monotonic() + 60\nwhile time.monotonic() < end: pass"


@pytest.fixture
def spinning():
    other = subprocess.Popen([sys.executable, "-c", SPIN], stdout=subprocess.PIPE)
    other.stdout.readline()
    yield other
    other.kill()
    other.communicate()


def test_a_busy_process_is_seen_and_named(spinning):
    """How much of a core it gets depends on who else is there."""
    watch = Others()
    found = busiest(0.5, most=50)
    assert 0.4 < watch.seconds < 5
    (one,) = [process for process in found if process.pid == spinning.pid]
    assert 0.1 < one.cores < 1.2
    assert str(one).startswith(f"{one.name} (pid {spinning.pid}) ")
    assert watch.cores() > 0.1
    assert [p.cores for p in found] == sorted((p.cores for p in found), reverse=True)


def test_this_process_is_not_one_of_the_others():
    began, watch = time.process_time(), Others()
    while time.process_time() - began < 0.4:
        pass
    total = os.cpu_count()
    own = (time.process_time() - began) / watch.seconds
    assert watch.cores() <= total - own + 0.15
    assert os.getpid() not in {one.pid for one in busiest(0.05, most=50)}


def test_steal_never_runs_back():
    cores = range(os.cpu_count())
    before = stolen_s(cores)
    assert before >= 0
    assert stolen_s(cores) >= before
    assert stolen_s([10**6]) == stolen_s([]) == 0  # a core that is not there, no core known
