"""What differs between two results folders: inputs, protocols, software, scores."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from concord import runs
from concord.errors import UserError
from concord.feature_tables import ALL_FEATURES
from concord.report_tables import ALL_CLIPS, ALL_MEDIA, ALL_RETRIEVAL, ALL_SCORES, STATUS, SUMMARY
from concord.tables import COMPANION_FILES, Table, read_any, read_metadata, read_table

Row = dict[str, Any]

SCORE = ("task", "model", "collection", "metric")
_SUMMED = ("n_expected", "n_scored", "mean", "ci_low", "ci_high")
_PROMPTS, _LABELS = ("video_prompt", "audio_prompt"), ("label", "group")
_PROBE = ("scope", "model", "modality", "probe", "split", "metric")
_SOFTWARE = ("concord", "commit", "python", "platform", "packages")


@dataclass(frozen=True)
class Run:
    """A results folder that a run has left. Raises UserError for a folder that is none."""

    folder: Path

    def __post_init__(self) -> None:
        if not self.folder.is_dir():
            found = "is a file" if self.folder.exists() else "does not exist"
            raise UserError(f"{self.folder} {found}; expected a results folder")
        if (self.folder / "tables" / "summary.parquet").is_file():
            return
        if not any((self.folder / name).exists() for name in (runs.OPEN, runs.LIST, "clips")):
            raise UserError(
                f"{self.folder} is no results folder: it has no tables/summary.parquet; expected "
                "the folder that `results:` names in the configuration of a run"
            )
        raise UserError(
            f"{self.folder}: no run into it has come to its tables yet; run snakemake to the end"
        )

    @property
    def unfinished(self) -> bool:
        """Whether a run began that has not ended, so that the tables may be of an earlier one."""
        return (self.folder / runs.OPEN).exists()

    @cached_property
    def made(self) -> Row:
        """What provenance.json says; nothing if it is missing or damaged."""
        return runs.read_json(self.folder / "provenance.json")

    def table(self, name: str, declared: Table, columns: Sequence[str]) -> pd.DataFrame:
        """Columns of a table. Raises UserError for one that is missing or of another version."""
        path = self.folder / "tables" / f"{name}.parquet"
        rows: pd.DataFrame = read_table(path, declared, list(columns)).to_pandas()
        return rows

    @cached_property
    def clips(self) -> pd.DataFrame:
        """Clips with their prompts and labels; the table has columns of scores too, which vary."""
        path = self.folder / "tables" / "clips.parquet"
        note = read_metadata(path) if path.is_file() else {}
        if note.get("version") != ALL_CLIPS.version:
            found = note.get("version", "none")
            raise UserError(
                f"{path}: expected version {ALL_CLIPS.version} of the table, found {found}; run "
                "snakemake in that folder again"
            )
        columns = ["collection", "clip_id", "path", *_PROMPTS, *_LABELS]
        rows: pd.DataFrame = read_any(path, columns).to_pandas()
        return rows[rows["clip_id"].notna()]

    @cached_property
    def companions(self) -> pd.DataFrame:
        """Files beside the clips: collection, clip_id, modality, path, key."""
        columns = ["clip_id", "modality", "path", "key"]
        found = [pd.DataFrame(columns=["collection", *columns], dtype=str)]
        for path in sorted(self.folder.glob("clips/*/companions/*/*.parquet")):
            rows = read_table(path, COMPANION_FILES, columns).to_pandas()
            found.append(rows.assign(collection=path.parts[-4]))
        return pd.concat(found, ignore_index=True)

    @cached_property
    def probes(self) -> pd.DataFrame:
        """What probes reached over all folds; nothing where none was asked for."""
        columns = [*_PROBE, "fold", "value", "n", "protocol_id"]
        if not (self.folder / "tables" / "probes.parquet").is_file():
            return pd.DataFrame(columns=columns)
        rows = self.table("probes", ALL_FEATURES["probes"], columns)
        return rows[rows["fold"].isna()].drop(columns="fold")

    @cached_property
    def scores(self) -> pd.DataFrame:
        """A row a score that there is: SCORE, clip_id, value; of retrieval, the rank."""
        columns = (*SCORE, "item", "clip_id", "status", "value")
        rows = self.table("scores", ALL_SCORES, columns)
        named = ("task", "model", "collection", "direction", "query", "status", "rank")
        ranks = self.table("retrieval", ALL_RETRIEVAL, named)
        ranks = ranks.rename(columns={"query": "clip_id", "rank": "value"})
        ranks["metric"] = ranks.pop("direction") + "/rank"
        every = pd.concat([rows.drop(columns="item"), ranks], ignore_index=True)
        return every[every["status"] == "ok"].drop(columns="status")

    @cached_property
    def protocols(self) -> dict[str, Row]:
        """Every protocol by what it is of: `media C`, `embeddings M/MODALITY`, `scores TASK/M`."""
        found: dict[str, Row] = {}
        for path in sorted(self.folder.glob("media/*/*/media.parquet")):
            found.setdefault(f"media of {path.parts[-3]}", _protocol(path))
        for path in sorted(self.folder.glob("embeddings/*/*/*/*.parquet")):
            found.setdefault(f"embeddings {path.parts[-4]}/{path.parts[-3]}", _protocol(path))
        known = read_metadata(self.folder / "tables" / "summary.parquet").get("protocols", {})
        for _, row in self.summary.iterrows():
            name = f"scores {row['task']}/{row['model']}"
            found.setdefault(name, known.get(row["protocol_id"], {}))
        return found

    @cached_property
    def summary(self) -> pd.DataFrame:
        """The means, with how many values are behind each."""
        return self.table("summary", SUMMARY, (*SCORE, "protocol_id", *_SUMMED))


def differences(a: Run, b: Run, tolerance: float) -> Row:
    """Everything that differs, as builtins; `nothing` says whether that is all."""
    found: Row = {
        "inputs": _inputs(a, b),
        "protocols": _protocols(a, b),
        "configuration": list(_fields(_configuration(a), _configuration(b))),
        "software": list(_fields(_software(a), _software(b))),
        "means": _means(a, b, tolerance),
        "probes": _probes(a, b, tolerance),
        "scores": _scores(a, b, tolerance),
        "status": _status(a, b),
    }
    return {"a": str(a.folder), "b": str(b.folder), "tolerance": tolerance, **found} | {
        "same": {"clips": len(a.clips.merge(b.clips)), "scores": len(_joined(a, b))},
        "nothing": not any(_is_filled(part) for part in found.values()),
    }


def _is_filled(part: Any) -> bool:
    return any(map(_is_filled, part.values())) if isinstance(part, dict) else bool(part)


def _inputs(a: Run, b: Run) -> Row:
    """Clips by `collection/clip_id`: those of one run alone, and those that are not the same."""
    keys = ["collection", "clip_id"]
    both = a.clips.merge(b.clips, on=keys, how="outer", suffixes=("_a", "_b"), indicator=True)
    sources = [
        run.table("media", ALL_MEDIA, (*keys, "source_key")).drop_duplicates(keys) for run in (a, b)
    ]
    common = both[both["_merge"] == "both"].drop(columns="_merge")
    known = common.merge(sources[0], on=keys, how="left")
    known = known.merge(sources[1], on=keys, how="left", suffixes=("_a", "_b"))
    elsewhere = known["path_a"] != known["path_b"]
    other = known["source_key_a"].fillna("") != known["source_key_b"].fillna("")
    return {
        "only_a": _names(both[both["_merge"] == "left_only"]),
        "only_b": _names(both[both["_merge"] == "right_only"]),
        "changed": _names(known[other & ~elsewhere]),
        "elsewhere": _names(known[elsewhere]),
        "prompts": _changed(common, _PROMPTS),
        "labels": _changed(common, _LABELS),
        "beside": _beside(a, b, known[elsewhere]),
    }


def _changed(common: pd.DataFrame, names: Sequence[str]) -> list[Row]:
    """Clips of both runs of which a text by one of these names is another."""
    other = pd.Series(False, index=common.index)
    for name in names:
        other |= common[f"{name}_a"].fillna("") != common[f"{name}_b"].fillna("")
    columns = ["collection", "clip_id", *(f"{name}_{side}" for name in names for side in "ab")]
    return _records(common.loc[other, columns])


def _beside(a: Run, b: Run, elsewhere: pd.DataFrame) -> list[Row]:
    """Files beside clips that changed, came or went; not those of clips in another place."""
    keys = ["collection", "clip_id"]
    clips = a.clips[keys].merge(b.clips[keys])
    clips = clips.merge(elsewhere[keys].assign(moved=True), on=keys, how="left")
    both = a.companions.merge(
        b.companions, on=[*keys, "modality"], how="outer", suffixes=("_a", "_b")
    ).merge(clips, on=keys)
    has_a, has_b = both["path_a"].notna(), both["path_b"].notna()
    other = both["key_a"].fillna("") != both["key_b"].fillna("")
    told = other & (has_a | has_b) & ~(has_a & has_b & both["moved"].notna())
    return _records(both.loc[told, [*keys, "modality", "path_a", "path_b"]])


def _names(rows: pd.DataFrame) -> list[str]:
    return sorted((rows["collection"] + "/" + rows["clip_id"]).tolist())


def _protocols(a: Run, b: Run) -> list[Row]:
    """Fields that differ, by what the protocol is of; what one run alone has is not compared."""
    found: list[Row] = []
    for name in a.protocols:
        if name in b.protocols:
            fields = _fields(a.protocols[name], b.protocols[name])
            # ids of other protocols, whose fields are told where they differ
            told = [f for f in fields if not f["field"].startswith("embeddings.")]
            found += [{"protocol": name, **field} for field in told]
    return found


def _protocol(path: Path) -> Row:
    found: Row = read_metadata(path).get("protocol") or {}
    return found


def _software(run: Run) -> Row:
    made = {key: run.made.get(key) for key in _SOFTWARE}
    weights = {name: model.get("sha256") for name, model in run.made.get("models", {}).items()}
    last = next(reversed(runs.runs(run.folder)), {})
    return {
        **made,
        "ffmpeg": (run.made.get("ffmpeg") or {}).get("version"),
        "weights": {**weights, **{k: v for k, v in last.get("weights", {}).items() if v}},
        "slurm": last.get("slurm"),
        "job_hosts": last.get("job_hosts"),
        "devices": last.get("devices"),
    }


def _configuration(run: Run) -> Row:
    """The configuration without the name of the folder, which always differs."""
    return {k: v for k, v in (run.made.get("configuration") or {}).items() if k != "results"}


def _fields(a: Mapping[str, Any], b: Mapping[str, Any], above: str = "") -> Iterator[Row]:
    """Fields that differ, with both values; null where a side has none."""
    for key in dict.fromkeys([*a, *b]):
        name, left, right = f"{above}{key}", a.get(key), b.get(key)
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            yield from _fields(left, right, f"{name}.")
        elif left != right:
            yield {"field": name, "a": left, "b": right}


def _means(a: Run, b: Run, tolerance: float) -> list[Row]:
    """Means side by side where they, their intervals or their numbers of values differ."""
    both = a.summary.merge(b.summary, on=list(SCORE), how="outer", suffixes=("_a", "_b"))
    same = pd.Series(True, index=both.index)
    for name in _SUMMED:
        left, right = both[f"{name}_a"], both[f"{name}_b"]
        limit = 0 if name.startswith("n_") else tolerance
        same &= ((left - right).abs() <= limit) | (left.isna() & right.isna())
        if limit == 0:
            both = both.astype(dict.fromkeys((f"{name}_a", f"{name}_b"), "Int64"))
    both["same_protocol"] = (both["protocol_id_a"] == both["protocol_id_b"]).where(
        both["protocol_id_a"].notna() & both["protocol_id_b"].notna()
    )
    values = [f"{name}_{side}" for name in _SUMMED for side in "ab"]
    columns = [*SCORE, *values, "same_protocol"]
    return _records(both.loc[~same, columns])


def _probes(a: Run, b: Run, tolerance: float) -> list[Row]:
    """Probes of both runs that reached something else, or learned from another number of clips."""
    both = a.probes.merge(b.probes, on=list(_PROBE), suffixes=("_a", "_b"))
    left, right = both["value_a"].astype(float), both["value_b"].astype(float)
    same = ((left - right).abs() <= tolerance) | (left.isna() & right.isna())
    same &= both["n_a"] == both["n_b"]
    both["same_protocol"] = both.pop("protocol_id_a") == both.pop("protocol_id_b")
    return _records(both[~same])


def _joined(a: Run, b: Run) -> pd.DataFrame:
    """The scores that both runs have."""
    keys = [*SCORE, "clip_id"]
    left, right = (run.scores.drop_duplicates(keys) for run in (a, b))
    return left.merge(right, on=keys, suffixes=("_a", "_b"))


def _scores(a: Run, b: Run, tolerance: float) -> Row:
    """Scores that differ by more than the tolerance: how many of each kind, the largest first."""
    both = _joined(a, b)
    both["difference"] = both["value_b"] - both["value_a"]
    apart = both[both["difference"].abs() > tolerance]
    counts = both.groupby(list(SCORE), sort=False)["difference"].agg(
        n_common="size",
        n_different=lambda d: int((d.abs() > tolerance).sum()),
        largest=lambda d: d.abs().max(),
    )
    order = apart["difference"].abs().sort_values(ascending=False, kind="stable").index
    return {
        "counts": _records(counts[counts["n_different"] > 0].reset_index()),
        "clips": _records(apart.loc[order]),
    }


def _status(a: Run, b: Run) -> list[Row]:
    """Rows of both runs whose status or reason changed: how many, by stage and what changed."""
    keys, values = ["collection", "stage", "clip_id", "item"], ["status", "reason"]
    left, right = (
        run.table("status", STATUS, (*keys, *values)).fillna("").drop_duplicates(keys)
        for run in (a, b)
    )
    both = left.merge(right, on=keys, suffixes=("_a", "_b"))
    other = (both["status_a"] != both["status_b"]) | (both["reason_a"] != both["reason_b"])
    by = ["stage", "status_a", "reason_a", "status_b", "reason_b"]
    counted = (
        both[other].groupby(by, sort=False).agg(n=("clip_id", "size"), example=("clip_id", "first"))
    )
    return _records(counted.reset_index().sort_values("n", ascending=False, kind="stable"))


def _records(rows: pd.DataFrame) -> list[Row]:
    """Rows as builtins, with None for what is not there."""
    plain = rows.astype(object).where(rows.notna(), None)
    return [{str(name): value for name, value in row.items()} for row in plain.to_dict("records")]
