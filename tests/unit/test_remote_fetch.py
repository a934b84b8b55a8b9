"""Objects come whole or not at all, and the blame is where it belongs."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from storage import Bucket, Faulty

from concord.config_data import Remote
from concord.errors import UserError
from concord.remote import fetch as fetching
from concord.remote.fetch import UnusableError, fetch
from concord.remote.settings import use
from concord.remote.storage import GoneError, storage
from concord.remote.urls import Url, common_folder, is_remote

CONTENT = bytes(range(256)) * 4000


@pytest.fixture
def faulty(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Iterator[Faulty]:
    """The bucket, with two objects, behind a server whose faults a test chooses."""
    bucket.put("clips/a.mp4", CONTENT)
    bucket.put("clips/other.mp4", b"other")
    monkeypatch.setattr(fetching._last, "url", None)
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0)
    with Faulty(bucket.endpoint_url) as server:
        use(Remote(endpoint_url=server.address, retries=2))
        yield server


def fails_for(name: str, fault: int | str, times: int = 10**6) -> object:
    return lambda method, path, before: (
        fault if method == "GET" and path.endswith(name) and before < times else None
    )


def a(bucket: Bucket) -> str:
    return bucket.url("clips/a.mp4")


@pytest.mark.parametrize("fault", ["cut", 500, 503, "short"])
def test_what_fails_once_is_tried_again(
    bucket: Bucket, faulty: Faulty, tmp_path: Path, fault: int | str
) -> None:
    faulty.fault = fails_for("a.mp4", fault, times=1)
    fetch(a(bucket), tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == CONTENT
    assert faulty.asked["GET", f"/{bucket.name}/clips/a.mp4"] > 1


@pytest.mark.parametrize("fault", ["cut", 503, "short"])
def test_an_object_that_never_comes_whole_is_at_fault_if_others_do(
    bucket: Bucket, faulty: Faulty, tmp_path: Path, fault: int | str
) -> None:
    faulty.fault = fails_for("a.mp4", fault)
    with pytest.raises(UnusableError) as found:
        fetch(a(bucket), tmp_path / "a")
    assert found.value.reason == "not_fetched"
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("fault", ["cut", 500])
def test_a_server_that_gives_nothing_is_an_error(
    bucket: Bucket, faulty: Faulty, tmp_path: Path, fault: int | str
) -> None:
    faulty.fault = fails_for(".mp4", fault)
    with pytest.raises(UserError, match=r"nor can s3://.*other\.mp4: the server"):
        fetch(a(bucket), tmp_path / "a")


def test_a_server_that_is_down_is_an_error(bucket: Bucket, tmp_path: Path) -> None:
    use(Remote(endpoint_url="http://127.0.0.1:9", retries=1))
    with pytest.raises(UserError, match=r"does not answer.*remote\.endpoint_url"):
        fetch(a(bucket), tmp_path / "a")


def test_a_missing_object_is_missing_and_a_missing_bucket_is_an_error(
    bucket: Bucket, faulty: Faulty, tmp_path: Path
) -> None:
    with pytest.raises(UnusableError) as found:
        fetch(bucket.url("clips/none.mp4"), tmp_path / "a")
    assert found.value.reason == "missing"
    for ask in (lambda url: fetch(url, tmp_path / "a"), lambda url: [*_list(url)]):
        with pytest.raises(UserError, match=r"there is no.* bucket 'nowhere-at-all'"):
            ask("s3://nowhere-at-all/clips/a.mp4")


def _list(url: str) -> Iterator[object]:
    return storage(Url(url)).list_folder(Url(url))


def test_missing_credentials_are_named(
    bucket: Bucket, faulty: Faulty, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)
    use(Remote(endpoint_url=faulty.address, retries=3))
    with pytest.raises(UserError, match="no credentials found; set AWS_ACCESS_KEY_ID"):
        fetch(a(bucket), tmp_path / "a")


def test_refused_credentials_are_an_error_and_no_row(
    bucket: Bucket, faulty: Faulty, tmp_path: Path
) -> None:
    faulty.fault = lambda method, path, before: 403
    with pytest.raises(UserError, match="refuses these credentials"):
        fetch(a(bucket), tmp_path / "a")
    with pytest.raises(UserError, match="refuses these credentials"):
        list(_list(bucket.url("clips")))


def test_an_object_replaced_meanwhile_is_never_a_mix(
    bucket: Bucket, faulty: Faulty, tmp_path: Path
) -> None:
    large = os.urandom(9_000_000)  # comes in two parts
    bucket.put("clips/a.mp4", CONTENT * 9)
    faulty.replace = lambda: bucket.put("clips/a.mp4", large)
    faulty.fault = lambda method, path, before: (
        "changed" if method == "GET" and path.endswith("a.mp4") and before == 1 else None
    )
    stamp = fetch(a(bucket), tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == large
    assert stamp.size == len(large)


@pytest.mark.parametrize("name", ["a?b#c.mp4", "a%20b c.mp4", "ü 猫+&=.mp4", "a{b}.mp4", "x/y.mp4"])
def test_any_key_is_fetched_as_it_is(
    bucket: Bucket, faulty: Faulty, tmp_path: Path, name: str
) -> None:
    bucket.put(f"odd/{name}", b"content")
    ((found, stamp),) = _list(bucket.url("odd"))
    assert found == name
    assert fetch(bucket.url(f"odd/{name}"), tmp_path / "a") == stamp
    assert (tmp_path / "a").read_bytes() == b"content"


def test_many_objects_are_listed_page_by_page(
    bucket: Bucket, faulty: Faulty, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("concord.remote.s3.PAGE", 2)
    for i in range(5):
        bucket.put(f"many/{i}", b"")
    assert len(list(_list(bucket.url("many")))) == 5
    assert faulty.asked["GET", f"/{bucket.name}"] == 3


@pytest.mark.parametrize(
    "text", ["s3://", "s3:///key", "s3://key:secret@bucket/x", "ftp://bucket/x", "bucket/x"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="Input should"):
        Url(text)


def test_addresses_are_told_from_paths() -> None:
    assert Url("S3://bucket/a/b/") == "s3://bucket/a/b"
    assert Url("s3://bucket/a/b").folder == "s3://bucket/a"
    assert Url("s3://bucket").folder == "s3://bucket"
    assert Url("s3://bucket/a").holds("s3://bucket/a/x")
    assert not Url("s3://bucket/a").holds("s3://bucket/ab")
    assert is_remote("s3://bucket/a")
    assert not is_remote("/data/s3://bucket/a")
    assert common_folder(["s3://bucket/a/x", "s3://bucket/a/y"]) == "s3://bucket/a"
    assert common_folder(["/data/x", "/data/y"]) == "/data"


def test_a_plugin_that_is_not_installed_is_named() -> None:
    url = Url("gs://bucket/clips/a.mp4")
    with pytest.raises(UserError, match="pip install snakemake-storage-plugin-gcs"):
        storage(url)


def test_any_plugin_that_lists_will_do(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from concord.remote.plugin import PluginStorage

    monkeypatch.setenv("AWS_ENDPOINT_URL", bucket.endpoint_url)
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)
    for key in ("clips/a.mp4", "clips/part/b.mp4", "clips2/c.mp4"):
        bucket.put(key, b"content")
    plain, folder = PluginStorage("s3"), Url(bucket.url("clips"))
    found = dict(plain.list_folder(folder))
    assert found.keys() == {"a.mp4", "part/b.mp4"}
    assert plain.retrieve(Url(folder.below("a.mp4")), tmp_path / "a") == found["a.mp4"]
    assert (tmp_path / "a").read_bytes() == b"content"
    with pytest.raises(GoneError):
        plain.stamp(Url(folder.below("none.mp4")))


def test_nothing_of_storages_is_loaded_without_an_address() -> None:
    code = (
        "import sys, concord.clips.plan, concord.load, concord.run, concord.media.shard, "
        "concord.models.shard; print(*{m.split('.')[0] for m in sys.modules})"
    )
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert not {"boto3", "snakemake_storage_plugin_s3"} & set(run.stdout.split())
