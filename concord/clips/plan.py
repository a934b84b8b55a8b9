"""The plan: which clips and texts there are and which shard holds each, as files that rules read.

Only the main process scans and plans; the jobs read what it wrote.
"""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from concord.clips.describe import Described
from concord.clips.ledger import assign
from concord.clips.prompts import texts
from concord.clips.survey import Survey, survey
from concord.config import Config
from concord.errors import UserError
from concord.files import write_text_if_changed
from concord.tables import CLIPS, PLAN, TEXTS, Table, read_table, write_table_if_changed


def plan(config: Config) -> dict[str, list[str]]:
    """Scan every collection once and write what changed under results/clips and results/prompts.

    Returns the shards of each collection. Files whose content stays are not touched, so that
    Snakemake sees no change. Raises UserError with all mistakes of the inputs.
    """
    found = survey(config)
    if problems := found.problems + _would_be_lost(config):
        raise UserError(*problems)
    for name in found.prompts:
        _write_texts(config, name, found)
    return {
        name: _write_clips(config, name, described) for name, described in found.collections.items()
    }


def _would_be_lost(config: Config) -> list[str]:
    """Collections whose full run in this results folder a trial run would cut down."""
    if config.limit is None:
        return []
    lost = []
    for name in config.collections:
        path = config.results / "clips" / name / "clips.parquet"
        if path.exists():
            planned = read_table(path, CLIPS, ["shard"])["shard"]
            count = len(planned) - planned.null_count
            if count > config.limit:
                lost.append(
                    f"limit: {config.results} holds a run with {count} clips of {name}; a trial "
                    f"with {config.limit} would drop the others: set `results:` to another folder"
                )
    return lost


def problems(config: Config) -> list[str]:
    """Everything that is wrong with the inputs, all at once; nothing is written."""
    return survey(config).problems


def shards(config: Config, collection: str) -> list[str]:
    """The shards of a collection, as planned; nothing is scanned."""
    return _read_shards(config.results / "clips" / collection)


def text_shards(config: Config, prompt_set: str) -> list[str]:
    """The shards of a prompt set, as planned."""
    return _read_shards(config.results / "prompts" / prompt_set)


def _read_shards(folder: Path) -> list[str]:
    path = folder / "shards.json"
    try:
        names: list[str] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path}: not there yet; run snakemake or `concord plan` first") from error
    except ValueError as error:
        raise UserError(f"{path}: damaged ({error}); delete it and run again") from error
    return names


def _write_clips(config: Config, name: str, described: Described) -> list[str]:
    folder = config.results / "clips" / name
    shard = assign(folder / "ledger.parquet", described.members, config.clips.shard_size)
    names = _write_shards(folder, PLAN, described.plan, shard)
    write_table_if_changed(folder / "clips.parquet", CLIPS, _with_shards(described, shard))
    return names


def _with_shards(described: Described, shard: pa.Array) -> pa.Table:
    clips = described.clips
    places = pc.index_in(clips["clip_id"], value_set=described.plan["clip_id"].combine_chunks())
    names = _names(shard).take(places)
    return clips.set_column(CLIPS.names.index("shard"), CLIPS.schema.field("shard"), names)


def _write_texts(config: Config, name: str, found: Survey) -> None:
    """Plan the texts of a prompt set; in a trial run, only those of the clips that take part."""
    folder = config.results / "prompts" / name
    rows = found.prompts[name]
    if config.limit is not None:
        tables = [
            described.clips.filter(pc.is_valid(described.clips["clip_id"]))
            for collection, described in found.collections.items()
            if config.prompt_set(collection) == name
        ]
        rows = pa.concat_tables([CLIPS.schema.empty_table(), *tables])
    data = texts(rows)
    zeros = pa.repeat(pa.scalar(0, pa.int64()), len(data))
    members = pa.table({"id": data["text_id"], "size": zeros, "mtime_ns": zeros})
    shard = assign(folder / "ledger.parquet", members, config.clips.shard_size)
    _write_shards(folder, TEXTS, data, shard)


def _write_shards(folder: Path, table: Table, rows: pa.Table, shard: pa.Array) -> list[str]:
    """One plan file a shard; `shard` has the number of each row's. Returns the names."""
    order = pc.sort_indices(shard)  # stable: rows keep their order within a shard
    rows, shard = rows.take(order), shard.take(order)
    runs = pc.value_counts(shard).to_pylist()
    names, start = [], 0
    for run in runs:
        names.append(f"{run['values']:04d}")
        part = rows.slice(start, run["counts"])
        write_table_if_changed(folder / "plan" / f"{names[-1]}.parquet", table, part)
        start += run["counts"]
    write_text_if_changed(folder / "shards.json", json.dumps(names) + "\n")
    for path in (folder / "plan").glob("*.parquet"):
        if path.stem not in names:
            path.unlink()
    return names


def _names(shard: pa.Array) -> pa.Array:
    return pc.utf8_lpad(shard.cast(pa.string()), 4, "0")
