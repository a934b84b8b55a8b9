"""What shards left that are no longer planned."""

import json
from pathlib import Path

from concord.config import Config
from concord.sweep import sweep


def test_only_what_vanished_shards_left_is_deleted(tmp_path: Path) -> None:
    results, outside = tmp_path / "results", tmp_path / "outside"
    given = {"collections": {"c": "c", "new": "n"}, "clips": {"block_size": 1}}
    config = Config.model_validate(given | {"results": str(results)})
    gone = [
        "media/c/0001/media.parquet",
        "media/c/0001/video/a.mp4",
        "synchrony/c/0001.parquet",
        "synchrony/c/.0001.parquet.previous",
        "embeddings/m/video/c/0001.parquet",
        "embeddings/m/audio/c/.0001.parquet.journal",
        "embeddings/m/depth/c/0001.parquet",
    ]
    stay = [
        "media/c/0000/media.parquet",
        "media/c/notes/0001.txt",
        "media/new/0001/media.parquet",
        "media/other/0001/media.parquet",
        "embeddings/m/text/c/0001.parquet",
        "synchrony/c/.0000.parquet.previous",
        "synchrony/c/0001-mine.parquet",
    ]
    for path in (results / name for name in gone + stay):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (outside / "0001").mkdir(parents=True)
    (results / "embeddings/n/video").mkdir(parents=True)
    (results / "embeddings/n/video/c").symlink_to(outside)
    (results / "clips/c").mkdir(parents=True)
    (results / "clips/c/shards.json").write_text(json.dumps(["0000"]))
    sweep(config)
    assert not [name for name in gone if (results / name).exists()]
    assert not (results / "media/c/0001").exists()
    assert all((results / name).exists() for name in stay)
    assert (outside / "0001").exists()


def test_other_blocks_go_when_those_that_are_planned_have_their_rows(tmp_path: Path) -> None:
    """Ten shards a block were asked for before; now it is two, and one of these is not made yet."""
    given = {"collections": {"c": "c"}, "prompts": {"p": "p.json"}, "results": str(tmp_path)}
    clips = {"shard_size": 10, "block_size": 20}
    config = Config.model_validate(given | {"clips": clips})
    for folder in ("clips/c", "prompts/p"):
        (tmp_path / folder).mkdir(parents=True)
        shards = ["0000", "0001", "0002", "0010"]
        (tmp_path / folder / "shards.json").write_text(json.dumps(shards))
    needed = ["0000-0009.parquet", ".0000-0009.parquet.previous", ".0000-0009.parquet.journal"]
    gone = ["0010-0019.parquet", "0020-0029.parquet", ".0011.parquet.previous"]
    folders = [tmp_path / f"embeddings/m/{name}" for name in ("video/c", "text/p")]
    for folder in folders:
        folder.mkdir(parents=True)
        for name in [*needed, *gone, "0000-0001.parquet", "0010-0011.parquet"]:
            (folder / name).touch()
    sweep(config)
    made = {"0000-0001.parquet", "0010-0011.parquet"}
    for folder in folders:
        assert {path.name for path in folder.iterdir()} == {*needed, *made}
        (folder / "0002-0003.parquet").touch()
    sweep(config)
    for folder in folders:
        assert {path.name for path in folder.iterdir()} == {*made, "0002-0003.parquet"}
