"""Objects by any storage plugin of Snakemake that can list, with what all of them can tell."""

import asyncio
import importlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_common.logging import get_logger

from concord.errors import UserError, shortened
from concord.remote.storage import ChangedError, GoneError, Stamp
from concord.remote.urls import Url
from concord.scratch import scratch_root


@dataclass
class _Inventory:
    """What a plugin's inventory fills."""

    exists_local: dict[str, bool] = field(default_factory=dict)
    exists_in_storage: dict[str, bool] = field(default_factory=dict)
    mtime: dict[str, Any] = field(default_factory=dict)
    size: dict[str, int] = field(default_factory=dict)
    checksum: dict[str, str | None] = field(default_factory=dict)


class PluginStorage:
    """A concord.remote.storage.Storage; see there.

    Whatever else than a missing object goes wrong is taken for the server's fault.
    """

    def __init__(self, plugin: str) -> None:
        module = importlib.import_module(f"snakemake_storage_plugin_{plugin}")
        settings = getattr(module, "StorageProviderSettings", None)
        self.prefix = scratch_root()
        self.provider = module.StorageProvider(
            local_prefix=self.prefix, logger=get_logger(), settings=settings and settings()
        )

    def list_folder(self, folder: Url) -> Iterator[tuple[str, Stamp]]:
        found = _Inventory()
        asked = self.provider.object(folder.below("object"))
        self._run(folder, asked.inventory(found))
        if not found.exists_in_storage.get(asked.get_inventory_parent(), True):
            raise UserError(f"{folder}: there is no such bucket")
        start = f"{Path(asked.cache_key()).parent}/"
        for key, size in found.size.items():
            if key.startswith(start) and key in found.mtime:
                seconds = found.mtime[key].storage() or 0.0
                yield key[len(start) :], Stamp(size, round(seconds * 10**9))

    def stamp(self, url: Url) -> Stamp:
        asked = self.provider.object(str(url))
        if not self._run(url, asked.managed_exists()):
            raise GoneError
        seconds = self._run(url, asked.managed_mtime())
        return Stamp(self._run(url, asked.managed_size()), round(seconds * 10**9))

    def retrieve(self, url: Url, target: Path) -> Stamp:
        before = self.stamp(url)
        asked = self.provider.object(str(url))
        asked.set_local_path(target)
        self._run(url, asked.managed_retrieve())
        if self.stamp(url) != before or target.stat().st_size != before.size:
            raise ChangedError
        return before

    def store(self, source: Path, url: Url) -> Stamp:
        asked = self.provider.object(str(url))
        asked.set_local_path(source)
        self._run(url, asked.managed_store())
        return self.stamp(url)

    def remove(self, url: Url) -> None:
        raise UserError(f"{url}: what is no longer there locally is deleted on s3:// alone")

    def _run(self, url: Url, work: Any) -> Any:
        try:
            return asyncio.run(work)
        except (WorkflowError, OSError) as error:
            raise UserError(f"{url}: {shortened(error)}") from error
