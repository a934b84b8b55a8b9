"""A real S3 server on this machine, with buckets of its own, for the tests that need one."""

import secrets
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import boto3
from moto.server import ThreadedMotoServer


@dataclass
class Bucket:
    """One bucket on the server, and a client that fills and reads it."""

    endpoint_url: str
    name: str
    client: Any

    def put(self, key: str, content: bytes | Path) -> None:
        data = content.read_bytes() if isinstance(content, Path) else content
        self.client.put_object(Bucket=self.name, Key=key, Body=data)

    def put_folder(self, folder: Path, prefix: str) -> None:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                self.put(f"{prefix}/{file.relative_to(folder).as_posix()}", file)

    def get(self, key: str) -> bytes:
        content: bytes = self.client.get_object(Bucket=self.name, Key=key)["Body"].read()
        return content

    def delete(self, key: str) -> None:
        self.client.delete_object(Bucket=self.name, Key=key)

    def keys(self, prefix: str = "") -> set[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.name, Prefix=prefix
        )
        return {found["Key"] for page in pages for found in page.get("Contents", ())}

    def url(self, key: str) -> str:
        return f"s3://{self.name}/{key}"


CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": secrets.token_hex(8),
    "AWS_SECRET_ACCESS_KEY": secrets.token_hex(16),
    "AWS_EC2_METADATA_DISABLED": "true",
}


@contextmanager
def s3_server() -> Iterator[str]:
    """The address of a server that runs for the time of the block."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def make_bucket(endpoint_url: str) -> Bucket:
    """A new bucket with a name of its own."""
    client = boto3.client(
        "s3",
        endpoint_url=endpoint_url,
        region_name="us-east-1",
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
    )
    name = f"bucket-{secrets.token_hex(4)}"
    client.create_bucket(Bucket=name)
    return Bucket(endpoint_url, name, client)


class Faulty:
    """A server in front of the S3 server that lets requests fail.

    `fault` is told the method, the path and how often that path was asked for with that method
    before; it answers None, a status (500, 503), `cut` (the connection ends in the middle of the
    content), `short` (half the content, which claims to be all) or `changed` (the object is
    replaced first, by `replace`).
    """

    def __init__(self, behind: str) -> None:
        self.fault: Callable[[str, str, int], int | str | None] = lambda method, path, before: None
        self.replace: Callable[[], None] = lambda: None
        self.asked: Counter[tuple[str, str]] = Counter()
        self._behind = urlsplit(behind).netloc
        faulty = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def __getattr__(self, name: str) -> Any:
                if name.startswith("do_"):
                    return lambda: faulty.answer(self)
                raise AttributeError(name)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> "Faulty":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Pass a request on, or let it fail."""
        path = unquote(request.path.partition("?")[0])
        before = self.asked[request.command, path]
        self.asked[request.command, path] += 1
        fault = self.fault(request.command, path, before)
        if fault == "changed":
            self.replace()
        content = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        if isinstance(fault, int):
            request.send_response(fault)
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        there = HTTPConnection(self._behind, timeout=30)
        there.request(request.command, request.path, content, dict(request.headers))
        found = there.getresponse()
        body = found.read()
        there.close()
        half = body[: len(body) // 2]
        request.send_response(found.status)
        for name, value in found.getheaders():
            if name.lower() not in ("content-length", "connection", "transfer-encoding"):
                request.send_header(name, value)
        length = found.getheader("Content-Length", str(len(body)))
        request.send_header("Content-Length", str(len(half)) if fault == "short" else length)
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(half if fault in ("cut", "short") else body)
        if fault == "cut":
            request.wfile.flush()
            request.close_connection = True
            request.connection.shutdown(socket.SHUT_RDWR)
