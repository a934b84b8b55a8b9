"""Embedding jobs over blocks of shards: one model a job, no clip twice, however they are cut."""

import os
from pathlib import Path

import pytest
from embedding_inputs import media_row, read_name, write_texts
from fake_family import SPEC, clips, counts, install, means, run

from concord.blocks import Block, blocks, shards_a_block
from concord.clips import plan as planning
from concord.layout import Layout
from concord.load import load
from concord.media.proxies import Limits, Proxies
from concord.models.base import ModelSpec
from concord.models.catalogue import spec
from concord.models.shard import embed_texts
from concord.models.sources import ProxyReader
from concord.resources import JobResources
from concord.tables import EMBEDDINGS, read_metadata, read_table


@pytest.fixture
def fake(monkeypatch):
    return install(monkeypatch)


def shards(folder: Path, *groups: str) -> list[Path]:
    """A media table a shard, of clips that are called by the words of its group."""
    return [clips(folder / f"{i:04d}", group.split()) for i, group in enumerate(groups)]


@pytest.mark.parametrize(
    ("block_size", "shard_size", "names"),
    [
        (10_000, 1000, ["0000-0009", "0010-0019"]),
        (3999, 1000, ["0000-0002", "0003-0005", "0009-0011"]),
        (500, 1000, ["0000", "0001", "0003", "0011"]),
        (1000, 1000, ["0000", "0001", "0003", "0011"]),
    ],
)
def test_blocks_hold_whole_shards(block_size: int, shard_size: int, names: list[str]) -> None:
    size = shards_a_block(block_size, shard_size)
    assert blocks(["0000", "0001", "0003", "0011"], size) == names
    assert [Block.named(name).name for name in names] == names


def test_names_tell_what_is_in_a_table() -> None:
    assert Block.named("0004") == Block(4, 4)
    assert Block.named("9999-10008") == Block(9999, 10008)
    assert Block.named("mini.video") is None
    assert Block(0, 9).overlaps(Block(9, 12))
    assert not Block(0, 9).overlaps(Block(10, 19))


def test_each_shard_is_in_one_job(tmp_path: Path) -> None:
    config, layout = planned(tmp_path, count=7, clips={"shard_size": 2, "block_size": 5})
    tables = layout.embeddings("mini", "video", "c")
    assert [path.stem for path in tables] == ["0000-0001", "0002-0003"]
    inputs = [layout.block_media("c", path.stem) for path in tables]
    assert [len(found) for found in inputs] == [2, 2]
    assert [path for found in inputs for path in found] == layout.media("c")
    assert layout.block_size("video", "c", "0002-0003") == 3
    assert layout.block_media("c", "0004-0005") == [config.results / "media/c/0004/media.parquet"]


def test_rows_of_all_shards_stand_in_order_and_one_model_is_loaded(fake, tmp_path):
    media = shards(tmp_path, "1 2 none", "3 4 5 6 7 8", "", "9")
    rows = run(media, tmp_path / "0000-0009.parquet")
    assert list(rows) == ["1", "2", "none", *map(str, range(3, 10))]
    assert rows["none"]["reason"] == "no_frames"
    assert rows["9"]["embedding"] == [9, 1, 0]
    assert (fake.loads, fake.readers) == (1, 1)


def test_texts_of_all_shards_stand_in_order(fake, tmp_path):
    texts = [write_texts(tmp_path / f"{i}.parquet", [w]) for i, w in enumerate(("b", "aa"))]
    embed_texts(texts, tmp_path / "0000-0009.parquet", SPEC, means())
    rows = read_table(tmp_path / "0000-0009.parquet", EMBEDDINGS).to_pylist()
    assert [row["id"] for row in rows] == ["id of b", "id of aa"]
    assert fake.loads == 1


def test_clips_of_one_name_are_read_from_their_own_shards(tmp_path):
    for shard, frames in (("0000", 3), ("0001", 5)):
        (tmp_path / shard / "video").mkdir(parents=True)
        (tmp_path / shard / "video" / "long.mp4").symlink_to(tmp_path / f"long{frames}")
        (tmp_path / f"long{frames}").touch()
    folders = [tmp_path / "0000", tmp_path / "0001"]
    found = {folder: Proxies(folder, {}, tmp_path, Limits(7, 800)) for folder in folders}
    read = ProxyReader(lambda file: read_name(resolved(file)), "video", found)
    assert [len(read((folder, media_row("long")))) for folder in folders] == [3, 5]


def resolved(file):
    return type(file)(file.path.resolve())


def test_a_shard_that_joins_costs_its_clips(fake, tmp_path):
    output = tmp_path / "0000-0009.parquet"
    run(shards(tmp_path, "1 2", "3 4"), output)
    output.unlink()
    rows = run(shards(tmp_path, "1 2", "3 4", "5"), output)
    assert counts(output) == (1, 4)
    assert list(rows) == ["1", "2", "3", "4", "5"]
    output.unlink()
    rows = run(shards(tmp_path, "1", "3 4"), output)
    assert counts(output) == (0, 3), "a removed clip and a removed shard cost nothing"
    assert (list(rows), fake.loads) == (["1", "3", "4"], 2)


def test_another_size_of_blocks_computes_nothing_again(fake, tmp_path):
    """From one block to one a shard and back, as jobs do it: each on its own, in any order."""
    media = shards(tmp_path, "1 2", "3 none", "5")
    large = tmp_path / "0000-0009.parquet"
    run(media, large)
    computed = read_metadata(large)["computed"]
    small = [tmp_path / f"000{i}.parquet" for i in (2, 0, 1)]
    for output in small:
        run(media[int(output.stem)], output)
        assert read_metadata(output)["computed"] == computed
    assert [counts(output) for output in small] == [(0, 1), (0, 2), (1, 1)]
    assert fake.loads == 1 + 1, "for the clip that failed, which is tried again"
    before = read_table(large, EMBEDDINGS)
    for file in tmp_path.glob("*0000-0009*"):
        file.unlink()
    run(media, large)
    assert counts(large) == (1, 4)
    assert read_table(large, EMBEDDINGS).equals(before)


def test_a_killed_block_of_another_size_keeps_what_it_had(fake, tmp_path):
    """A user makes blocks smaller because a large one ran out of time."""
    embed, media = fake.embedder.embed, shards(tmp_path, "1 2 3 4 5 6", "7")

    def dies(modality, inputs):
        if inputs[0][0, 0] == 5:
            raise KeyboardInterrupt
        return embed(modality, inputs)

    fake.embedder.embed = dies
    with pytest.raises(KeyboardInterrupt):
        run(media, tmp_path / "0000-0009.parquet")
    fake.embedder.embed = embed
    run(media[0], tmp_path / "0000.parquet")
    assert counts(tmp_path / "0000.parquet") == (2, 4)
    run(media[1], tmp_path / "0001.parquet")
    assert counts(tmp_path / "0001.parquet") == (1, 0)


def test_rows_of_another_protocol_are_not_taken_over(fake, tmp_path):
    media = shards(tmp_path, "1 2")
    run(media, tmp_path / "0000-0009.parquet")
    run(media, tmp_path / "0000.parquet", ModelSpec(**(vars(SPEC) | {"frames": 4})))
    assert counts(tmp_path / "0000.parquet") == (2, 0)


def test_a_damaged_table_of_another_size_is_passed_over(fake, tmp_path):
    media = shards(tmp_path, "1 2")
    for name in ("0000-0009.parquet", ".0000-0009.parquet.previous"):
        (tmp_path / name).write_bytes(b"PAR1 no longer")
    run(media, tmp_path / "0000.parquet")
    assert counts(tmp_path / "0000.parquet") == (2, 0)


def test_what_a_job_asks_for_follows_from_its_clips(tmp_path: Path) -> None:
    config, layout = planned(tmp_path, count=5, clips={"shard_size": 1, "block_size": 4})
    specs = layout.specs

    def asked(cores: int | None, gpus: int, block: str = "0000-0003") -> JobResources:
        return JobResources(config, specs, layout, cores, gpus)

    local, cluster, gpu = asked(16, 0), asked(None, 0), asked(16, 1)
    assert [of.gpus("mini") for of in (local, cluster, gpu)] == [0, 1, 1]
    full, last = ("video", "c", "0000-0003"), ("video", "c", "0004-0007")
    assert [of.threads("mini", *full) for of in (local, cluster, gpu)] == [1, 4, 4]
    assert local.memory_mb("mini", *full) >= specs["mini"].memory_mb
    layout._rows = dict.fromkeys(layout.plans("c"), 2500).__getitem__  # as if full of clips
    assert [of.threads("mini", *full) for of in (local, cluster, gpu)] == [16, 4, 4]
    assert local.memory_mb("mini", *full) > local.memory_mb("mini", *last)
    assert local.minutes("mini", *full, 1) > local.minutes("mini", *last, 1) > 15
    assert asked(2, 0).minutes("mini", *full, 1) > local.minutes("mini", *full, 1)
    assert cluster.minutes("mini", *full, 1) == gpu.minutes("mini", *full, 1)
    plain = local.minutes("mini", *full, 1), local.memory_mb("mini", *full)
    config.results.joinpath("media").mkdir()
    (config.results / "media/.dropped").touch()
    assert local.minutes("mini", *full, 1) > plain[0], "proxies are made again"
    assert local.memory_mb("mini", *full) > plain[1]


def test_no_job_asks_for_more_time_than_it_may(tmp_path: Path) -> None:
    config, layout = planned(tmp_path, count=3, clips={"shard_size": 2, "max_job_hours": 10})
    resources = JobResources(config, layout.specs, layout, None, 0)
    assert resources.dropping_minutes(1) < 30
    small = resources.media_minutes("c", "0000", 4, 1)
    assert resources.media_minutes("c", "0000", 4, 2) == 2 * small
    layout._bytes = lambda path: {0: 5 * 10**9, 1: -1}  # the first two clips are long
    assert small < resources.media_minutes("c", "0000", 4, 1) < small + 4, "each ends in time"
    assert resources.moving_minutes("c", "0000", 1) > resources.moving_minutes("c", "0001", 1)
    layout._rows = lambda path: 10**6
    assert resources.media_minutes("c", "0000", 4, 1) == 600
    assert resources.minutes("mini", "video", "c", "0000-0004", 3) == 600
    assert resources.moving_minutes("c", "0001", 1) == 600
    assert resources.dropping_minutes(1) == 600
    assert resources.summary(9).runtime == resources.probing("mini", ["c"], 9).runtime == 600
    assert resources.projecting("mini", ["c"], 9).runtime == 600
    assert (resources.reading(1000, 1), resources.reading(1000, 5)) == (130, 600)
    layout._rows = lambda path: 10**5
    assert 40 < resources.dropping_minutes(1) < 90


def test_tables_are_read_in_as_much_memory_as_their_columns_take(tmp_path: Path) -> None:
    """Vectors count where they are read, and samples only as far as they are drawn."""
    config, layout = planned(tmp_path, count=1)
    resources = JobResources(config, layout.specs, layout, None, 0)
    learning = "mini", ["c"]
    small = resources.summary(1).mem_mb, resources.probing(*learning, 1).mem_mb
    assert max(small) < 4500
    layout._rows = lambda path: 10**6
    rows = 10**6 * (3 + 1 + 2)  # clips, media, summary; a score; two embeddings
    assert resources.summary(1).mem_mb == 2000 + rows * 1500 // 10**6
    assert resources.summary(2).runtime == 2 * (30 + rows // 10**5)
    dim = layout.specs["mini"].dim
    read = 2 * 4 * dim + 1500
    assert resources.probing(*learning, 1).mem_mb == 2000 + read + 40 * dim * 20_000 // 10**6
    assert resources.projecting(*learning, 1).mem_mb == 4000 + read


def test_time_for_fetching_objects_is_asked_for(tmp_path: Path) -> None:
    config, layout = planned(tmp_path, count=1)
    layout._bytes = lambda path: {0: 10**10}
    local = JobResources(config, layout.specs, layout, None, 0).media_minutes("c", "0000", 1, 1)
    far = config.model_copy(
        update={
            "collections": {"c": config.collections["c"].model_copy(update={"path": ["s3://b/p"]})}
        }
    )
    remote = JobResources(far, layout.specs, layout, None, 0).media_minutes("c", "0000", 1, 1)
    assert remote - local == 34


def planned(folder: Path, count: int, **options):
    """A configuration of some files that are no clips, planned, and its layout."""
    (folder / "clips").mkdir()
    for i in range(count):
        (folder / "clips" / f"{i}.mp4").touch()
    given = {"collections": {"c": str(folder / "clips")}, "results": str(folder / "results")}
    config = load(given | {"models": ["mini"], "tasks": ["av_consistency"], **options})
    planning.plan(config)
    return config, Layout(config, {"mini": spec(config, "mini")})


def test_media_jobs_use_the_cores_there_are(tmp_path: Path) -> None:
    _, layout = planned(tmp_path, count=3, clips={"shard_size": 1})

    def threads(cores: int | None, **media: int) -> int:
        config = layout.config.model_copy(update={"media": type(layout.config.media)(**media)})
        return JobResources(config, layout.specs, layout, cores, 0).media_threads()

    assert [threads(cores) for cores in (4, 16, 96, None)] == [8, 8, 32, 8]
    assert threads(96, workers=2) == 2, "as the user says"
    for table in layout.media("c"):
        table.parent.mkdir(parents=True)
        table.touch()
    assert threads(96) == 32, "all are made again for another cause"
    os.utime(layout.media("c")[1], (0, 0))
    assert [threads(cores) for cores in (4, 96, None)] == [8, 96, 8], "one has changed"
    layout.media("c")[2].unlink()
    assert threads(96) == 48
    resources = JobResources(layout.config, layout.specs, layout, 16, 0)
    layout._rows = lambda path: 1000
    assert (
        resources.media_minutes("c", "0000", 1, 1) > resources.media_minutes("c", "0000", 8, 1) > 15
    )


def test_a_job_tells_where_its_time_went(fake, tmp_path):
    output = tmp_path / "0000.parquet"
    run(shards(tmp_path, "1 2 3"), output)
    note = read_metadata(output)["run"]
    assert (note["processed"], note["reused"]) == (3, 0)
    assert note["start_s"] > 0
    assert 0 <= note["computed_s"] < note["waited_s"] < 60, "two decoders had to be started"
    output.unlink()
    run(shards(tmp_path, "1 2 3"), output)
    assert read_metadata(output)["run"] == {"processed": 0, "reused": 3}, "no model was needed"
