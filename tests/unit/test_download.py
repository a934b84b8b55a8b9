"""Downloads against a server of our own that breaks off, ignores ranges, or lies."""

import errno
import hashlib
import io
import re
import socket
import threading
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from concord.errors import UserError
from concord.models import download
from concord.models.download import CONTACT_S, FIRST_TRIES, fetch

CONTENT = np.random.default_rng(0).bytes(3_000_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()
HINT = "Set models.x.checkpoint."


class Server(ThreadingHTTPServer):
    """Serves CONTENT; `breaks`: how many bytes each next answer brings before it breaks off."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.breaks: list[int] = []
        self.ranges = True
        self.asked: list[str | None] = []
        self.status = 200

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/folder/weights.pth"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, wanted = self.server, self.headers["Range"]
        server.asked.append(wanted)
        if server.status != 200:
            return self.send_error(server.status)
        start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted and server.ranges else 0
        size = len(server.content)
        if start >= size:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{size}")
            return self.end_headers()
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        self.send_header("Content-Length", str(size - start))
        self.end_headers()
        end = start + server.breaks.pop(0) if server.breaks else size
        self.wfile.write(server.content[start:end])
        return None

    def log_message(self, *args: object) -> None:
        """Nothing on the terminal."""


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    monkeypatch.setattr(download, "WAIT_S", 0.01)
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()


def test_a_broken_download_goes_on_where_it_stopped(server, tmp_path):
    server.breaks = [1_300_000, 0, 700_000]
    path = fetch(server.url, tmp_path / "a" / "w.pth", sha256=DIGEST.upper(), hint=HINT)
    assert path.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=1300000-", "bytes=1300000-", "bytes=2000000-"]
    assert [p.name for p in path.parent.iterdir()] == ["w.pth"]
    assert fetch(server.url, path, hint=HINT) == path
    assert len(server.asked) == 4, "a file that is there is not fetched"


def test_the_next_run_goes_on_too(server, tmp_path):
    server.breaks = [1_000_000, 0, 0, 0]
    with pytest.raises(UserError) as caught:
        fetch(server.url, tmp_path / "w.pth", hint=HINT)
    said = str(caught.value)
    assert all(part in said for part in (server.url, "1000000 bytes", "w.pth.part", HINT))
    assert not (tmp_path / "w.pth").exists()
    server.breaks = []
    assert fetch(server.url, tmp_path / "w.pth", hint=HINT).read_bytes() == CONTENT
    assert server.asked[-1] == "bytes=1000000-"


def test_a_part_that_is_whole_is_taken(server, tmp_path):
    (tmp_path / "w.pth.part").write_bytes(CONTENT)
    assert fetch(server.url, tmp_path / "w.pth", sha256=DIGEST, hint=HINT).read_bytes() == CONTENT


def test_a_part_that_is_too_long_is_thrown_away(server, tmp_path):
    (tmp_path / "w.pth.part").write_bytes(CONTENT + b"more")
    assert fetch(server.url, tmp_path / "w.pth", hint=HINT).read_bytes() == CONTENT


def test_a_server_without_ranges_sends_all_again(server, tmp_path):
    server.ranges, server.breaks = False, [1_000_000]
    assert fetch(server.url, tmp_path / "w.pth", hint=HINT).read_bytes() == CONTENT


def test_a_wrong_file_gets_no_name(server, tmp_path):
    with pytest.raises(UserError, match=f"digest {DIGEST}, expected 00"):
        fetch(server.url, tmp_path / "w.pth", sha256="00", hint=HINT)
    with pytest.raises(UserError, match="arrived damaged"):
        fetch(server.url, tmp_path / "w.pth", check=lambda path: False, hint=HINT)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("status", [404, 500])
def test_a_refusal_is_told(server, tmp_path, status):
    server.status = status
    with pytest.raises(UserError, match=f"{status}.*{HINT}"):
        fetch(server.url, tmp_path / "w.pth", hint=HINT)
    assert len(server.asked) == (1 if status == 404 else 2)


def test_no_network_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "WAIT_S", 0.0)
    with pytest.raises(UserError, match=f"http://127.0.0.1:9/w.pth could not be fetched.*{HINT}"):
        fetch("http://127.0.0.1:9/w.pth", tmp_path / "w.pth", hint=HINT)


def test_a_server_that_does_not_answer_is_told_soon(tmp_path, monkeypatch):
    """As behind a firewall, which lets nothing through and says nothing."""
    monkeypatch.setattr(download, "WAIT_S", 0.0)
    monkeypatch.setattr(download, "CONTACT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/w.pth"
        start = time.monotonic()
        with pytest.raises(UserError, match=rf"{url} could .*no answer in 0\.2 s.*{HINT}"):
            fetch(url, tmp_path / "w.pth", hint=HINT)
    assert time.monotonic() - start < 30
    assert FIRST_TRIES * CONTACT_S <= 20


def test_a_cache_that_cannot_be_made_is_told(server, tmp_path):
    (tmp_path / "home").touch()
    with pytest.raises(UserError, match=rf"home/cache/w\.pth.*XDG_CACHE_HOME.*{HINT}"):
        fetch(server.url, tmp_path / "home" / "cache" / "w.pth", hint=HINT)


def test_a_disk_without_locks_is_told(server, tmp_path, monkeypatch):
    def refuse(file: object, kind: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(download.fcntl, "flock", refuse)
    with pytest.raises(UserError, match=rf"No locks available.*XDG_CACHE_HOME.*{HINT}"):
        fetch(server.url, tmp_path / "w.pth", hint=HINT)


def test_of_many_at_once_one_fetches(server, tmp_path):
    server.breaks = [1_000_000, 500_000]
    with ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(fetch, server.url, tmp_path / "w.pth", hint=HINT) for _ in range(8)]
    assert {job.result().read_bytes() == CONTENT for job in jobs} == {True}
    assert len(server.asked) == 3
    assert [p.name for p in tmp_path.iterdir()] == ["w.pth"]


def test_imagebind_fetches_its_weights_once(server, tmp_path, monkeypatch):
    """Into the user's cache; what arrived damaged by its own checksums is not kept."""
    torch = pytest.importorskip("torch")
    from imagebind_checkpoint import write_tiny
    from test_imagebind_network import spec

    from concord.models import imagebind
    from concord.models.imagebind import weights

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(weights, "PUBLISHED", server.url)
    folder = tmp_path / "cache" / "concord"
    good = write_tiny(folder / "tiny.pth").read_bytes()
    damaged = bytearray(good)
    with zipfile.ZipFile(io.BytesIO(good)) as archive:
        largest = max(archive.infolist(), key=lambda info: info.file_size)
    damaged[largest.header_offset + largest.file_size // 2] ^= 1

    published = spec(Path("none"), "imu", sha256=None)
    published = type(published)(**(vars(published) | {"checkpoint": None}))
    server.content = bytes(damaged)
    with pytest.raises(UserError, match=r"arrived damaged.*models\.ib\.checkpoint"):
        imagebind.load(published, torch.device("cpu"))
    server.content = good
    (folder / "weights.json").mkdir()  # a folder whose owner lets nobody write
    imagebind.fetch(published)
    assert (folder / "weights.pth").exists(), "before a job takes a GPU"
    embedder = imagebind.load(published, torch.device("cpu"))
    assert embedder.weights_sha256 == hashlib.sha256(good).hexdigest()
    assert (folder / "weights.pth").read_bytes() == good
    assert len(server.asked) == 2
    with pytest.raises(UserError, match=r"models\.ib\.sha256: .* expected 00"):
        imagebind.load(type(published)(**(vars(published) | {"sha256": "00"})), torch.device("cpu"))
