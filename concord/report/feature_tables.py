"""Gathers the quality checks, the probes and the distributions of features."""

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from concord.feature_tables import (
    ALL_FEATURES,
    CONFUSION,
    FEATURE_DISTRIBUTIONS,
    PREDICTIONS,
    PROBES,
    QUALITY,
)
from concord.layout import Layout
from concord.tables import Table, read_table


def feature_tables(layout: Layout, limited: bool) -> list[tuple[Table, pa.Table, str]]:
    """The tables of ALL_FEATURES with their rows and names, empty where nothing was asked for."""
    quality = dict.fromkeys(t for c in layout.config.collections for t in layout.quality(c))
    folders = layout.probed()
    predictions = _stack(PREDICTIONS, (folder / "predictions.parquet" for folder in folders))
    found = {
        QUALITY.name: _stack(QUALITY, quality),
        PROBES.name: _stack(PROBES, (folder / "probes.parquet" for folder in folders)),
        PREDICTIONS.name: predictions,
        CONFUSION.name: confusion(predictions),
        FEATURE_DISTRIBUTIONS.name: _stack(
            FEATURE_DISTRIBUTIONS, (folder / "distributions.parquet" for folder in folders)
        ),
    }
    return [
        (declared, found[name].append_column("limited", _repeat(limited, found[name])), name)
        for name, declared in ALL_FEATURES.items()
    ]


def confusion(predictions: pa.Table) -> pa.Table:
    """CONFUSION counted from rows of PREDICTIONS; clips without a prediction do not count."""
    predicted = predictions.filter(pc.equal(predictions["status"], "ok"))
    counted = predicted.group_by(CONFUSION.names[:-1], use_threads=False).aggregate(
        [([], "count_all")]
    )
    return counted.rename_columns(CONFUSION.names).cast(CONFUSION.schema)


def _stack(table: Table, paths: Iterable[Path]) -> pa.Table:
    parts = [read_table(path, table).replace_schema_metadata(None) for path in paths]
    return pa.concat_tables([table.schema.empty_table(), *parts])


def _repeat(value: bool, rows: pa.Table) -> pa.Array:
    return pa.repeat(pa.scalar(value), len(rows))
