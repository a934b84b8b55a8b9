"""Adds what the task `features` leaves to the results that report_results makes."""

import json
from pathlib import Path
from typing import Any

from concord.config import Config
from concord.feature_tables import QUALITY
from concord.report.projections import project_features
from concord.report.results import Results
from concord.scores.probes import probe
from concord.scores.sources import labelling
from concord.tables import write_table

BAD_CHECKS: list[dict[str, Any]] = [
    {"check": "norms", "status": "warning", "meaning": "norms far from the median", "count": 1,
     "share": 1 / 22, "value": 1 / 22, "limit": 0.01, "examples": json.dumps(["sub/0001 x.mp4"])},
    {"check": "duplicates", "status": "failed", "meaning": "equal vectors of different inputs",
     "count": 4, "share": 4 / 22, "value": 4 / 22, "limit": 0.01,
     "examples": json.dumps([["<b>a.mp4", "=1+1.mp4"], ["c.mp4", "d.mp4"]])},
    {"check": "collapsed", "status": "skipped", "meaning": "too few vectors to tell"},
]  # fmt: skip


def project_all(config: Config) -> dict[tuple[str, str], Path]:
    """Project what `config` embedded; the tables by model and modality."""
    layout = Results(config).layout
    found = {(path.parent.name, path.stem): path for path in layout.projections()}
    for (model, modality), path in found.items():
        project_features(layout, model, modality, path)
    return found


def add_features(config: Config) -> None:
    """Project and probe what `config` embedded."""
    layout = Results(config).layout
    project_all(config)
    for folder in layout.probed():
        model, modality, scope = folder.parts[-3:]
        probe(
            folder,
            scope=scope,
            model=model,
            modality=modality,
            sources=layout.probe_sources(model, modality, scope),
            labelling=labelling(config, scope),
            probes=config.probes.model_dump(),
            audio=config.audio.model_dump(),
            statistics=config.statistics.model_dump(),
            threads=1,
        )


def spoil(config: Config, checks: list[dict[str, Any]]) -> None:
    """Let these be the checks of the last collection's pictures."""
    collection = list(config.collections)[-1]
    path = config.results / "quality" / "mini" / "video" / f"{collection}.parquet"
    head = {"model": "mini", "modality": "video", "source": collection, "protocol_id": "p", "n": 22}
    write_table(path, QUALITY, [head | row for row in checks])
