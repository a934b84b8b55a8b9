"""Large files from the network: resumed where they broke off, whole or not there at all."""

import fcntl
import os
import re
import time
from collections.abc import Callable
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import BinaryIO
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from concord.errors import UserError
from concord.models.weights import sha256 as digest_of
from concord.progress import Progress

CONTACT_S = 10.0
"""How long a server may take to answer; a machine without network shall say so soon."""
TIMEOUT_S = 60.0
"""How long a download may stand still."""
FIRST_TRIES, FRUITLESS_TRIES = 2, 3
"""Tries in a row that bring nothing before it is given up: at first, and once something came."""
WAIT_S = 2.0
OFFLINE, YES = "HF_HUB_OFFLINE", ("1", "ON", "YES", "TRUE")
"""The variable that keeps hubs from being asked, and what its client takes for yes."""
CHUNK = 1 << 20


def cache_folder() -> Path:
    """Where this user's downloads are kept: $XDG_CACHE_HOME/concord, else ~/.cache/concord."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "concord"


def fetch(
    url: str,
    path: Path,
    *,
    sha256: str | None = None,
    check: Callable[[Path], bool] = Path.is_file,
    hint: str,
) -> Path:
    """Download `url` to `path` unless it is there, and return `path`.

    What has arrived stays in `path`.part, and the next call goes on from there; of two processes
    that want the same file, one waits for the other. The file gets its name when it has its full
    length, the digest `sha256` if that is known, and passes `check`. Raises UserError, which ends
    with `hint` (what the user can do), when it cannot be fetched, is not the right file, or cannot
    be kept where it should be.
    """
    part = path.with_name(f"{path.name}.part")
    if not path.exists() and os.environ.get(OFFLINE, "").upper() in YES:
        raise UserError(f"{path} is not there, and {OFFLINE} says to fetch nothing. {hint}")
    while not path.exists():
        with _open_locked(part, hint) as file:
            if not part.exists() or not os.path.samestat(os.fstat(file.fileno()), part.stat()):
                continue  # who held it before has finished, or has thrown it away
            if not path.exists():
                _complete(url, file, hint)
                _verify(url, part, sha256, check, hint)
                part.replace(path)
            else:
                part.unlink()
    return path


def _open_locked(part: Path, hint: str) -> BinaryIO:
    """A file to append to, in a folder that is made, once no other process has it."""
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        file = part.open("ab")
    except OSError as error:
        raise UserError(
            f"{part} cannot be written ({error.strerror}); set XDG_CACHE_HOME to a folder that "
            f"can. {hint}"
        ) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError as error:
        file.close()
        raise UserError(
            f"{part} cannot be locked ({error.strerror}), so two processes might write it at once; "
            f"set XDG_CACHE_HOME to a folder on a disk of this machine. {hint}"
        ) from error
    return file


def _complete(url: str, file: BinaryIO, hint: str) -> None:
    """Fetch what a file lacks, trying again as long as something comes."""
    tries, allowed = 0, FIRST_TRIES
    while True:
        before = file.tell()
        try:
            _go_on(url, file)
        except (OSError, HTTPException) as error:
            if file.tell() > before:
                tries, allowed = 0, FRUITLESS_TRIES
            tries += 1
            hopeless = isinstance(error, HTTPError) and error.code in (401, 403, 404, 410)
            if hopeless or tries == allowed:
                kept = f"; the next try goes on after the {file.tell()} bytes in {file.name}"
                raise UserError(
                    f"{url} could not be fetched ({type(error).__name__}: {error})"
                    f"{kept if file.tell() else ''}. {hint}"
                ) from error
            time.sleep(WAIT_S)
        else:
            file.flush()
            os.fsync(file.fileno())
            return


def _go_on(url: str, file: BinaryIO) -> None:
    """Append the rest of `url` to a file; from the start where the server cannot do otherwise.

    Raises OSError or HTTPException when the connection fails or ends early.
    """
    have = file.tell()
    request = Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = _contact(request)
    except HTTPError as error:
        if error.code == 416 and error.headers.get("Content-Range") == f"bytes */{have}":
            return  # everything was there
        if error.code == 416:
            file.truncate(0)
            file.seek(0)
        raise
    with response:
        start, total = _extent(response)
        if start != have:
            file.truncate(0)
            file.seek(0)
        size = None if total is None else total - start
        progress = Progress(f"MB of {url.rsplit('/', 1)[-1]}", (size or 0) // CHUNK)
        while chunk := response.read(CHUNK):
            file.write(chunk)
            progress.step()
    if total is not None and file.tell() != total:
        raise ConnectionError(f"ended after {file.tell()} of {total} bytes")


def _contact(request: Request) -> HTTPResponse:
    """What the server answers. Raises OSError or HTTPException if it does not, in time.

    The time includes looking up its name, and trying all its addresses one after the other.
    """
    answers: Queue[HTTPResponse | Exception] = Queue()

    def ask() -> None:
        try:
            answers.put(urlopen(request, timeout=TIMEOUT_S))
        except Exception as error:
            answers.put(error)

    Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=CONTACT_S)
    except Empty:
        raise TimeoutError(f"no answer in {CONTACT_S:g} s") from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _extent(response: HTTPResponse) -> tuple[int, int | None]:
    """The first byte that a response brings, and the length of the whole file if it is told."""
    if response.status == 206:
        told = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers["Content-Range"] or "")
        if told is None:
            raise ConnectionError(f"Content-Range {response.headers['Content-Range']!r}")
        return int(told[1]), int(told[2])
    length = response.headers["Content-Length"]
    return 0, int(length) if length else None


def _verify(
    url: str, part: Path, sha256: str | None, check: Callable[[Path], bool], hint: str
) -> None:
    """Throw the file away, and raise UserError, if it is not the right one."""
    found = digest_of(part) if sha256 else None
    if found != (sha256.lower() if sha256 else None):
        fault = f"has the digest {found}, expected {sha256}"
    elif not check(part):
        fault = "arrived damaged"
    else:
        return
    part.unlink()
    raise UserError(f"{url} {fault}; it was not kept. Run again to fetch it anew. {hint}")
