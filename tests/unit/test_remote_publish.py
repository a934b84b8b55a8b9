"""What is uploaded, and what is deleted: what changed, and what we wrote."""

import json
from pathlib import Path

import pytest
from storage import Bucket, Faulty

from concord.config import Config
from concord.errors import UserError
from concord.remote.publish import MARK, publish

FILES = ["tables/a.csv", "exports/m/x.npy", "report/index.html", "provenance.json"]
TABLES = ["embeddings/m/video/own/0000.parquet", "clips/own/clips.parquet"]
KEPT = ["media/own/0000/video/a.mp4", "media/own/0000/.media.parquet.journal", "logs/x.log"]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    for name in [*FILES, *TABLES, *KEPT]:
        path = tmp_path / "results" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path / "results"


def configured(bucket: Bucket, results: Path, **keys: object) -> Config:
    return Config.model_validate(
        {
            "results": str(results),
            "collections": {"own": "clips"},
            "remote": {"endpoint_url": bucket.endpoint_url, "retries": 1},
            "publish": {"path": bucket.url("out"), **keys},
        }
    )


def there(bucket: Bucket) -> set[str]:
    return {key.removeprefix("out/") for key in bucket.keys("out/")}


def test_what_changed_is_uploaded_and_what_we_wrote_is_deleted(
    bucket: Bucket, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bucket.put("out/theirs.txt", b"not ours")
    bucket.put("out2/theirs.txt", b"not ours")
    config = configured(bucket, results)
    publish(config)
    assert there(bucket) == {*FILES, "theirs.txt"}
    assert json.loads((results / MARK).read_text()) == {"path": bucket.url("out"), "objects": 4}
    publish(config)
    assert "0 files uploaded, 0 objects deleted, 4 as they were" in capsys.readouterr().err

    (results / "tables/a.csv").write_text("new")
    (results / "exports/m/x.npy").unlink()
    bucket.delete("out/provenance.json")
    publish(config)
    assert "2 files uploaded, 1 objects deleted, 1 as they were" in capsys.readouterr().err
    assert there(bucket) == {*FILES, "theirs.txt"} - {"exports/m/x.npy"}
    assert bucket.get("out/tables/a.csv") == b"new"
    assert bucket.keys("out2/") == {"out2/theirs.txt"}


def test_what_somebody_else_replaced_stays_and_is_told(
    bucket: Bucket, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With its file or without, at every run, until it is deleted there."""
    config = configured(bucket, results)
    publish(config)
    for name in ("tables/a.csv", "exports/m/x.npy"):
        bucket.put(f"out/{name}", b"theirs")
    (results / "exports/m/x.npy").unlink()
    (results / "tables/a.csv").write_text("new")
    for time in (1, 2):
        capsys.readouterr()
        publish(config)
        told = capsys.readouterr().err
        assert "0 files uploaded, 0 objects deleted, 2 as they were" in told, time
        assert f"{config.publish.path}: 2 objects stay" in told
        assert "replaced them: exports/m/x.npy, tables/a.csv; delete them there" in told
        assert bucket.get("out/tables/a.csv") == b"theirs"
        assert bucket.get("out/exports/m/x.npy") == b"theirs"
    (results / "exports/m/x.npy").write_bytes(b"made again")
    bucket.delete("out/tables/a.csv")
    publish(config)
    assert bucket.get("out/tables/a.csv") == b"new"
    assert bucket.get("out/exports/m/x.npy") == b"theirs"
    assert "1 objects stay" in capsys.readouterr().err
    bucket.delete("out/exports/m/x.npy")
    publish(config)
    assert bucket.get("out/exports/m/x.npy") == b"made again"
    assert "stay" not in capsys.readouterr().err


def test_what_somebody_else_replaced_by_the_same_is_ours(
    bucket: Bucket, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = configured(bucket, results)
    publish(config)
    (results / "tables/a.csv").write_text("new")
    bucket.put("out/tables/a.csv", b"new")
    for number in ("1 files uploaded", "0 files uploaded"):
        capsys.readouterr()
        publish(config)
        told = capsys.readouterr().err
        assert number in told
        assert "stay" not in told


def test_everything_is_the_tables_and_no_proxies(bucket: Bucket, results: Path) -> None:
    publish(configured(bucket, results, everything=True))
    assert there(bucket) == {*FILES, *TABLES}


def test_what_is_no_longer_asked_for_stays_until_its_file_is_gone(
    bucket: Bucket, results: Path
) -> None:
    publish(configured(bucket, results, everything=True))
    publish(configured(bucket, results))
    assert there(bucket) == {*FILES, *TABLES}
    (results / TABLES[0]).unlink()
    publish(configured(bucket, results))
    assert there(bucket) == {*FILES, TABLES[1]}


def test_an_interrupted_upload_is_repeated(bucket: Bucket, results: Path) -> None:
    with Faulty(bucket.endpoint_url) as server:
        server.fault = lambda method, path, before: (
            503 if method == "PUT" and path.endswith("index.html") else None
        )
        keys = {"endpoint_url": server.address, "retries": 1}
        config = configured(bucket, results)
        broken = Config.model_validate(config.model_dump() | {"remote": keys})
        with pytest.raises(UserError, match=r"index\.html: .*503"):
            publish(broken)
    assert not (results / MARK).exists()
    (results / "tables/a.csv").unlink()  # was uploaded before
    publish(config)
    assert there(bucket) == {*FILES} - {"tables/a.csv"}


def test_a_missing_bucket_is_named_and_not_made(bucket: Bucket, results: Path) -> None:
    config = configured(bucket, results)
    elsewhere = config.model_dump(mode="json") | {"publish": "s3://no-such-bucket/out"}
    with pytest.raises(UserError, match="no such bucket 'no-such-bucket'"):
        publish(Config.model_validate(elsewhere))
    names = [found["Name"] for found in bucket.client.list_buckets()["Buckets"]]
    assert "no-such-bucket" not in names
