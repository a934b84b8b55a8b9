"""Addresses of objects and of their folders: s3://bucket/prefix. Light to import."""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic_core import CoreSchema, core_schema

PLUGINS = {"s3": "s3", "gs": "gcs"}
"""The storage plugin of Snakemake for each scheme of addresses."""

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class Url(str):
    """An address: scheme, bucket, and the key of an object or the prefix of many.

    A prefix is written without the slash at its end. Raises ValueError for what is no address.
    """

    def __new__(cls, text: str) -> "Url":
        found = _ADDRESS.fullmatch(text)
        if not found or found[1].lower() not in PLUGINS:
            raise ValueError(f"Input should be an address such as s3://bucket/prefix{_known()}")
        bucket, _, key = found[2].partition("/")
        if not _BUCKET.fullmatch(bucket):
            raise ValueError(
                "Input should name a bucket after ://, in letters, digits, . _ and - alone; "
                "credentials belong into the environment"
            )
        key = key.strip("/")
        return super().__new__(cls, f"{found[1].lower()}://{bucket}" + (f"/{key}" if key else ""))

    @property
    def scheme(self) -> str:
        return self.partition("://")[0]

    @property
    def bucket(self) -> str:
        return self.partition("://")[2].partition("/")[0]

    @property
    def key(self) -> str:
        """What stands below the bucket, without a slash at either end."""
        return self.partition("://")[2].partition("/")[2]

    @property
    def suffix(self) -> str:
        return os.path.splitext(self.key)[1]  # noqa: PTH122

    @property
    def folder(self) -> "Url":
        """The folder that holds this; a bucket holds itself."""
        return Url(f"{self.scheme}://{self.bucket}/{self.key.rpartition('/')[0]}")

    def below(self, relative: str) -> str:
        """The address of what lies below; kept as it is, whatever its name."""
        return f"{self}/{relative}"

    def holds(self, other: str) -> bool:
        """Whether an address is this one or lies below it."""
        return other == self or other.startswith(f"{self}/")

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> CoreSchema:
        return core_schema.is_instance_schema(cls, serialization=core_schema.to_string_ser_schema())


Place = Path | Url


def is_address(text: str) -> bool:
    """Whether a text is written as an address, of whatever scheme."""
    return _ADDRESS.match(text) is not None


def names_object(text: str) -> bool:
    """Whether a text is an address of one of the schemes that are known."""
    found = _ADDRESS.match(text)
    return found is not None and found[1].lower() in PLUGINS


def is_remote(path: str | Path | None) -> bool:
    """Whether a path of a table is an address; local ones are absolute."""
    return isinstance(path, str) and not path.startswith("/") and is_address(path)


def place(text: str | Path) -> Place:
    """A path, or an address if it is written as one. Raises ValueError for a wrong address."""
    return Url(text) if isinstance(text, str) and is_address(text) else Path(text)


def common_folder(folders: Iterable[str]) -> str:
    """The folder that all these lie in, as written: paths or addresses."""
    texts = list(folders)
    if not any(map(is_remote, texts)):
        return os.path.commonpath(texts)
    if not all(map(is_remote, texts)):
        return ", ".join(sorted(texts))
    return os.path.commonpath([text.replace("://", ":/", 1) for text in texts]).replace(
        ":/", "://", 1
    )


def safe_suffix(path: str) -> str:
    """A plain extension, in lower case, for a name of our own; nothing if there is none."""
    suffix = os.path.splitext(path)[1].lower()  # noqa: PTH122
    return suffix if suffix[1:].isascii() and suffix[1:].isalnum() and len(suffix) < 12 else ""


def _known() -> str:
    return f" ({', '.join(f'{scheme}://' for scheme in PLUGINS)})"
