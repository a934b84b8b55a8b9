"""Frames come from interval centres; one bad file costs one clip, in order, in bounded memory."""

import os
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
from embedding_inputs import write_proxy

from concord.errors import UserError
from concord.models.decode import Failure, centres, parallel_views, read_frames


@pytest.mark.parametrize(
    ("count", "total", "expected"),
    [
        (8, 8, [0, 1, 2, 3, 4, 5, 6, 7]),
        (8, 80, [5, 15, 25, 35, 45, 55, 65, 75]),
        (4, 2, [0, 0, 1, 1]),
        (3, 1, [0, 0, 0]),
        (1, 5, [2]),
    ],
)
def test_centres(count, total, expected):
    assert centres(count, total) == expected


def test_frames_are_the_ones_at_the_centres(tmp_path):
    """Frame i has the grey level 10 * i, which survives encoding."""
    frames = read_frames(write_proxy(tmp_path / "a.mp4", frames=25), 5)
    assert frames.shape == (5, 64, 96, 3)
    assert frames.dtype == np.uint8
    levels = frames.reshape(5, -1).mean(axis=1)
    np.testing.assert_allclose(levels, [20 + 2.5, 72.5, 122.5, 172.5, 222.5], atol=4)


def test_frames_equal_a_full_decode(tmp_path):
    path = write_proxy(tmp_path / "a.mp4", frames=47)
    with av.open(str(path)) as container:
        every = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    np.testing.assert_array_equal(read_frames(path, 8), [every[i] for i in centres(8, 47)])


def test_short_clip_repeats_frames(tmp_path):
    frames = read_frames(write_proxy(tmp_path / "a.mp4", frames=2), 8)
    assert len(np.unique(frames.reshape(8, -1), axis=0)) == 2


def test_truncated_file_gives_what_decodes(tmp_path):
    """The index names more frames than there are data: the centres are of those that decode."""
    path = write_proxy(tmp_path / "a.mkv", frames=40)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    frames = read_frames(path, 4)
    levels = frames.reshape(4, -1).mean(axis=1)
    assert (np.diff(levels) > 0).sum() >= 2


@pytest.mark.parametrize("content", [b"", b"no video at all" * 100])
def test_unreadable_file_says_so(tmp_path, content):
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="unreadable"):
        read_frames(path, 8)


def test_missing_file_is_unreadable(tmp_path):
    with pytest.raises(ValueError, match="unreadable"):
        read_frames(tmp_path / "none.mp4", 8)


def misbehave(item):
    """What a decoder may do, by name; run in a decoder process."""
    if item == "die":
        os.kill(os.getpid(), 9)
    if item == "hang":
        time.sleep(60)
    if item == "reason":
        raise ValueError("no_frames", "as the decoder said")
    if item == "other":
        raise RuntimeError("unexpected")
    if item == "user":
        raise UserError("ffmpeg is not there")
    if item == "slow":
        time.sleep(0.5)
    return np.array([int(item)] if item.isdigit() else [-1])


def results(items, **options):
    settings = {"workers": 2, "ahead": 4, "timeout_s": 5} | options
    with parallel_views(misbehave, items, **settings) as views:
        return list(views)


def test_results_come_in_order():
    found = results(["slow", *map(str, range(20))])
    assert [int(views[0]) for views in found] == [-1, *range(20)]


def test_each_failure_costs_one_clip():
    items = ["1", "die", "2", "hang", "3", "reason", "other", "4"]
    found = results(items, timeout_s=3)
    reasons = [f.reason if isinstance(f, Failure) else int(f[0]) for f in found]
    assert reasons == [1, "crashed", 2, "timeout", 3, "no_frames", "unreadable", 4]
    assert found[5].detail == "as the decoder said"
    assert "unexpected" in found[6].detail


def test_a_mistake_of_the_user_ends_the_job():
    with pytest.raises(UserError, match="ffmpeg is not there"):
        results(["1", "user"])


def test_no_more_than_ahead_items_are_taken():
    taken = []

    def items():
        for i in range(30):
            taken.append(i)
            yield str(i)

    with parallel_views(misbehave, items(), workers=2, ahead=5, timeout_s=5) as views:
        for done, _ in enumerate(views, start=1):
            assert len(taken) <= 5 + done
    assert len(taken) == 30


def test_nothing_to_read():
    assert results([]) == []


def test_the_callers_script_is_not_run_again_and_workers_end_with_it(tmp_path):
    """A script without a main guard, as Snakemake's are, that is killed while it decodes."""
    script = tmp_path / "script.py"
    script.write_text(
        "from test_models_decode import misbehave\n"
        "from concord.models.decode import parallel_views\n"
        "print('started', flush=True)\n"
        "with parallel_views(misbehave, ['1', '2'], workers=2, ahead=2, timeout_s=9) as views:\n"
        "    print(len(list(views)), flush=True)\n"
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
        timeout=60,
    )
    started, number, children = run.stdout.splitlines()
    assert (started, number) == ("started", "2")
    deadline = time.monotonic() + 20
    alive = [pid for pid in children.split() if Path(f"/proc/{pid}").exists()]
    while alive and time.monotonic() < deadline:
        time.sleep(0.2)
        alive = [pid for pid in alive if Path(f"/proc/{pid}").exists()]
    assert not alive
