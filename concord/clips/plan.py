"""The plan: which clips and texts there are and which shard holds each, as files that rules read.

Only the main process scans and plans; the jobs read what it wrote.
"""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from concord.clips.describe import Described
from concord.clips.ledger import assign
from concord.clips.prompts import texts
from concord.clips.survey import Survey, survey
from concord.clips.vanished import vanished
from concord.config import Config
from concord.errors import UserError
from concord.files import write_text_if_changed
from concord.models.base import COMPANIONS, Modality
from concord.remote.urls import is_remote
from concord.tables import (
    CLIPS,
    COMPANION_FILES,
    LABELS,
    PLAN,
    TEXTS,
    Table,
    read_if_sound,
    write_table_if_changed,
)


def plan(config: Config) -> dict[str, list[str]]:
    """Scan every collection once and write what changed under results/clips and results/prompts.

    Returns the shards of each collection. Files whose content stays are not touched, so that
    Snakemake sees no change. Raises UserError with all mistakes of the inputs, and if results would
    be lost.
    """
    found = survey(config)
    if problems := _problems(config, found):
        raise UserError(*problems)
    for name, prompts in found.prompts.items():
        _write_texts(config, name, planned_texts(config, prompts))
    return {
        name: _write_clips(config, name, described) for name, described in found.collections.items()
    }


def planned_texts(config: Config, prompts: pa.Table) -> pa.Table:
    """The texts of PROMPTS that are embedded, as TEXTS; in a trial run, those it may come to.

    Which collections are planned makes no difference, since some come later than others.
    """
    if config.limit is not None:
        prompts = prompts.slice(0, config.limit + config.media.skip_count)
    return texts(prompts)


def _would_be_lost(config: Config, found: dict[str, Described]) -> list[str]:
    """Collections whose larger run in this results folder a trial run would cut down."""
    if config.limit is None:
        return []
    lost = []
    for name, described in found.items():
        path = config.results / "clips" / name / "clips.parquet"
        planned = read_if_sound(path, CLIPS, ["clip_id", "path", "shard"])
        if planned is None:
            continue  # it is written anew
        planned = planned.filter(pc.is_valid(planned["shard"]))
        kept = pc.is_in(planned["clip_id"], value_set=described.plan["clip_id"])
        dropped = planned.filter(pc.invert(kept))["path"].to_pylist()
        if len(planned) > config.limit and any(
            is_remote(path) or Path(path).exists() for path in dropped
        ):
            lost.append(
                f"limit: {config.results} holds a run with {len(planned)} clips of {name}; a trial "
                f"with {config.limit} would drop the others: set `results:` to another folder"
            )
    return lost


def problems(config: Config) -> list[str]:
    """Everything that is wrong with the inputs, all at once; nothing is written."""
    return _problems(config, survey(config))


def _problems(config: Config, found: Survey) -> list[str]:
    lost = [vanished(config, name, described) for name, described in found.collections.items()]
    return [
        *found.problems,
        *_would_be_lost(config, found.collections),
        *(text for text in lost if text),
    ]


def shards(config: Config, collection: str) -> list[str]:
    """The shards of a collection, as planned; nothing is scanned."""
    return _read_shards(config.results / "clips" / collection)


def companions(config: Config, collection: str) -> list[Modality]:
    """The modalities for which files beside the clips of a collection are planned."""
    path = config.results / "clips" / collection / "companions.json"
    names: list[Modality] = _read_names(path) if path.exists() else []
    return names


def text_shards(config: Config, prompt_set: str) -> list[str]:
    """The shards of a prompt set, as planned."""
    return _read_shards(config.results / "prompts" / prompt_set)


def _read_shards(folder: Path) -> list[str]:
    return _read_names(folder / "shards.json")


def _read_names(path: Path) -> list[Any]:
    try:
        names: list[Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path}: not there yet; run snakemake first") from error
    except ValueError as error:
        raise UserError(f"{path}: damaged ({error}); delete it and run again") from error
    return names


def _write_clips(config: Config, name: str, described: Described) -> list[str]:
    folder = config.results / "clips" / name
    shard = assign(folder / "ledger.parquet", described.members, config.clips.shard_size)
    names = _write_shards(folder / "plan", PLAN, described.plan, shard)
    write_text_if_changed(folder / "shards.json", json.dumps(names) + "\n")
    _write_companions(folder, described, shard)
    write_table_if_changed(folder / "labels.parquet", LABELS, described.labels)
    write_table_if_changed(folder / "clips.parquet", CLIPS, _with_shards(described, shard))
    return names


def _write_companions(folder: Path, described: Described, shard: pa.Array) -> None:
    """Plan the files beside the clips, each modality apart, so that one touches no other."""
    rows = described.companions
    for modality in COMPANIONS:
        own = rows.filter(pc.equal(rows["modality"], modality))
        of_rows = shard if modality in described.modalities else shard[:0]
        _write_shards(folder / "companions" / modality, COMPANION_FILES, own, of_rows)
    write_text_if_changed(folder / "companions.json", json.dumps(described.modalities) + "\n")


def _with_shards(described: Described, shard: pa.Array) -> pa.Table:
    clips = described.clips
    places = pc.index_in(clips["clip_id"], value_set=described.plan["clip_id"].combine_chunks())
    names = _names(shard).take(places)
    return clips.set_column(CLIPS.names.index("shard"), CLIPS.schema.field("shard"), names)


def _write_texts(config: Config, name: str, data: pa.Table) -> None:
    """Plan the texts (TEXTS) of a prompt set."""
    folder = config.results / "prompts" / name
    zeros = pa.repeat(pa.scalar(0, pa.int64()), len(data))
    members = pa.table({"id": data["text_id"], "size": zeros, "mtime_ns": zeros})
    shard = assign(folder / "ledger.parquet", members, config.clips.shard_size)
    names = _write_shards(folder / "plan", TEXTS, data, shard)
    write_text_if_changed(folder / "shards.json", json.dumps(names) + "\n")


def _write_shards(folder: Path, table: Table, rows: pa.Table, shard: pa.Array) -> list[str]:
    """One file a shard in the folder; `shard` has the number of each row's. Returns the names."""
    order = pc.sort_indices(shard)  # stable: rows keep their order within a shard
    rows, shard = rows.take(order), shard.take(order)
    runs = pc.value_counts(shard).to_pylist()
    names, start = [], 0
    for run in runs:
        names.append(f"{run['values']:04d}")
        part = rows.slice(start, run["counts"])
        write_table_if_changed(folder / f"{names[-1]}.parquet", table, part)
        start += run["counts"]
    for path in folder.glob("*.parquet"):
        if path.stem not in names:
            path.unlink()
    return names


def _names(shard: pa.Array) -> pa.Array:
    return pc.utf8_lpad(shard.cast(pa.string()), 4, "0")
