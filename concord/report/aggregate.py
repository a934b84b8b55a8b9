"""Gathers what the rooms left into the tables a reader opens: results/tables/."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from concord.config import Config
from concord.report.comparisons import compare_all
from concord.report.feature_tables import feature_tables
from concord.report.metrics import RETRIEVAL_METRICS
from concord.report.results import Results, Scored
from concord.report.spreadsheet import write_csv
from concord.report_tables import (
    ALL_CLIPS,
    ALL_MEDIA,
    ALL_RETRIEVAL,
    ALL_SCORES,
    COMPARISONS,
    STATUS,
    SUMMARY,
)
from concord.scores.statistics import summarise
from concord.tables import Column, Table, write_table


def aggregate(config: Config, folder: Path) -> None:
    """Write every table, as Parquet and as CSV, into `folder`.

    Raises UserError if a table is missing or damaged, or if numbers of two protocols would be
    compared.
    """
    results, limited = Results(config), config.limit is not None
    scored = results.scored()
    clips = {name: results.clips(name) for name in config.collections}
    media = {name: results.media(name) for name in config.collections}
    scores = _gather(ALL_SCORES, [s for s in scored if s.task != "retrieval"], limited)
    retrieval = _gather(ALL_RETRIEVAL, [s for s in scored if s.task == "retrieval"], limited)
    long = pd.concat([scores.to_pandas(), _long(retrieval, clips)], ignore_index=True)
    protocols, tools = {s.protocol_id: s.protocol for s in scored}, results.media_tools()
    labelled = {name: _labelled(rows, results.labels(name)) for name, rows in clips.items()}
    wide, table = _wide(labelled, long, limited)
    for declared, rows, name in (
        (SUMMARY, _summary(config, long, limited), "summary"),
        (COMPARISONS, compare_all(config, long), "comparisons"),
        (STATUS, _status(results, clips, media, long, limited), "status"),
        (table, wide, "clips"),
        (ALL_MEDIA, _stack(ALL_MEDIA, media, limited), "media"),
        (ALL_SCORES, scores, "scores"),
        (ALL_RETRIEVAL, retrieval, "retrieval"),
        *feature_tables(results.layout, limited),
    ):
        path = folder / f"{name}.parquet"
        write_table(path, declared, rows, limited=limited, protocols=protocols, tools=tools)
        write_csv(path)


def _gather(declared: Table, parts: list[Scored], limited: bool) -> pa.Table:
    """Rows of score files with the columns that say where they come from."""
    tables = []
    for part in parts:
        rows = part.rows
        for name in ("task", "model", "protocol_id"):
            rows = rows.append_column(name, _constant(getattr(part, name), len(rows)))
        tables.append(rows.append_column("limited", _constant(limited, len(rows))))
    return _concat(declared, tables)


def _stack(declared: Table, parts: dict[str, pa.Table], limited: bool) -> pa.Table:
    tables = [
        rows.append_column("collection", _constant(name, len(rows))).append_column(
            "limited", _constant(limited, len(rows))
        )
        for name, rows in parts.items()
    ]
    return _concat(declared, tables)


def _labelled(clips: pa.Table, labels: dict[str, dict[str, str | None]]) -> pa.Table:
    """Clips with the columns `label` and `group`."""
    known = [labels.get(clip, {}) for clip in clips["clip_id"].to_pylist()]
    for name in ("label", "group"):
        values = pa.array([row.get(name) for row in known], pa.string())
        clips = clips.append_column(name, values)
    return clips


def _concat(declared: Table, tables: list[pa.Table]) -> pa.Table:
    schema = declared.schema
    parts = [t.select(declared.names).replace_schema_metadata(None).cast(schema) for t in tables]
    return pa.concat_tables([schema.empty_table(), *parts])


def _constant(value: Any, length: int) -> pa.Array:
    return pa.repeat(pa.scalar(value), length)


def _long(retrieval: pa.Table, clips: dict[str, pa.Table]) -> pd.DataFrame:
    """Retrieval queries in the columns of the scores: a row a query, direction and metric.

    `item` pairs queries across collections: the clip's item, or the text itself.
    """
    queries = retrieval.to_pandas()
    from_clip = ~queries["direction"].str.startswith("text_")
    items = {
        (name, clip_id): item
        for name, rows in clips.items()
        for clip_id, item in zip(rows["clip_id"].to_pylist(), rows["item"].to_pylist(), strict=True)
    }
    keys = zip(queries["collection"], queries["query"], strict=True)
    item = pd.Series([items.get(key) for key in keys], index=queries.index, dtype=object)
    queries["item"] = item.where(from_clip, queries["query"])
    queries["clip_id"] = queries["query"].where(from_clip, None)
    result: pd.DataFrame = pd.concat(
        [
            queries.assign(
                metric=queries["direction"] + "/" + name,
                value=queries[name],
                control=queries[control] if control else np.nan,
            )
            for name, control in RETRIEVAL_METRICS.items()
        ],
        ignore_index=True,
    )
    return result


def _groups(long: pd.DataFrame) -> Iterator[tuple[dict[str, str], pd.DataFrame]]:
    keys = ["task", "model", "protocol_id", "collection", "metric"]
    for values, rows in long.groupby(keys, sort=False):
        yield dict(zip(keys, map(str, values), strict=True)), rows


def _summary(config: Config, long: pd.DataFrame, limited: bool) -> list[dict[str, Any]]:
    summary, statistics = [], config.statistics.model_dump()
    for keys, rows in _groups(long):
        scored = rows[rows["status"] == "ok"]
        counts = rows["status"].value_counts()
        skipped, failed = (int(counts.get(status, 0)) for status in ("skipped", "failed"))
        values = scored["value"].to_numpy(float)
        row = {**keys, "limited": limited}
        row |= summarise(values, len(rows), skipped, failed, statistics)
        if "control" in scored and scored["control"].notna().any():
            row["control"] = float(scored["control"].mean())
        summary.append(row)
    order = list(dict.fromkeys((row["task"], row["model"], row["metric"]) for row in summary))
    return sorted(summary, key=lambda row: order.index((row["task"], row["model"], row["metric"])))


def _status(
    results: Results,
    clips: dict[str, pa.Table],
    media: dict[str, pa.Table],
    long: pd.DataFrame,
    limited: bool,
) -> pa.Table:
    parts = []
    for name, rows in clips.items():
        items = rows.to_pandas().dropna(subset="clip_id").set_index("clip_id")["item"]
        for stage, part in _stages(results, name, rows, media[name]):
            if "item" not in part:
                part["item"] = part["clip_id"].map(items)
            parts.append(part.assign(collection=name, stage=stage))
    metrics = long.groupby(["task", "model"])["metric"].transform("nunique")
    scores: pd.Series[str] = "scores/" + long["task"] + "/" + long["model"]
    scores = scores.where(metrics == 1, scores + "/" + long["metric"])
    # One row a direction says it all: the metrics of a query share its fate.
    once = (long["task"] != "retrieval") | long["metric"].str.endswith("/rank")
    scores = scores.str.replace(r"/rank$", "", regex=True)
    parts.append(long.assign(stage=scores)[once])
    table = pd.concat(parts, ignore_index=True).assign(limited=limited)
    return pa.Table.from_pandas(table[STATUS.names], STATUS.schema, preserve_index=False)


def _stages(
    results: Results, name: str, clips: pa.Table, media: pa.Table
) -> Iterator[tuple[str, pd.DataFrame]]:
    """Stages before the scores, each with clip_id, status, reason and detail."""
    columns = ["clip_id", "status", "reason", "detail"]
    rows = clips.to_pandas()
    yield "clips", rows[[*columns, "item"]]
    prompts = rows.dropna(subset="prompt_status")
    yield (
        "prompts",
        prompts[["clip_id", "item", "detail"]].assign(
            status=prompts["prompt_status"], reason=prompts["prompt_reason"], detail=None
        ),
    )
    yield "media", media.select(columns).to_pandas()
    for model, modality in results.embedded(name):
        found = results.embeddings(model, modality, name, ["id", "status", "reason", "detail"])
        yield f"embeddings/{model}/{modality}", found.rename_columns(columns).to_pandas()


def _wide(clips: dict[str, pa.Table], long: pd.DataFrame, limited: bool) -> tuple[pa.Table, Table]:
    """A row a clip with its scores as columns, and the table that declares them."""
    stacked = _stack(ALL_CLIPS, clips, limited).to_pandas()
    scored = long[long["clip_id"].notna() & (long["task"] != "retrieval")]
    name = scored["task"] + "/" + scored["model"] + "/" + scored["metric"]
    names = list(dict.fromkeys(name))
    values = scored.assign(name=name).pivot_table(
        index=["collection", "clip_id"], columns="name", values="value", aggfunc="first"
    )
    merged = stacked.merge(
        values.reindex(columns=names), how="left", left_on=["collection", "clip_id"],
        right_index=True,
    )  # fmt: skip
    columns = tuple(
        Column(n, pa.float64(), "score, as TASK/MODEL/METRIC; null if none") for n in names
    )
    table = replace(ALL_CLIPS, columns=(*ALL_CLIPS.columns, *columns))
    return pa.Table.from_pandas(merged, table.schema, preserve_index=False), table
