"""The real evaluation set: every file has a row with the right status at every stage.

What each file deserves was written down before the workflow saw it: tests/expected_broken.tsv for
the broken files, and below, from what the set's makers say of it, for the others.
"""

from pathlib import Path

import pytest
from eval_set import lay_out
from expected_broken import expected_broken

from tests.workflow.conftest import Workflow

pytestmark = [pytest.mark.shared, pytest.mark.slow]

SILENT = ("claims_4gb.wav", "moviepy_no_duration.webm", "small_mp4-with-audio.mp4")
"""Broken files whose sound decodes to digital silence (volumedetect: -90 dB and below)."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Workflow:
    """The workflow's results over the collections, with mini and synchrony."""
    folder = tmp_path_factory.mktemp("eval")
    run = Workflow(folder, lay_out(folder, shared, ("original", "broken")))
    del run.config["models"]["random"]  # tests/slurm has it; its readers have tests of their own
    run.run()
    return run


@pytest.fixture(scope="module")
def status(run: Workflow) -> dict[tuple[str, str, str], tuple[str, str | None]]:
    """(status, reason) by collection, file name and stage."""
    return {
        (row["collection"], row["clip_id"] or f"prompt {row['item']}", row["stage"]): (
            row["status"],
            row["reason"],
        )
        for row in run.table("status").to_pylist()
    }


def broken_files(shared: Path) -> list[tuple[str, dict[str, str]]]:
    expected = expected_broken()
    files = sorted((shared / "media" / "broken").iterdir())
    return [(f"sample_{n:04d}{f.suffix}", expected[f.name]) for n, f in enumerate(files, 101)]


def test_every_broken_file_has_the_status_it_deserves(status: dict, shared: Path) -> None:
    files = broken_files(shared)
    assert len(files) == 67
    for name, deserves in files:
        if deserves["status"] == "skipped":
            assert status["broken", name, "clips"] == ("skipped", "not_media")
            assert ("broken", name, "media") not in status
            continue
        assert status["broken", name, "clips"] == ("ok", None)
        wanted = (deserves["status"], deserves["reason"] or None)
        assert status["broken", name, "media"] == wanted, name
        for modality in ("video", "audio"):
            wanted = (deserves[f"{modality}_status"], deserves[f"{modality}_reason"] or None)
            assert status["broken", name, f"embeddings/mini/{modality}"] == wanted, name
        scored, reason = status["broken", name, "scores/video_text/mini"]
        assert scored == "skipped"
        assert reason in (deserves["video_reason"], "no_prompt"), name
        scored, reason = status["broken", name, "scores/av_consistency/mini"]
        both = deserves["video_status"] == deserves["audio_status"] == "ok"
        if both and deserves["file"] in SILENT:
            assert (scored, reason) == ("skipped", "silent"), name
        else:
            assert (scored == "ok") == both, (name, reason)


def test_every_real_clip_has_the_status_it_deserves(status: dict) -> None:
    names = {key[:2] for key in status if key[0] != "broken" and not key[1].startswith("prompt")}
    assert len(names) == 23
    for collection, name in names:
        index = int(name[7:11])
        no_sound = ("skipped", "no_audio_stream") if index == 22 else None
        assert status[collection, name, "media"] == ("ok", None), name
        assert status[collection, name, "embeddings/mini/video"] == ("ok", None)
        assert status[collection, name, "embeddings/mini/audio"] == (no_sound or ("ok", None))
        assert status[collection, name, "scores/video_text/mini"] == ("ok", None)
        gated = no_sound or (("skipped", "silent") if index == 21 else ("ok", None))
        for task in ("audio_text", "av_consistency"):
            assert status[collection, name, f"scores/{task}/mini"] == gated, (collection, name)


def test_a_prompt_without_a_clip_is_told(status: dict) -> None:
    assert status["original", "prompt 24", "clips"] == ("skipped", "no_clip")
    assert status["original", "prompt 24", "scores/video_text/mini"] == ("skipped", "no_clip")
