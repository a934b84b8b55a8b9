"""What shards left that are no longer planned."""

import json
from pathlib import Path

from concord.config import Config
from concord.sweep import sweep


def test_only_what_vanished_shards_left_is_deleted(tmp_path: Path) -> None:
    results, outside = tmp_path / "results", tmp_path / "outside"
    config = Config.model_validate({"collections": {"c": "c", "new": "n"}, "results": str(results)})
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
