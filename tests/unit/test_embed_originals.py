"""Models that read originals: what they open, what a bad file costs, and what embeds again."""

import os
import re
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from embedding_inputs import configured, media_row, write_media

from concord.errors import MachineError
from concord.media.proxies import Limits
from concord.models.base import MediaFile, ModelSpec
from concord.models.originals import check_size
from concord.models.shard import Means, embed_companions, embed_media
from concord.tables import COMPANION_FILES, EMBEDDINGS, read_metadata, read_table, write_table

Row = dict[str, Any]
SPEC = ModelSpec("fake", "fake", ("video", "audio"), 2, "", "", reads="originals")


def read_or_break(file: MediaFile) -> np.ndarray:
    """The number in the file and that of the stream; other words do what a bad file may do."""
    word = file.path.read_text()
    if word == "crash":
        os.abort()
    if word == "hang":
        time.sleep(60)
    if word == "swell":
        np.ones(2**31, np.uint8)
    if word == "large":
        check_size(80, 50, file.max_pixels)
        return np.array([[80.0, 50.0]])
    if word == "limit":
        return np.array([[float(file.max_pixels), 0.0]])
    return np.array([[float(word), -1.0 if file.stream is None else file.stream]])


class Fake:
    """Gives back what it is given."""

    weights_sha256 = "a"

    def embed(self, modality: str, inputs: list[np.ndarray]) -> np.ndarray:
        return np.concatenate(inputs).astype(np.float32)

    def views(self, modality: str, given: np.ndarray) -> int:
        return len(given)


@pytest.fixture(autouse=True)
def family(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = SimpleNamespace(load=lambda spec, device: Fake(), reader=lambda spec, m: read_or_break)
    monkeypatch.setitem(sys.modules, "concord.models.fake", fake)


def original(folder: Path, name: str, content: str, **values: Any) -> Row:
    """A MEDIA row whose original holds `content`."""
    (folder / name).write_text(content)
    row = media_row(name) | {"path": str(folder / name), "source_key": name, "video_stream": 0}
    return row | values


def run(folder: Path, rows: list[Row], modality: str = "video", **options: Any) -> dict[str, Row]:
    settings = {"timeout_s": 60.0, "memory_mb": 500, "media_protocol": {}} | options
    means = Means(4, 2, Limits(settings["timeout_s"], settings["memory_mb"]))
    output = folder / f"{modality}.parquet"
    embed_media(
        [write_media(folder, rows)], output, SPEC, modality, means, settings["media_protocol"]
    )
    return {row["id"]: row for row in read_table(output, EMBEDDINGS).to_pylist()}


def test_the_stream_that_the_media_stage_chose_is_read_from_the_original(tmp_path: Path) -> None:
    (tmp_path / "sound").write_text("5")
    heard = {"audio_status": "ok", "audio_reason": None, "wave": "a.wav", "audio_stream": 3}
    rows = [
        original(tmp_path, "a", "1", video_stream=2, **heard),
        original(tmp_path, "b", "1", **heard, audio_path=str(tmp_path / "sound")),
    ]
    assert [row["embedding"] for row in run(tmp_path, rows).values()] == [[1, 2], [1, 0]]
    assert [row["embedding"] for row in run(tmp_path, rows, "audio").values()] == [[1, 3], [5, 3]]


def test_a_bad_original_costs_its_own_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("concord.media.proxies.START_S", 5.0)
    contents = ["1", "crash", "2", "hang", "3", "swell", "no number", "4"]
    rows = [original(tmp_path, f"{n}", content) for n, content in enumerate(contents)]
    found = run(tmp_path, rows, timeout_s=1.0)
    assert [row["reason"] for row in found.values()] == [
        None, "crashed", None, "timeout", None, "memory_limit", "unreadable", None,
    ]  # fmt: skip
    assert [row["embedding"] for row in found.values() if row["status"] == "ok"] == [
        [1, 0], [2, 0], [3, 0], [4, 0],
    ]  # fmt: skip


def test_originals_that_all_went_away_are_no_fault_of_theirs(tmp_path: Path) -> None:
    """As of a disk that is unmounted in the middle of a job; when it is back, the job goes on."""
    disk = tmp_path / "disk"
    disk.mkdir()
    rows = [original(disk, name, name) for name in "123"]
    disk.rename(tmp_path / "away")
    said = re.escape(f"{disk}: expected originals of this job (3)")
    with pytest.raises(MachineError, match=said):
        run(tmp_path, rows)
    (tmp_path / "away").rename(disk)
    assert [row["embedding"] for row in run(tmp_path, rows[:2]).values()] == [[1, 0], [2, 0]]
    disk.rename(tmp_path / "away")
    with pytest.raises(MachineError, match=said):  # though one alone was still to be done
        run(tmp_path, rows)
    (tmp_path / "alone").mkdir()
    with pytest.raises(MachineError, match="expected originals of this job"):
        run(tmp_path / "alone", rows[2:])
    (tmp_path / "away").rename(disk)
    assert [row["embedding"] for row in run(tmp_path, rows).values()] == [[1, 0], [2, 0], [3, 0]]


def test_an_original_that_is_deleted_meanwhile_has_a_row(tmp_path: Path) -> None:
    rows = [original(tmp_path, name, name) for name in "12"]
    (tmp_path / "1").unlink()
    found = [(row["status"], row["reason"]) for row in run(tmp_path, rows).values()]
    assert found == [("failed", "missing"), ("ok", None)]


def test_what_the_media_stage_could_not_use_keeps_its_reason(tmp_path: Path) -> None:
    silent = {"status": "skipped", "reason": "silent", "audio_status": "ok", "wave": None}
    rows = [
        original(tmp_path, "gate", "1", **silent),
        original(tmp_path, "gone", "1", video_status="failed", video_reason="no_frames"),
    ]
    assert run(tmp_path, rows, "audio")["gate"]["reason"] == "silent"
    assert run(tmp_path, rows)["gone"]["reason"] == "no_frames"


def test_other_proxies_embed_no_original_again(tmp_path: Path) -> None:
    row = original(tmp_path, "a", "1")
    run(tmp_path, [row], media_protocol={"size_px": 224})
    before = read_metadata(tmp_path / "video.parquet")
    (tmp_path / "a").unlink()
    run(tmp_path, [row | {"key": "of other proxies"}], media_protocol={"size_px": 64})
    after = read_metadata(tmp_path / "video.parquet")
    assert after["run"] == {"processed": 0, "reused": 1}
    assert after["protocol_id"] == before["protocol_id"]
    assert after["protocol"]["reads"] == "originals"


def test_a_changed_original_or_another_stream_is_embedded_again(tmp_path: Path) -> None:
    row = original(tmp_path, "a", "1")
    assert run(tmp_path, [row])["a"]["embedding"] == [1, 0]
    (tmp_path / "a").write_text("2")
    assert run(tmp_path, [row | {"source_key": "changed"}])["a"]["embedding"] == [2, 0]
    assert run(tmp_path, [row | {"video_stream": 1}])["a"]["embedding"] == [2, 1]


def test_readers_know_the_largest_picture_that_may_be_opened(tmp_path: Path) -> None:
    """media.max_pixels, for originals and for files beside the clips."""
    config = configured(tmp_path, m={"entry": "mini"})
    media = config.media.model_copy(update={"max_pixels": 4321})
    means = Means.of(config.model_copy(update={"media": media}), "m")
    clips = write_media(tmp_path, [original(tmp_path, "a", "limit")])
    embed_media([clips], tmp_path / "a.parquet", SPEC, "video", means, {})
    file = {"clip_id": "a", "modality": "depth", "path": str(tmp_path / "a"), "status": "ok"}
    write_table(tmp_path / "files.parquet", COMPANION_FILES, [file | {"key": "a depth"}])
    embed_companions([tmp_path / "files.parquet"], tmp_path / "b.parquet", SPEC, "depth", means)
    for name in ("a.parquet", "b.parquet"):
        (row,) = read_table(tmp_path / name, EMBEDDINGS).to_pylist()
        assert row["embedding"] == [4321, 0]


def test_files_beside_the_clips_have_a_row_for_every_clip(tmp_path: Path) -> None:
    (tmp_path / "depth").write_text("7")
    (tmp_path / "bad").write_text("crash")
    skipped = {"status": "skipped", "reason": "no_depth_file"}
    files = [
        {"clip_id": "a", "modality": "depth", "path": str(tmp_path / "depth"), "status": "ok"},
        {"clip_id": "b", "modality": "depth", **skipped},
        {"clip_id": "c", "modality": "depth", "path": str(tmp_path / "bad"), "status": "ok"},
    ]
    keyed = [row | {"key": f"{row['clip_id']} {row['modality']}"} for row in files]
    write_table(tmp_path / "files.parquet", COMPANION_FILES, keyed)
    output = tmp_path / "out.parquet"
    embed_companions(
        [tmp_path / "files.parquet"], output, SPEC, "depth", Means(4, 2, Limits(60, 500))
    )
    found = [
        (row["id"], row["status"], row["reason"], row["embedding"])
        for row in read_table(output, EMBEDDINGS).to_pylist()
    ]
    assert found == [
        ("a", "ok", None, [7, -1]),
        ("b", "skipped", "no_depth_file", None),
        ("c", "failed", "crashed", None),
    ]


def test_another_limit_tries_pictures_again_that_were_too_large(tmp_path: Path) -> None:
    """Exactly those: others stay as they are, also where the limit is lowered."""
    contents = {"a": "7", "b": "large", "c": "large", "d": "no number"}
    rows = []
    for name, content in contents.items():
        (tmp_path / name).write_text(content)
        row = {"clip_id": name, "modality": "image", "path": str(tmp_path / name), "key": name}
        rows.append(row | {"status": "ok"})
    write_table(tmp_path / "files.parquet", COMPANION_FILES, rows)
    output = tmp_path / "out.parquet"

    def embedded(max_pixels: int) -> tuple[list[str | None], dict[str, int]]:
        means = Means(4, 2, Limits(60, 500, max_pixels))
        embed_companions([tmp_path / "files.parquet"], output, SPEC, "image", means)
        note = read_metadata(output)["run"]
        found = [row["reason"] for row in read_table(output, EMBEDDINGS).to_pylist()]
        return found, {name: note[name] for name in ("processed", "reused")}

    bad = "unreadable"
    small, large = [None, "too_large", "too_large", bad], [None, None, None, bad]
    assert embedded(3999) == (small, {"processed": 4, "reused": 0})
    assert embedded(3999) == (small, {"processed": 0, "reused": 4})
    assert embedded(3000) == (small, {"processed": 2, "reused": 2})
    assert embedded(4000) == (large, {"processed": 2, "reused": 2})
    assert embedded(3999) == (large, {"processed": 0, "reused": 4})
