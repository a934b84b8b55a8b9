"""A hub on this machine, as far as its own client asks for files: repositories are folders."""

import hashlib
import json
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class HubServer(ThreadingHTTPServer):
    """Serves the folders below `root` as `organisation/name`; `asked` has every request."""

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.root, self.asked = root, list[str]()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def sent(self) -> list[str]:
        """The files whose content was sent."""
        return [line.split("/")[-1] for line in self.asked if line.startswith("GET /us/")]


class _Handler(BaseHTTPRequestHandler):
    server: HubServer

    def do_HEAD(self) -> None:
        self._answer(with_content=False)

    def do_GET(self) -> None:
        self._answer(with_content=True)

    def _answer(self, with_content: bool) -> None:
        path = unquote(self.path.partition("?")[0])
        self.server.asked.append(f"{self.command} {path}")
        listing = re.fullmatch(r"/api/models/([^/]+/[^/]+)(/revision/[^/]+|/tree/[^/]+)?", path)
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/[^/]+/(.+)", path)
        root = self.server.root
        if listing and (root / listing[1]).is_dir():
            return self._list(root / listing[1], tree="/tree/" in path)
        if file and (root / file[1] / file[2]).is_file():
            return self._send((root / file[1] / file[2]).read_bytes(), with_content)
        return self._send(b"", with_content, 200 if path == "/" else 404)

    def _list(self, folder: Path, tree: bool) -> None:
        files = sorted(path for path in folder.iterdir() if path.is_file())
        if tree:
            sizes = [{"type": "file", "path": f.name, "size": f.stat().st_size, "oid": _tag(f)}
                     for f in files]  # fmt: skip
            return self._send(json.dumps(sizes).encode())
        names = [{"rfilename": f.name} for f in files]
        repository = f"{folder.parent.name}/{folder.name}"
        about = {"id": repository, "sha": COMMIT, "siblings": names, "tags": [], "private": False}
        return self._send(json.dumps(about).encode())

    def _send(self, content: bytes, with_content: bool = True, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
        if status == 404:
            self.send_header("X-Error-Code", "EntryNotFound")
        self.end_headers()
        if with_content:
            self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        """Nothing on the terminal."""


def _tag(path: Path) -> str:
    return hashlib.sha1(path.read_bytes()).hexdigest()
