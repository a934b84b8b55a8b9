"""Objects on S3-compatible storage, by snakemake-storage-plugin-s3."""

import asyncio
import hashlib
import logging
import os
import re
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import botocore.exceptions as faults
from boto3.exceptions import Boto3Error
from s3transfer.exceptions import RetriesExceededError, S3DownloadFailedError
from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_common.logging import get_logger
from snakemake_storage_plugin_s3 import StorageObject, StorageProvider, StorageProviderSettings

from concord.errors import UserError, shortened
from concord.remote.storage import ChangedError, GoneError, NotFetchedError, Stamp
from concord.remote.urls import Url
from concord.scratch import scratch_root

GONE = {"404", "NoSuchKey", "NotFound"}
CHANGED = {"412", "PreconditionFailed"}
BUCKET = {"NoSuchBucket": "there is no such bucket", "InvalidBucketName": "no name of a bucket"}
REFUSED = {
    *("401", "403", "AccessDenied", "AllAccessDisabled", "AuthorizationHeaderMalformed"),
    *("ExpiredToken", "InvalidAccessKeyId", "InvalidToken", "SignatureDoesNotMatch"),
    *("RequestTimeTooSkewed", "TokenRefreshRequired"),
}
PAGE = 1000
"""Objects in one answer of a list, as many as S3 gives."""
MD5 = re.compile(r"[0-9a-f]{32}")
PLUGIN_VARIABLES = {
    "access_key": "SNAKEMAKE_STORAGE_S3_ACCESS_KEY",
    "secret_key": "SNAKEMAKE_STORAGE_S3_SECRET_KEY",
    "token": "SNAKEMAKE_STORAGE_S3_TOKEN",
    "endpoint_url": "SNAKEMAKE_STORAGE_S3_ENDPOINT_URL",
    "region": "SNAKEMAKE_STORAGE_S3_REGION",
}
_TOUCHED = threading.Lock()
"""Held while a boto3 resource makes another, which is not safe among threads."""


class _Object(StorageObject):  # type: ignore[misc]
    """The plugin's object, of exactly this key, asked for once, and never taken for a folder."""

    def __post_init__(self) -> None:
        super().__post_init__()
        # The plugin reads an address as a URL: it loses what follows ? or #, and normalises.
        self.key = Url(self.query).key
        self._object: Any = None
        self.error: Exception | None = None

    def s3obj(self, subkey: str | None = "") -> Any:
        with _TOUCHED:
            if self._object is None:
                self._object = super().s3obj()
            return self._object

    def is_dir(self) -> bool:
        return False

    def bucket_exists(self) -> bool:
        """Whether it does has been seen; the plugin would create one that does not."""
        return True

    def retrieve_object(self) -> None:
        with self._remembered():
            super().retrieve_object()

    def store_object(self) -> None:
        with self._remembered():
            super().store_object()

    @contextmanager
    def _remembered(self) -> Iterator[None]:
        """Keep what went wrong, which the plugins' API turns into words."""
        try:
            yield
        except Exception as error:
            self.error = error
            raise

    def stamp(self) -> Stamp:
        found = self.s3obj()
        time_ns = round(found.last_modified.timestamp()) * 10**9
        return Stamp(found.content_length, time_ns, found.e_tag.strip('"'))


class S3:
    """A concord.remote.storage.Storage; see there."""

    def __init__(
        self, endpoint_url: str | None = None, region: str | None = None, retries: int = 5
    ) -> None:
        given = {key: os.environ.get(name) for key, name in PLUGIN_VARIABLES.items()}
        chosen = {"endpoint_url": endpoint_url, "region": region}
        given |= {key: value for key, value in chosen.items() if value is not None}
        self.retries = retries
        # More threads than pooled connections cost a new connection, and no warning each time.
        logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
        try:
            self.provider = StorageProvider(
                local_prefix=scratch_root(),
                logger=get_logger(),
                settings=StorageProviderSettings(**given, retries=retries),
            )
        except (faults.BotoCoreError, ValueError) as error:
            raise UserError(f"remote: {shortened(error)}") from error

    def list_folder(self, folder: Url) -> Iterator[tuple[str, Stamp]]:
        prefix = f"{folder.key}/" if folder.key else ""
        client = self.provider.s3c.meta.client
        try:
            for page in client.get_paginator("list_objects_v2").paginate(
                Bucket=folder.bucket, Prefix=prefix, PaginationConfig={"PageSize": PAGE}
            ):
                for found in page.get("Contents", ()):
                    time_ns = round(found["LastModified"].timestamp()) * 10**9
                    etag = found.get("ETag", "").strip('"') or None
                    yield found["Key"][len(prefix) :], Stamp(found["Size"], time_ns, etag)
        except (faults.BotoCoreError, faults.ClientError) as error:
            raise UserError(_explained(folder, error)) from error

    def stamp(self, url: Url) -> Stamp:
        return self._stamped(self._object(url))

    def retrieve(self, url: Url, target: Path) -> Stamp:
        why = ""
        for _ in range(self.retries):
            given = self._object(url, target)
            before = self._stamped(given)
            self._free_space(given, url)
            try:
                _wait(given.managed_retrieve())
            except WorkflowError as error:
                cause = given.error or error
                if isinstance(cause, S3DownloadFailedError) or _code(cause) in CHANGED:
                    continue  # read it anew, as it is now
                self._raise(url, cause)
            if why := _difference(target, before, given.s3obj()):
                continue
            if MD5.fullmatch(before.etag or "") or self.stamp(url) == before:
                return before
        if why:
            raise NotFetchedError(why)
        raise ChangedError

    def store(self, source: Path, url: Url) -> Stamp:
        given = self._object(url, source)
        try:
            _wait(given.managed_store())
        except WorkflowError as error:
            cause = given.error or error
            raise UserError(_explained(url, cause)) from error
        now = self.stamp(url)
        if now.size != source.stat().st_size:
            raise UserError(
                f"{url}: {now.size} bytes arrived of {source.stat().st_size}; run again"
            )
        return now

    def remove(self, url: Url) -> None:
        # The plugin's own `remove` also deletes a bucket that is empty then.
        try:
            self._object(url).s3obj().delete()
        except (faults.BotoCoreError, faults.ClientError) as error:
            raise UserError(_explained(url, error)) from error

    def _object(self, url: Url, local: Path | None = None) -> _Object:
        made = _Object(query=str(url), keep_local=True, retrieve=True, provider=self.provider)
        if local:
            made.set_local_path(local)
        return made

    def _stamped(self, given: _Object) -> Stamp:
        try:
            return given.stamp()
        except (faults.BotoCoreError, faults.ClientError) as error:
            self._raise(Url(given.query), error)

    def _free_space(self, given: _Object, url: Url) -> None:
        try:
            _wait(given.wait_for_free_space())
        except WorkflowError as error:
            raise UserError(
                f"{url}: does not fit on the disk of temporary files: {error}"
            ) from error

    def _raise(self, url: Url, error: BaseException) -> NoReturn:
        """Raise what an error says: the object is gone, it is broken, or all of it is."""
        code = _code(error)
        if code in GONE:
            if code == "404":  # of a HEAD, which does not tell objects from buckets
                self._check_bucket(url)
            raise GoneError from error
        broken = isinstance(error, RetriesExceededError | faults.IncompleteReadError)
        silent = isinstance(error, faults.HTTPClientError | faults.ConnectionError | Boto3Error)
        if code not in REFUSED and code not in BUCKET and (broken or silent or code):
            raise NotFetchedError(shortened(_words(error))) from error
        raise UserError(_explained(url, error)) from error

    def _check_bucket(self, url: Url) -> None:
        try:
            self.provider.s3c.meta.client.head_bucket(Bucket=url.bucket)
        except faults.ClientError as error:
            if _code(error) in GONE | BUCKET.keys():
                raise UserError(f"{url}: there is no bucket {url.bucket!r}") from error
        except faults.BotoCoreError as error:
            raise UserError(_explained(url, error)) from error


def _wait(work: Coroutine[Any, Any, Any]) -> None:
    """Run a coroutine of the plugin's, from a loop of Snakemake's too."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(work)
        return
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, work).result()


def _difference(file: Path, wanted: Stamp, found: Any) -> str:
    """How a file differs from its object; nothing if it does not, as far as can be told."""
    size = file.stat().st_size
    if size != wanted.size:
        return f"{size} bytes came of {wanted.size}"
    encrypted = (found.server_side_encryption or "").startswith("aws:kms")
    if encrypted or found.sse_customer_algorithm or not MD5.fullmatch(wanted.etag or ""):
        return ""  # the ETag is no digest of the content
    with file.open("rb") as content:
        digest = hashlib.file_digest(content, lambda: hashlib.md5(usedforsecurity=False))
    return "" if digest.hexdigest() == wanted.etag else "the content does not have its ETag's MD5"


def _code(error: BaseException) -> str | None:
    response = getattr(error, "response", None)
    if not isinstance(response, dict):
        return None
    return str(response.get("Error", {}).get("Code") or "")


def _words(error: BaseException) -> str:
    last = getattr(error, "last_exception", None)
    return f"{error}" + (f": {last}" if last else "")


def _explained(url: Url, error: BaseException) -> str:
    """A server's answer as what a user can mend."""
    code = _code(error)
    said = shortened(_words(error))
    if code in BUCKET:
        return f"{url}: {BUCKET[code]} {url.bucket!r} on this server"
    if code in REFUSED:
        return (
            f"{url}: the server refuses these credentials ({said}); set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, to some that may do this"
        )
    if isinstance(error, faults.NoCredentialsError | faults.PartialCredentialsError):
        return (
            f"{url}: no credentials found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
            "write them with `aws configure`; docs/remote.md has all ways"
        )
    if isinstance(error, faults.HTTPClientError | faults.ConnectionError):
        return (
            f"{url}: the server does not answer ({said}); see whether remote.endpoint_url is "
            "right, and whether this machine reaches it"
        )
    return f"{url}: {said}"
