"""Failures that stay with their clip, and faults that end the job."""

import pytest
import torch
from fake_family import Fake, FakeInPasses, clips, counts, install, run

from concord.errors import UserError
from concord.models import computed


@pytest.fixture
def fake(monkeypatch):
    return install(monkeypatch)


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


@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_clip_too_large_for_one_pass_goes_through_in_smaller_ones(fake, tmp_path, batch_size):
    fake.embedder = FakeInPasses(limit=8)
    names = ["1", "long20", *(str(i) for i in range(20, 34))]
    rows = run(clips(tmp_path, names), tmp_path / "out.parquet", batch_size=batch_size)
    assert {row["status"] for row in rows.values()} == {"ok"}
    assert rows["long20"]["views"] == 20
    assert fake.embedder.passes.most == 5, "half of half of its views"
    assert fake.embedder.batches[-2:] == [batch_size] * 2, "later batches are as large as before"


def test_an_input_that_fails_leaves_later_ones_their_passes(fake, tmp_path):
    """Of 20 views, not one at a time fits."""
    fake.embedder = FakeInPasses(limit=8)
    embed = fake.embedder.embed

    def picky(modality, inputs):
        if max(map(len, inputs)) == 20:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return embed(modality, inputs)

    fake.embedder.embed = picky
    names = ["1", "long20", *(str(i) for i in range(20, 34))]
    rows = run(clips(tmp_path, names), tmp_path / "out.parquet", batch_size=1)
    assert [name for name, row in rows.items() if row["status"] != "ok"] == ["long20"]
    assert fake.embedder.passes.most == 64


def test_passes_are_halved_down_to_one_view_before_a_clip_is_given_up(fake, tmp_path):
    fake.embedder = FakeInPasses(limit=1)
    rows = run(clips(tmp_path, ["long20", "1"]), tmp_path / "out.parquet")
    assert {row["status"] for row in rows.values()} == {"ok"}
    assert fake.embedder.passes.most == 1
    fake.embedder = FakeInPasses(limit=0)
    with pytest.raises(UserError, match="does not fit into the memory"):
        run(clips(tmp_path / "b", ["long20", "2"]), tmp_path / "b.parquet")


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
    monkeypatch.setattr(computed, "describe", lambda device: "a small GPU")
    fake.embedder = Fake(limit=0.5)
    media = clips(tmp_path, ["1", "2", "3"])
    for _ in ("first", "again"):
        with pytest.raises(UserError, match="does not fit into the memory"):
            run(media, output)
