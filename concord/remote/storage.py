"""What Concord asks of a storage, and the storages of this process."""

import functools
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from concord.errors import UserError
from concord.remote.settings import ENVIRONMENT
from concord.remote.urls import PLUGINS, Url


@dataclass(frozen=True)
class Stamp:
    """What tells whether an object has changed: size in bytes, ETag, else modification time."""

    size: int
    mtime_ns: int
    etag: str | None = None

    @property
    def version(self) -> str:
        """The ETag, which stays where the same bytes are written anew, else the time."""
        return self.etag or str(self.mtime_ns)

    def __str__(self) -> str:
        return f"{self.size} {self.version}"


class GoneError(Exception):
    """There is no such object."""


class NotFetchedError(Exception):
    """An object that is there could not be read, after all tries; its text says why."""


class ChangedError(Exception):
    """An object was replaced while it was read."""


class Storage(Protocol):
    """Objects by their address, through a storage plugin of Snakemake.

    Every method raises UserError where the server or the configuration is at fault, as far as that
    can be told: no such bucket, wrong credentials, a server that does not answer.
    """

    def list_folder(self, folder: Url) -> Iterator[tuple[str, Stamp]]:
        """Key below the folder, and stamp, of every object there, in the order of the server."""

    def stamp(self, url: Url) -> Stamp:
        """What the object is like now. Raises GoneError."""

    def retrieve(self, url: Url, target: Path) -> Stamp:
        """Write the object to a local file; returns what it was like, the same all the while.

        Raises GoneError, ChangedError or NotFetchedError.
        """

    def store(self, source: Path, url: Url) -> Stamp:
        """Write a local file to the object; returns what it is like then."""

    def remove(self, url: Url) -> None:
        """Delete the object, if it is there."""


def storage(url: Url) -> Storage:
    """The storage of an address, the same one throughout a process.

    Raises UserError if the plugin for it is not installed.
    """
    return _open(url.scheme, os.environ.get(ENVIRONMENT) or "{}", os.getpid())


@functools.cache
def _open(scheme: str, settings: str, process: int) -> Storage:
    plugin = PLUGINS[scheme]
    try:
        if plugin == "s3":
            from concord.remote.s3 import S3

            given = json.loads(settings)
            return S3(**{key: given[key] for key in given if key != "ahead"})
        from concord.remote.plugin import PluginStorage

        return PluginStorage(plugin)
    except ImportError as error:
        raise UserError(
            f"{scheme}:// needs the package snakemake-storage-plugin-{plugin} ({error}); install "
            f"it: pip install snakemake-storage-plugin-{plugin}"
        ) from error
