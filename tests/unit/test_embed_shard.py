"""Embedding a shard: every row, only what is new, and failures that stay where they are."""

import json
import os
import sys
import time
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from embedding_inputs import (
    configured,
    media_row,
    read_name,
    write_media,
    write_proxy,
    write_texts,
    write_tiny_open_clip,
)
from fake_family import SPEC, clips, counts, install, means, run

from concord.errors import UserError
from concord.media import proxies
from concord.media.protocol import content_id
from concord.media.proxies import Limits, Proxies
from concord.models import computed, shard
from concord.models.base import ModelSpec
from concord.models.catalogue import spec
from concord.models.shard import embed_media, embed_texts
from concord.models.sources import ProxyReader, prepare
from concord.resume import forget
from concord.tables import EMBEDDINGS, PLAN, read_metadata, read_table, write_table


@pytest.fixture
def fake(monkeypatch):
    return install(monkeypatch)


def test_every_clip_has_a_row_in_order(fake, tmp_path):
    names = [str(i) for i in range(10)]
    rows = run(clips(tmp_path, names), tmp_path / "out.parquet")
    assert list(rows) == names
    assert {row["status"] for row in rows.values()} == {"ok"}
    assert rows["7"]["embedding"] == [7, 1, 0]
    assert rows["7"]["views"] == 1
    assert fake.embedder.batches == [4, 4, 2]


def test_upstream_failures_keep_their_reason_and_load_nothing(fake, tmp_path):
    media = write_media(
        tmp_path,
        [
            media_row("a", video_status="failed", video_reason="no_frames", detail="ffmpeg said"),
            media_row("b", video_status="skipped", video_reason="no_video_stream"),
        ],
    )
    rows = run(media, tmp_path / "video.parquet")
    assert (rows["a"]["status"], rows["a"]["reason"]) == ("failed", "no_frames")
    assert rows["a"]["detail"] == "ffmpeg said"
    assert (rows["b"]["status"], rows["b"]["reason"]) == ("skipped", "no_video_stream")
    assert rows["a"]["embedding"] is None
    rows = run(media, tmp_path / "audio.parquet", modality="audio")
    assert rows["a"]["reason"] == "no_audio_stream"
    assert fake.loads == 0


def test_clips_that_the_filter_kept_out_are_skipped(fake, tmp_path):
    """Their sound could be used, but there is no wave of it."""
    kept_out = {"status": "skipped", "reason": "silent", "audio_status": "ok", "wave": None}
    media = write_media(tmp_path, [media_row("a", **kept_out)])
    rows = run(media, tmp_path / "audio.parquet", modality="audio")
    assert (rows["a"]["status"], rows["a"]["reason"]) == ("skipped", "silent")
    assert fake.loads == 0


def test_only_new_and_changed_clips_are_embedded(fake, tmp_path):
    output = tmp_path / "out.parquet"
    run(clips(tmp_path, ["1", "2", "none"]), output)
    assert counts(output) == (3, 0)
    output.unlink()
    media = clips(tmp_path, ["1", "2", "none", "5"])
    rows = run(media, output)
    assert counts(output) == (1, 3)
    assert rows["5"]["embedding"] == [5, 1, 0]
    output.unlink()
    loads = fake.loads
    run(media, output)
    assert counts(output) == (0, 4)
    assert (fake.loads, fake.readers) == (loads, loads), "no hub is asked for a finished shard"
    rows = run(write_media(tmp_path, [media_row("1", key="changed"), media_row("2")]), output)
    assert counts(output) == (1, 1)
    assert list(rows) == ["1", "2"]


def test_a_clip_with_another_id_keeps_its_embedding(fake, tmp_path):
    """The collection's folder became a subfolder of another: same file, same key, new id."""
    output = tmp_path / "out.parquet"
    run(clips(tmp_path, ["1"]), output)
    moved = media_row("1") | {"clip_id": "sub/1"}
    rows = run(write_media(tmp_path, [moved]), output)
    assert counts(output) == (0, 1)
    assert rows["sub/1"]["embedding"] == [1, 1, 0]


def test_a_clip_that_failed_upstream_is_embedded_when_it_is_mended(fake, tmp_path):
    output = tmp_path / "out.parquet"
    clips(tmp_path, ["1"])
    broken = media_row("1", video_status="failed", video_reason="timeout")
    assert run(write_media(tmp_path, [broken]), output)["1"]["reason"] == "timeout"
    assert run(write_media(tmp_path, [media_row("1")]), output)["1"]["status"] == "ok"


def test_another_protocol_embeds_again(fake, tmp_path):
    output = tmp_path / "out.parquet"
    media = clips(tmp_path, ["1", "2"])
    run(media, output)
    run(media, output, ModelSpec(**(vars(SPEC) | {"frames": 4})))
    assert counts(output) == (2, 0)


def dies_at_the_fourth(fake):
    """Let the embedder die at clip 4; gives what it did before."""
    embed = fake.embedder.embed

    def dies(modality, inputs):
        if inputs[0][0, 0] == 4:
            raise KeyboardInterrupt
        return embed(modality, inputs)

    fake.embedder.embed = dies
    return embed


def test_a_killed_job_goes_on_where_it_was(fake, tmp_path):
    """The job dies in its second batch; the first is not embedded again."""
    output = tmp_path / "out.parquet"
    media = clips(tmp_path, [str(i) for i in range(8)])
    embed = dies_at_the_fourth(fake)
    with pytest.raises(KeyboardInterrupt):
        run(media, output)
    assert not output.exists()
    fake.embedder.embed = embed
    fake.embedder.batches.clear()
    rows = run(media, output)
    assert fake.embedder.batches == [4]
    assert len(rows) == 8


def test_missing_proxies_are_made_again_for_the_job_only(tmp_path, monkeypatch):
    proxies = Proxies(tmp_path, {"size_px": 64}, tmp_path, Limits(7, 800))
    read = ProxyReader(read_name, "video", {tmp_path: proxies})
    made = []

    def restore(row, protocol, folder, parts, **limits):
        assert parts == "v"
        made.append(folder / f"{row['clip_id']}.mp4")
        assert protocol == {"size_px": 64}
        assert limits == {"timeout_s": 7, "memory_mb": 800}, "those of the configuration"
        made[-1].touch()
        return {"v": made[-1]}

    monkeypatch.setitem(sys.modules, "concord.media.shard", SimpleNamespace(restore=restore))
    assert [read((tmp_path, media_row(name)))[0, 0] for name in ("1", "2")] == [1, 2]
    assert len(made) == 2
    assert not any(path.exists() for path in made)


def test_texts(fake, tmp_path):
    texts = write_texts(tmp_path / "texts.parquet", ["one", "  ", "红色的球", "x" * 21, "x" * 13])
    output = tmp_path / "out.parquet"
    embed_texts([texts], output, SPEC, means(2))
    rows = read_table(output, EMBEDDINGS).to_pylist()
    assert [row["status"] for row in rows] == ["ok", "skipped", "ok", "ok", "failed"]
    assert rows[1]["reason"] == "empty_prompt"
    assert rows[2]["embedding"] == [4, 1, 0]
    assert [row["detail"] for row in rows[:3]] == [None] * 3
    assert "cut off" in rows[3]["detail"]
    assert rows[0]["id"] == "id of one"


def test_what_computed_the_rows_is_told(fake, tmp_path):
    output = tmp_path / "out.parquet"
    run(clips(tmp_path, ["1"]), output)
    note = read_metadata(output)
    assert note["protocol"] == SPEC.protocol("video") | {"media": content_id({})}
    assert note["protocol_id"] == shard.protocol_id(note["protocol"])
    assert (note["model"], note["modality"], note["dim"]) == ("fake", "video", 3)
    (told,) = note["computed"]
    assert told["precision"] == "fp32"
    assert told["weights_sha256"] == "a"
    assert told["packages"]["torch"] == torch.__version__.split("+")[0]
    run(clips(tmp_path, ["1", "2"]), output)
    assert read_metadata(output)["computed"] == [told]


def test_one_clip_is_tried_again_alone(fake, tmp_path):
    """As `concord retry` makes it, also where an earlier version noted what computed the rest."""
    output, note = tmp_path / "out.parquet", tmp_path / ".out.parquet.computed"
    media = clips(tmp_path, ["1", "2", "3"])
    run(media, output)
    told = read_metadata(output)["computed"]
    note.write_text(json.dumps(told))
    for harm in (lambda: None, note.unlink, note.unlink):
        harm()
        assert forget(output, EMBEDDINGS, lambda row: row["id"] == "2") == 1
        run(media, output)
        assert counts(output) == (1, 2)
        assert read_metadata(output)["computed"] == told


def test_what_the_media_stage_lost_is_no_work_of_this_one(fake, tmp_path):
    row = media_row("a", video_status="failed", video_reason="crashed")
    media = write_media(tmp_path, [row])
    run(media, tmp_path / "out.parquet")
    run(media, tmp_path / "out.parquet")
    assert counts(tmp_path / "out.parquet") == (0, 1)


@pytest.mark.parametrize("content", [None, b"", b'{"crc32": 1, "computed": []}', b"\xff"])
def test_a_lost_note_of_what_computed_the_rows(fake, tmp_path, content):
    """The last table has it too; of a job that was killed before its first, rows are done again."""
    output, note = tmp_path / "out.parquet", tmp_path / ".out.parquet.computed"

    def harm():
        assert note.exists()
        note.unlink() if content is None else note.write_bytes(content)

    run(clips(tmp_path, ["1"]), output)
    told = read_metadata(output)["computed"]
    harm()
    run(clips(tmp_path, ["1", "2"]), output)
    assert counts(output) == (1, 1)
    assert read_metadata(output)["computed"] == told
    killed = tmp_path / "killed.parquet"
    embed = dies_at_the_fourth(fake)
    media = clips(tmp_path, [str(i) for i in range(8)])
    with pytest.raises(KeyboardInterrupt):
        run(media, killed)
    fake.embedder.embed, note = embed, tmp_path / ".killed.parquet.computed"
    harm()
    run(media, killed)
    assert counts(killed) == (8, 0)
    assert read_metadata(killed)["computed"] == told


def test_weights_that_changed_on_a_hub_are_not_mixed(fake, tmp_path):
    output = tmp_path / "out.parquet"
    run(clips(tmp_path, ["1"]), output)
    fake.embedder.weights_sha256 = "b"
    with pytest.raises(UserError, match=r"models\.fake: the weights have changed.*sha256"):
        run(clips(tmp_path, ["1", "2"]), output)


def test_auto_precision_is_not_mixed(fake, tmp_path, monkeypatch):
    """A shard that a CPU began is not finished in another precision by a GPU, or later."""
    output = tmp_path / "out.parquet"
    auto = ModelSpec(**(vars(SPEC) | {"precision": "auto"}))
    run(clips(tmp_path, ["1"]), output, auto)
    monkeypatch.setattr(computed, "precision", lambda requested, device: "bf16")
    media = clips(tmp_path, ["1", "2"])
    with pytest.raises(UserError, match=r"models\.fake\.precision: .*in fp32.*bf16.*set it to"):
        run(media, output, auto)
    run(media, output, ModelSpec(**(vars(SPEC) | {"precision": "bf16"})))
    assert counts(output) == (2, 0), "as the message advises"


def test_weights_are_fetched_before_a_device_is_taken(fake, tmp_path, monkeypatch):
    events = []
    lease, load = shard.lease, fake.load
    fake.fetch = lambda spec: events.append(f"fetch {spec.name}")
    fake.load = lambda *given: (events.append("load"), load(*given))[1]
    monkeypatch.setattr(shard, "lease", lambda *given: (events.append("lease"), lease(*given))[1])
    media = clips(tmp_path, ["1"])
    run(media, tmp_path / "out.parquet")
    assert events == ["fetch fake", "lease", "load"]
    run(media, tmp_path / "out.parquet")
    assert len(events) == 3, "nothing was left to do"


@dataclass(frozen=True)
class Slow:
    """A reader that takes long for its first file, unless it is warm."""

    def __call__(self, file):
        if os.environ.get("WARM") != "yes":
            time.sleep(60)
        return read_name(file)

    def warm(self):
        time.sleep(3.5)
        os.environ["WARM"] = "yes"


@pytest.mark.parametrize("reads", ["proxies", "originals"])
def test_readers_are_warm_before_a_clips_time_begins(fake, tmp_path, monkeypatch, reads):
    monkeypatch.setattr(proxies, "START_S", 0.0)
    fake.reader = lambda spec, modality: Slow()
    names = ["1", "2"]
    where = {name: {"path": f"/originals/{name}", "source_key": name} for name in names}
    clips(tmp_path, names)
    media = write_media(tmp_path, [media_row(name, **where[name]) for name in names])
    chosen = ModelSpec(**(vars(SPEC) | {"reads": reads}))
    embed_media([media], tmp_path / "out.parquet", chosen, "video", means(timeout_s=3.0), {})
    rows = read_table(tmp_path / "out.parquet", EMBEDDINGS).to_pylist()
    assert [row["status"] for row in rows] == ["ok", "ok"]


def test_a_reader_that_cannot_be_warmed_tells_with_its_first_clip():
    prepare(SimpleNamespace(warm=lambda: 1 / 0), None)
    prepare(read_name, None)


def test_settings_that_changed_on_a_hub_are_not_mixed(fake, tmp_path):
    output = tmp_path / "out.parquet"
    fake.embedder.provenance = {"config_sha256": "a", "revision": "1"}
    run(clips(tmp_path, ["1"]), output)
    assert read_metadata(output)["computed"][0]["revision"] == "1"
    fake.embedder.provenance = {"config_sha256": "b", "revision": "2"}
    with pytest.raises(UserError, match=r"settings of the network have changed.*pretrained"):
        run(clips(tmp_path, ["1", "2"]), output)


def test_a_killed_job_remembers_its_weights(fake, tmp_path):
    """The first run leaves rows, but no table; the hub then gives other weights."""
    media = clips(tmp_path, [str(i) for i in range(8)])
    embed = dies_at_the_fourth(fake)
    with pytest.raises(KeyboardInterrupt):
        run(media, tmp_path / "out.parquet")
    fake.embedder.embed, fake.embedder.weights_sha256 = embed, "b"
    with pytest.raises(UserError, match="the weights have changed"):
        run(media, tmp_path / "out.parquet")


def test_changed_weights_that_are_pinned_embed_everything_again(fake, tmp_path):
    """What the message about changed weights advises."""
    output = tmp_path / "out.parquet"
    run(clips(tmp_path, ["1"]), output)
    fake.embedder.weights_sha256 = "b"
    pinned = ModelSpec(**(vars(SPEC) | {"sha256": "b"}))
    run(clips(tmp_path, ["1", "2"]), output, pinned)
    assert counts(output) == (2, 0)
    (told,) = read_metadata(output)["computed"]
    assert told["weights_sha256"] == "b"


def test_other_proxies_are_another_protocol_and_another_gate_is_not(fake, tmp_path):
    media, output = clips(tmp_path, ["1"]), tmp_path / "out.parquet"

    def protocol_of(media_protocol):
        embed_media([media], output, SPEC, "video", means(), media_protocol)
        return read_metadata(output)["protocol_id"]

    usual = protocol_of({"size_px": 224, "filter": False})
    assert protocol_of({"size_px": 64, "filter": False}) != usual
    assert protocol_of({"size_px": 224, "filter": True, "silence_db": -60}) == usual


def test_progress_is_told(fake, tmp_path, capsys):
    run(clips(tmp_path, ["1", "2"]), tmp_path / "out.parquet")
    assert "fake video: 2 of 2" in capsys.readouterr().err


def test_end_to_end_with_open_clip(tmp_path):
    """Real proxies, decoder processes and network; the batch size does not change the numbers."""
    weights = write_tiny_open_clip(tmp_path / "weights")
    config = configured(tmp_path, tiny={"entry": "open_clip", "checkpoint": weights, "frames": 4})
    names = ["a", "b", "c"]
    for seed, name in enumerate(names):
        write_proxy(tmp_path / "video" / f"{name}.mp4", 12 + seed, seed=seed)
    media = write_media(tmp_path, [media_row(name) for name in names])
    one = run(media, tmp_path / "one.parquet", spec(config, "tiny"), batch_size=1)
    all_ = run(media, tmp_path / "all.parquet", spec(config, "tiny"), batch_size=8)
    for name in names:
        assert one[name]["views"] == 4
        np.testing.assert_allclose(one[name]["embedding"], all_[name]["embedding"], atol=1e-5)
        assert np.linalg.norm(one[name]["embedding"]) == pytest.approx(1, abs=1e-5)
    embed_texts(
        [write_texts(tmp_path / "texts.parquet", ["a ball"])],
        tmp_path / "texts_out.parquet",
        spec(config, "tiny"),
        means(8),
    )
    (row,) = read_table(tmp_path / "texts_out.parquet", EMBEDDINGS).to_pylist()
    assert len(row["embedding"]) == 32


def test_dropped_proxies_give_the_same_embeddings(tmp_path):
    """The media stage's own proxies, deleted and made again by the decoder processes."""
    from concord.media.protocol import media_protocol
    from concord.media.shard import drop_proxies, process_shard

    weights = write_tiny_open_clip(tmp_path / "weights")
    config = configured(tmp_path, tiny={"entry": "open_clip", "checkpoint": weights})
    original = write_proxy(tmp_path / "original.mkv", 30, (128, 96))
    plan, media = tmp_path / "plan.parquet", tmp_path / "0000" / "media.parquet"
    write_table(plan, PLAN, [{"clip_id": "a", "path": str(original), "key": "k"}])
    protocol = media_protocol(config, "c") | {"filter": False}
    process_shard(plan, media, protocol, workers=1, timeout_s=60, memory_mb=4000)
    found = []
    for name in ("before", "after"):
        output = tmp_path / f"{name}.parquet"
        embed_media([media], output, spec(config, "tiny"), "video", means(), protocol)
        found += read_table(tmp_path / f"{name}.parquet", EMBEDDINGS).to_pylist()
        drop_proxies(media)
    assert not (media.parent / "video").exists()
    assert found[0] == found[1]
    assert found[0]["status"] == "ok"
