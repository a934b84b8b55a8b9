"""Embedding a shard: every row, only what is new, and failures that stay where they are."""

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from embedding_inputs import (  # noqa: E402
    configured,
    media_row,
    read_name,
    write_media,
    write_proxy,
    write_texts,
    write_tiny_open_clip,
)

from concord.errors import UserError  # noqa: E402
from concord.media import proxies  # noqa: E402
from concord.media.protocol import content_id  # noqa: E402
from concord.media.proxies import Limits, Proxies  # noqa: E402
from concord.models import shard  # noqa: E402
from concord.models.base import ModelSpec  # noqa: E402
from concord.models.catalogue import spec  # noqa: E402
from concord.models.shard import Means, embed_media, embed_texts  # noqa: E402
from concord.models.sources import ProxyReader, prepare  # noqa: E402
from concord.tables import EMBEDDINGS, PLAN, read_metadata, read_table, write_table  # noqa: E402

SPEC = ModelSpec("fake", "fake", ("video", "audio", "text"), 3, "", "", precision="fp32")


class Fake:
    """Embeds view x as (x, 1, 0); 13 breaks it, 66 is not a number, `limit` views fill memory."""

    weights_sha256 = "a"

    def __init__(self, limit=None):
        self.limit, self.batches = limit, []

    def embed(self, modality, inputs):
        self.batches.append(len(inputs))
        values = [float(len(x)) if modality == "text" else float(x[0, 0]) for x in inputs]
        if self.limit and sum(map(len, inputs)) > self.limit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        if 13 in values:
            raise RuntimeError("unlucky")
        values = [np.nan if value == 66 else value for value in values]
        return np.array([[value, 1, 0] for value in values], np.float32)

    def views(self, modality, given):
        return len(given)

    def truncated(self, texts):
        return [len(text) > 20 for text in texts]


@pytest.fixture
def fake(monkeypatch):
    """The family `fake`, its embedder, and how often it was loaded."""
    family = SimpleNamespace(embedder=Fake(), loads=0, readers=0)

    def load(spec, device):
        family.loads += 1
        return family.embedder

    def reader(spec, modality):
        family.readers += 1
        return read_name

    family.load, family.reader = load, reader
    monkeypatch.setitem(sys.modules, "concord.models.fake", family)
    return family


def clips(folder: Path, names: list[str], **values) -> Path:
    """A media table whose proxies are empty files with these names."""
    (folder / "video").mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / "video" / f"{name}.mp4").touch()
    return write_media(folder, [media_row(name, **values) for name in names])


def means(batch_size=4, timeout_s=60.0, memory_mb=2000, device="auto"):
    return Means(batch_size, workers=2, limits=Limits(timeout_s, memory_mb), device=device)


def run(media: Path, output: Path, chosen=SPEC, modality="video", batch_size=4):
    embed_media(media, output, chosen, modality, means(batch_size), {})
    return {row["id"]: row for row in read_table(output, EMBEDDINGS).to_pylist()}


def counts(output: Path) -> tuple[int, int]:
    note = read_metadata(output)["run"]
    return note["processed"], note["reused"]


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


def test_failures_stay_with_their_clip(fake, tmp_path):
    names = ["1", "none", "13", "2", "66", "3", "4"]
    rows = run(clips(tmp_path, names), tmp_path / "out.parquet")
    assert [rows[name]["status"] for name in names] == [
        "ok", "failed", "failed", "ok", "failed", "ok", "ok",
    ]  # fmt: skip
    assert rows["none"]["reason"] == "no_frames"
    assert (rows["13"]["reason"], rows["13"]["detail"]) == ("model_error", "RuntimeError: unlucky")
    assert rows["66"]["reason"] == "not_finite"
    assert all(rows[name]["embedding"] is None for name in ("none", "13", "66"))
    assert rows["2"]["embedding"] == [2, 1, 0]


def test_out_of_memory_halves_the_batch_and_goes_on(fake, tmp_path):
    fake.embedder = Fake(limit=3)
    names = [str(i) for i in range(12)]
    rows = run(clips(tmp_path, names), tmp_path / "out.parquet", batch_size=8)
    assert all(row["status"] == "ok" for row in rows.values())
    assert fake.embedder.batches == [8, 4, 2, 2, 2, 2, 2, 2]


@pytest.mark.parametrize("names", [["1", "long20", "2", "3"], ["long20", "1", "2", "3"]])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_one_clip_that_does_not_fit_costs_one_clip(fake, tmp_path, names, batch_size):
    fake.embedder = Fake(limit=8)
    names = [*names, *(str(i) for i in range(20, 32))]
    rows = run(clips(tmp_path, names), tmp_path / "out.parquet", batch_size=batch_size)
    assert (rows["long20"]["status"], rows["long20"]["reason"]) == ("failed", "memory_limit")
    assert {row["status"] for name, row in rows.items() if name != "long20"} == {"ok"}
    assert fake.embedder.batches[-3:] == [batch_size] * 3, "later batches are as large as before"


def test_a_device_on_which_no_clip_fits_ends_the_job_without_rows(fake, tmp_path):
    fake.embedder = Fake(limit=0.5)
    media, output = clips(tmp_path, ["1", "2"]), tmp_path / "out.parquet"
    for batch_size in (1, 4):
        with pytest.raises(UserError, match=r"models\.fake: .*not fit into the memory.*precision"):
            run(media, output, batch_size=batch_size)
    fake.embedder = Fake()
    assert {row["status"] for row in run(media, output).values()} == {"ok"}


def test_a_device_that_loses_memory_ends_the_job(fake, tmp_path):
    """Clips as small as those that fitted before are not at fault."""
    embed = fake.embedder.embed

    def shrinking(modality, inputs):
        if fake.embedder.batches:
            fake.embedder.limit = 0.5
        return embed(modality, inputs)

    fake.embedder.embed = shrinking
    with pytest.raises(UserError, match="less memory left than when the job began"):
        run(clips(tmp_path, list("123456")), tmp_path / "out.parquet")


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
        torch.AcceleratorError("CUDA error: out of memory"),
        MemoryError(),
    ],
    ids=lambda error: str(error)[:40],
)
def test_libraries_without_memory_are_out_of_memory(fake, tmp_path, error):
    embed = fake.embedder.embed

    def limited(modality, inputs):
        if len(inputs) > 2:
            raise error
        return embed(modality, inputs)

    fake.embedder.embed = limited
    rows = run(clips(tmp_path, list("1234")), tmp_path / "out.parquet")
    assert {row["status"] for row in rows.values()} == {"ok"}
    assert fake.embedder.batches == [2, 2]


@pytest.mark.parametrize(
    "error",
    [
        torch.AcceleratorError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`"),
    ],
    ids=["accelerator", "cublas"],
)
def test_a_lost_device_ends_the_job(fake, tmp_path, error):
    def lost(modality, inputs):
        raise error

    fake.embedder.embed = lost
    with pytest.raises(type(error), match="CUDA error"):
        run(clips(tmp_path, ["1", "2"]), tmp_path / "out.parquet")


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("count", [2, 30])
def test_clips_that_all_fail_alike_end_the_job_without_rows(fake, tmp_path, batch_size, count):
    """Such as with a processor that does not belong to the network."""
    embed, seen = fake.embedder.embed, []

    def mismatched(modality, inputs):
        seen.append(len(inputs))
        raise RuntimeError("expected 32 channels, found 3")

    fake.embedder.embed = mismatched
    media, output = clips(tmp_path, [str(i) for i in range(count)]), tmp_path / "out.parquet"
    with pytest.raises(UserError, match=r"models\.fake: .*alike: RuntimeError: expected 32"):
        run(media, output, batch_size=batch_size)
    assert len(seen) < 20, "a long job is given up early"
    fake.embedder.embed = embed
    run(media, output)
    assert counts(output)[0] >= count - 1, "nothing was recorded"


def test_a_single_clip_that_fails_is_a_row(fake, tmp_path):
    rows = run(clips(tmp_path, ["13"]), tmp_path / "out.parquet")
    assert [(row["status"], row["reason"]) for row in rows.values()] == [("failed", "model_error")]


def test_clips_that_fail_for_their_own_reasons_are_rows(fake, tmp_path):
    def fails(modality, inputs):
        raise RuntimeError(f"no {inputs[0][0, 0]}")

    fake.embedder.embed = fails
    rows = run(clips(tmp_path, ["1", "2"]), tmp_path / "out.parquet", batch_size=1)
    assert [row["detail"] for row in rows.values()] == [
        "RuntimeError: no 1.0",
        "RuntimeError: no 2.0",
    ]


def test_a_broken_clip_that_is_new_does_not_end_the_job(fake, tmp_path):
    """The others were embedded by an earlier run, with the same means."""
    output = tmp_path / "out.parquet"
    run(clips(tmp_path, ["1", "2"]), output)
    rows = run(clips(tmp_path, ["1", "2", "13"]), output)
    assert counts(output) == (1, 2)
    assert rows["13"]["reason"] == "model_error"


def test_clips_that_fit_another_device_prove_nothing_of_this_one(fake, tmp_path, monkeypatch):
    output = tmp_path / "out.parquet"
    run(clips(tmp_path, ["1", "2"]), output)
    monkeypatch.setattr(shard, "describe", lambda device: "a small GPU")
    fake.embedder = Fake(limit=0.5)
    media = clips(tmp_path, ["1", "2", "3"])
    for _ in ("first", "again"):
        with pytest.raises(UserError, match="does not fit into the memory"):
            run(media, output)


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


def test_a_killed_job_goes_on_where_it_was(fake, tmp_path):
    """The job dies in its second batch; the first is not embedded again."""
    output = tmp_path / "out.parquet"
    media = clips(tmp_path, [str(i) for i in range(8)])
    embed = fake.embedder.embed

    def dies(modality, inputs):
        if inputs[0][0, 0] == 4:
            raise KeyboardInterrupt
        return embed(modality, inputs)

    fake.embedder.embed = dies
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
    read = ProxyReader(read_name, "video", proxies)
    made = []

    def restore(row, protocol, folder, **limits):
        made.append(folder / f"{row['clip_id']}.mp4")
        assert protocol == {"size_px": 64}
        assert limits == {"timeout_s": 7, "memory_mb": 800}, "those of the configuration"
        made[-1].touch()
        return (made[-1], None)

    monkeypatch.setitem(sys.modules, "concord.media.shard", SimpleNamespace(restore=restore))
    assert [read(media_row(name))[0, 0] for name in ("1", "2")] == [1, 2]
    assert len(made) == 2
    assert not any(path.exists() for path in made)


def test_texts(fake, tmp_path):
    texts = write_texts(tmp_path / "texts.parquet", ["one", "  ", "红色的球", "x" * 21, "x" * 13])
    output = tmp_path / "out.parquet"
    embed_texts(texts, output, SPEC, means(2))
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
    (computed,) = note["computed"]
    assert computed["precision"] == "fp32"
    assert computed["weights_sha256"] == "a"
    assert computed["packages"]["torch"] == torch.__version__.split("+")[0]
    run(clips(tmp_path, ["1", "2"]), output)
    assert read_metadata(output)["computed"] == [computed]


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
    monkeypatch.setattr(shard, "precision", lambda requested, device: "bf16")
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
        time.sleep(1.5)
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
    embed_media(media, tmp_path / "out.parquet", chosen, "video", means(timeout_s=1.0), {})
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
    embed = fake.embedder.embed

    def dies(modality, inputs):
        if inputs[0][0, 0] == 4:
            raise KeyboardInterrupt
        return embed(modality, inputs)

    fake.embedder.embed = dies
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
    (computed,) = read_metadata(output)["computed"]
    assert computed["weights_sha256"] == "b"


def test_other_proxies_are_another_protocol_and_another_gate_is_not(fake, tmp_path):
    media, output = clips(tmp_path, ["1"]), tmp_path / "out.parquet"

    def protocol_of(media_protocol):
        embed_media(media, output, SPEC, "video", means(), media_protocol)
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
        write_texts(tmp_path / "texts.parquet", ["a ball"]),
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
        embed_media(media, output, spec(config, "tiny"), "video", means(), protocol)
        found += read_table(tmp_path / f"{name}.parquet", EMBEDDINGS).to_pylist()
        drop_proxies(media)
    assert not (media.parent / "video").exists()
    assert found[0] == found[1]
    assert found[0]["status"] == "ok"
