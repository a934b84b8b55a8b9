"""Objects as clips: found, matched and fetched as local files are, and asked for by the user."""

from pathlib import Path
from typing import Any

import pytest
from sounds import make_sound
from storage import Bucket

from concord.clips.scan import scan
from concord.config import Config
from concord.config_data import Collection, Remote
from concord.errors import UserError
from concord.media.protocol import media_protocol
from concord.media.shard import process_shard
from concord.remote.settings import use
from concord.remote.urls import Url
from concord.tables import MEDIA, read_table

NAMES = [
    *("sample_0001.mp4", "part/sample_0002.mp4", "part/audio/sample_0002.wav", "notes.txt"),
    *(".hidden.mp4", ".cache/x.mp4", "a?b#c%20 ü.mp4", "photo.png"),
]
OF_PLACES = ("path", "mtime_ns", "version")


@pytest.fixture(autouse=True)
def settings(bucket: Bucket) -> None:
    use(Remote(endpoint_url=bucket.endpoint_url, retries=2))


def rows(path: object, **keys: Any) -> list[dict[str, Any]]:
    found = scan(Collection(path=path, **keys), allowed=keys.pop("allowed", ()))
    return found.drop_columns(list(OF_PLACES)).to_pylist()


@pytest.mark.parametrize("keys", [{}, {"recursive": False}, {"label": "parent"}])
def test_objects_are_found_as_files_are(
    bucket: Bucket, tmp_path: Path, keys: dict[str, Any]
) -> None:
    for name in NAMES:
        file = tmp_path / "own" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(name.encode())
    bucket.put_folder(tmp_path / "own", "own")
    bucket.put("own/part/", b"")  # a folder, as some programs mark it
    bucket.put("own2/other.mp4", b"not below the prefix")
    assert rows(bucket.url("own"), **keys) == rows(tmp_path / "own", **keys)


def test_a_version_is_the_content(bucket: Bucket) -> None:
    def version() -> str:
        (version,) = scan(Collection(path=[bucket.url("own")]))["version"].to_pylist()
        return str(version)

    bucket.put("own/a.mp4", b"one")
    before = version()
    bucket.put("own/a.mp4", b"one")
    assert version() == before
    bucket.put("own/a.mp4", b"two")
    assert version() != before


def test_a_prefix_without_objects_is_a_mistake(bucket: Bucket) -> None:
    with pytest.raises(UserError, match="no object lies below it"):
        rows(bucket.url("nothing"))


def test_a_manifest_that_is_an_object_names_objects_of_its_bucket(bucket: Bucket) -> None:
    bucket.put("lists/clips/a.mp4", b"a")
    bucket.put("b.mp4", b"b")
    cells = ["clips/a.mp4", bucket.url("b.mp4"), "../none.mp4"]
    bucket.put("lists/own.csv", "\n".join(["path", *cells]).encode())
    found = scan(Collection(path=[bucket.url("lists/own.csv")])).to_pylist()
    assert {row["path"]: row["reason"] for row in found} == {
        bucket.url("lists/clips/a.mp4"): None,
        bucket.url("b.mp4"): None,
        bucket.url("none.mp4"): "missing",
    }


@pytest.mark.parametrize("cell", ["/etc/passwd", "../../x.mp4", "s3://other/x.mp4", "http://h/x"])
def test_a_manifest_that_is_an_object_names_nothing_else(bucket: Bucket, cell: str) -> None:
    bucket.put("lists/own.csv", f"path\n{cell}\n".encode())
    with pytest.raises(UserError, match=r"own\.csv, line 2: path: "):
        scan(Collection(path=[bucket.url("lists/own.csv")]))


def test_a_local_manifest_names_objects_only_where_the_user_says_so(
    bucket: Bucket, tmp_path: Path
) -> None:
    for i in range(25):  # so many that their folder is listed
        bucket.put(f"clips/{i}.mp4", b"a")
    manifest = tmp_path / "own.csv"
    cells = [bucket.url(f"clips/{i}.mp4") for i in range(26)]
    manifest.write_text("\n".join(["path", *cells]))
    with pytest.raises(UserError, match=r"lies in none of remote\.manifests"):
        scan(Collection(path=[manifest]))
    found = scan(Collection(path=[manifest]), allowed=[Url(bucket.url("clips"))])
    assert found["reason"].to_pylist().count("missing") == 1
    with pytest.raises(UserError, match="lies in none of"):
        scan(Collection(path=[manifest]), allowed=[Url(bucket.url("clip"))])


@pytest.fixture
def planned(bucket: Bucket, tmp_path: Path) -> tuple[Config, Path]:
    """Four sounds on the server, planned as one shard."""
    from concord.clips import plan as planning

    for i in range(4):
        bucket.put(f"own/{i}.wav", make_sound(tmp_path / "sound.wav", 300 + 100 * i))
    config = Config.model_validate(
        {
            "results": str(tmp_path / "results"),
            "collections": {"own": bucket.url("own")},
            "remote": {"endpoint_url": bucket.endpoint_url, "ahead": 1, "retries": 2},
        }
    )
    planning.plan(config)
    return config, tmp_path / "results" / "clips" / "own" / "plan" / "0000.parquet"


def media(config: Config, plan: Path) -> dict[str, tuple[str, str | None]]:
    output = config.results / "media" / "own" / "0000" / "media.parquet"
    protocol = media_protocol(config, "own")
    process_shard(plan, output, protocol, workers=2, timeout_s=60, memory_mb=1500)
    found = read_table(output, MEDIA).to_pylist()
    return {row["clip_id"]: (row["status"], row["reason"]) for row in found}


def test_what_happens_to_objects_after_the_plan_is_a_row(
    bucket: Bucket, planned: tuple[Config, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config, plan = planned
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    bucket.delete("own/1.wav")
    bucket.put("own/2.wav", make_sound(tmp_path / "new.wav", 900))
    assert media(config, plan) == {
        "0.wav": ("ok", None),
        "1.wav": ("failed", "missing"),
        "2.wav": ("failed", "changed"),
        "3.wav": ("ok", None),
    }
    assert not list(scratch.iterdir())

    from concord.clips import plan as planning

    planning.plan(config)
    assert media(config, plan) == dict.fromkeys(("0.wav", "2.wav", "3.wav"), ("ok", None))


def test_a_server_that_is_down_fails_the_job_and_leaves_no_row(
    planned: tuple[Config, Path], bucket: Bucket
) -> None:
    config, plan = planned
    use(Remote(endpoint_url="http://127.0.0.1:9", retries=1))
    with pytest.raises(UserError, match="does not answer"):
        media(config, plan)
    use(config.remote)
    assert set(media(config, plan).values()) == {("ok", None)}
