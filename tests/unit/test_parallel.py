"""Results come in order and in bounded memory; one bad file costs one clip."""

import errno
import os
import subprocess
import sys
import time
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from concord.errors import UserError
from concord.parallel import Behind, Failure, parallel_map


def misbehave(item):
    """What work on a file may come to, by name."""
    if item == "die":
        os.kill(os.getpid(), 9)
    if item.startswith("once "):
        mark = Path(item.removeprefix("once "))
        if mark.exists():
            mark.unlink()
            os.kill(os.getpid(), 9)
    if item == "full":
        raise OSError(errno.ENOSPC, "No space left on device", "/tmp/scratch")
    if item == "hang":
        time.sleep(60)
    if item == "reason":
        raise ValueError("no_frames", "as the decoder said")
    if item == "other":
        raise RuntimeError("unexpected")
    if item == "user":
        raise UserError("ffmpeg is not there")
    if item == "large":
        raise MemoryError("no 3 GB")
    if item == "import":
        raise ImportError("libav.so: cannot open shared object file")
    if item == "slow":
        time.sleep(0.5)
    return int(item) if item.isdigit() else -1


def results(items, **options):
    settings = {"workers": 2, "ahead": 4, "timeout_s": 20} | options
    with parallel_map(misbehave, items, **settings) as found:
        return list(found)


def test_results_come_in_order():
    found = results(["slow", *map(str, range(20))])
    assert found == [-1, *range(20)]


def test_each_failure_costs_one_clip():
    items = ["1", "die", "2", "hang", "3", "reason", "other", "large", "4"]
    found = results(items, timeout_s=3)
    reasons = [f.reason if isinstance(f, Failure) else f for f in found]
    assert reasons == [1, "crashed", 2, "timeout", 3, "no_frames", "unreadable", "memory_limit", 4]
    assert found[5].detail == "as the decoder said"
    assert "unexpected" in found[6].detail


def test_an_item_whose_process_was_killed_once_is_done_again(tmp_path):
    mark = tmp_path / "once"
    mark.touch()
    assert results(["1", f"once {mark}", "2"]) == [1, -1, 2]


def test_a_full_disk_ends_the_job():
    with pytest.raises(UserError, match=r"/tmp/scratch: there is no room for it .* are free"):
        results(["1", "full"])


def test_a_mistake_of_the_user_ends_the_job():
    with pytest.raises(UserError, match="ffmpeg is not there"):
        results(["1", "user"])


def cannot_start():
    raise OSError("no address space is left")


def test_processes_that_cannot_start_end_the_job():
    """No clip is at fault, so none may get a row."""
    with pytest.raises(UserError, match="decoder processes do not work on this machine"):
        results(["1", "2", "3"], prepare=cannot_start)


def test_a_package_that_does_not_load_ends_the_job():
    with pytest.raises(UserError, match=r"could not load.*libav\.so"):
        results(["1", "import"])


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are Linux's")
def test_a_lower_limit_of_the_machine_stands():
    """As `ulimit -Hv` sets it for a job."""
    code = (
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_AS, (8 * 2**30, 8 * 2**30))\n"
        "from functools import partial\n"
        "from memory_tasks import take\n"
        "from concord.memory import limit_memory\n"
        "from concord.parallel import parallel_map\n"
        "limits = partial(limit_memory, 100_000, take)\n"
        "with parallel_map(take, [5, 9_000], workers=1, ahead=2, timeout_s=60, prepare=limits) as "
        "found:\n"
        "    small, large = found\n"
        "print(small, large.reason)\n"
    )
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[2])])
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"},
        check=False,
        timeout=300,
    )
    assert run.stdout.split() == [str(5 * 2**20), "memory_limit"], run.stderr


def test_no_more_than_ahead_items_are_taken():
    taken = []

    def items():
        for i in range(30):
            taken.append(i)
            yield str(i)

    with parallel_map(misbehave, items(), workers=2, ahead=5, timeout_s=5) as found:
        for done, _ in enumerate(found, start=1):
            assert len(taken) <= 5 + done
    assert len(taken) == 30


def test_nothing_to_do():
    assert results([]) == []


def test_the_callers_script_is_not_run_again_and_workers_end_with_it(tmp_path):
    """A script without a main guard, as Snakemake's are, that is killed while it works."""
    script = tmp_path / "script.py"
    script.write_text(
        "from test_parallel import misbehave\n"
        "from concord.parallel import parallel_map\n"
        "print('started', flush=True)\n"
        "with parallel_map(misbehave, ['1', '2'], workers=2, ahead=2, timeout_s=9) as found:\n"
        "    print(len(list(found)), flush=True)\n"
        "    import os, psutil\n"
        "    print(*[c.pid for c in psutil.Process().children(recursive=True)], flush=True)\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[2])])
    run = subprocess.run(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": path},
        check=False,
        timeout=300,
    )
    started, number, children = run.stdout.splitlines()
    assert (started, number) == ("started", "2")
    deadline = time.monotonic() + 60
    alive = [pid for pid in children.split() if Path(f"/proc/{pid}").exists()]
    while alive and time.monotonic() < deadline:
        time.sleep(0.2)
        alive = [pid for pid in alive if Path(f"/proc/{pid}").exists()]
    assert not alive


def grown(megabytes):
    return np.zeros(megabytes * 2**20, np.uint8)


def test_large_results_do_not_pile_up():
    """What is ahead of a slow reader is bounded in bytes, but each process has work."""
    taken = []

    def items():
        for _ in range(40):
            taken.append(1)
            yield 4

    options = {"workers": 2, "ahead": 30, "timeout_s": 30, "ahead_bytes": 20 * 2**20}
    with parallel_map(grown, items(), **options) as found:
        for count, _ in enumerate(islice(found, 32), 1):
            assert len(taken) <= count + 5
        assert len(list(found)) == 8


def test_work_behind_is_done_in_order_and_its_errors_are_raised():
    done = []
    with Behind() as behind:
        for i in range(20):
            behind.do(partial(done.append, i))
    assert done == list(range(20))
    for works in ([fails], [fails, partial(done.append, 20)]):
        with pytest.raises(OSError, match="disk full"):
            all_behind(works)
    assert done == list(range(20))


def all_behind(works):
    with Behind() as behind:
        for work in works:
            behind.do(work)


def fails():
    raise OSError("disk full")


def test_processes_load_what_their_work_needs_alone() -> None:
    """They start for every job, several at a time; the configuration stays with the job."""
    modules = "concord.parallel, concord.models.sources, concord.media.worker"
    code = f"import sys, {modules}, concord.scores.synchrony; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert not {"concord.config", "pydantic", "pandas", "torch", "scipy"} & set(loaded)
