"""Models that read originals and companions get them from a server, one after another."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from embedding_inputs import media_row, write_media
from storage import Bucket
from test_embed_originals import SPEC, Fake, read_or_break

from concord.clips.keys import companion_key, plan_key
from concord.config_data import Remote
from concord.media.proxies import Limits
from concord.models.shard import Means, embed_companions, embed_media
from concord.remote.fetch import stamp_of
from concord.remote.settings import use
from concord.tables import COMPANION_FILES, EMBEDDINGS, read_table, write_table

MEANS = Means(4, 2, Limits(60.0, 500))


@pytest.fixture(autouse=True)
def settings(bucket: Bucket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = SimpleNamespace(load=lambda spec, device: Fake(), reader=lambda spec, m: read_or_break)
    monkeypatch.setitem(sys.modules, "concord.models.fake", fake)
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    use(Remote(endpoint_url=bucket.endpoint_url, ahead=2, retries=2))
    for i in range(9):
        bucket.put(f"own/{i}.mp4", str(i).encode())


def embedded(output: Path) -> list[Any]:
    rows = read_table(output, EMBEDDINGS).to_pylist()
    return [row["reason"] or row["embedding"][0] for row in rows]


def test_originals_are_fetched_as_they_were_planned(bucket: Bucket, tmp_path: Path) -> None:
    rows = []
    for i in range(9):
        url = bucket.url(f"own/{i}.mp4")
        stamp = stamp_of(url)
        key = plan_key(f"{i}", url, stamp.size, stamp.version, None, None)
        rows.append(media_row(f"{i}") | {"path": url, "source_key": key, "video_stream": 0})
    bucket.delete("own/1.mp4")
    bucket.put("own/2.mp4", b"77")
    output = tmp_path / "video.parquet"
    embed_media([write_media(tmp_path, rows)], output, SPEC, "video", MEANS, {})
    assert embedded(output) == [0.0, "missing", "changed", 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
    assert not list((tmp_path / "scratch").iterdir())


def test_companions_are_fetched_as_they_were_planned(bucket: Bucket, tmp_path: Path) -> None:
    rows = []
    for i in range(3):
        url = bucket.url(f"own/{i}.mp4")
        key = companion_key("image", f"{i}", url, str(stamp_of(url)), None)
        row = {"clip_id": f"{i}", "modality": "image", "path": url, "key": key, "status": "ok"}
        rows.append(dict.fromkeys(COMPANION_FILES.names) | row)
    bucket.put("own/2.mp4", b"77")
    table, output = tmp_path / "images.parquet", tmp_path / "image.parquet"
    write_table(table, COMPANION_FILES, rows)
    embed_companions([table], output, SPEC, "image", MEANS)
    assert embedded(output) == [0.0, 1.0, "changed"]
