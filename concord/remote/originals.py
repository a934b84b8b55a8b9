"""The files behind a row of a table, as they were planned: local ones, or objects to be fetched."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from concord.clips.keys import companion_key, plan_key
from concord.remote.fetch import UnusableError, fetch, stamp_of
from concord.remote.storage import Stamp
from concord.remote.urls import is_remote, safe_suffix


@dataclass(frozen=True)
class Original:
    """A clip and, if it has one, its separate sound, with the key of the plan; picklable."""

    clip_id: str
    path: str
    audio_path: str | None
    key: str

    @classmethod
    def of_media(cls, row: Mapping[str, Any]) -> "Original":
        """The original of a row of MEDIA."""
        return cls(row["clip_id"], row["path"], row["audio_path"], row["source_key"])

    @property
    def is_remote(self) -> bool:
        return is_remote(self.path) or is_remote(self.audio_path)

    def fetch(self, folder: Path, wanted: Sequence[str]) -> list[str]:
        """Local paths of the wanted ones of its files; objects are fetched into the folder.

        Raises UnusableError with `missing`, `changed` or `not_fetched`, UserError if the server or
        the configuration is at fault.
        """
        if not self.is_remote:
            return list(wanted)
        paths, stamps = _fetch(wanted, folder)
        files = [self.path, *([self.audio_path] if self.audio_path else [])]
        clip, *sound = (stamps.get(file) or stamp_of(file) for file in files)
        said = str(sound[0]) if sound else None
        if (
            plan_key(self.clip_id, self.path, clip.size, clip.version, self.audio_path, said)
            != self.key
        ):
            raise UnusableError(
                "changed", f"{self.path}: is another one than when the run was planned"
            )
        return paths


@dataclass(frozen=True)
class Beside:
    """A file beside a clip, as COMPANION_FILES names it; picklable."""

    modality: str
    clip_id: str
    path: str
    key: str

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> "Beside":
        """The file of a row of COMPANION_FILES."""
        return cls(row["modality"], row["clip_id"], row["path"], row["key"])

    @property
    def is_remote(self) -> bool:
        return is_remote(self.path)

    def fetch(self, folder: Path, wanted: Sequence[str]) -> list[str]:
        """As Original.fetch."""
        if not self.is_remote:
            return list(wanted)
        paths, stamps = _fetch(wanted, folder)
        stamp = stamps.get(self.path) or stamp_of(self.path)
        key = companion_key(self.modality, self.clip_id, self.path, str(stamp), None)
        if key != self.key:
            raise UnusableError(
                "changed", f"{self.path}: is another one than when the run was planned"
            )
        return paths


def _fetch(wanted: Sequence[str], folder: Path) -> tuple[list[str], dict[str, Stamp]]:
    paths, stamps = [], {}
    for number, path in enumerate(wanted):
        if not is_remote(path):
            paths.append(path)
            continue
        target = folder / f"object-{number}{safe_suffix(path)}"
        stamps[path] = fetch(path, target)
        paths.append(str(target))
    return paths, stamps
