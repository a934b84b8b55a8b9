"""Paired comparisons of collections on the items that both have."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from math import ceil
from typing import Any

import pandas as pd

from concord.config import Config
from concord.errors import UserError
from concord.report.metrics import CLAIMED, COMPARED_RETRIEVAL
from concord.scores.statistics import compare, holm

Row = dict[str, Any]


@dataclass(frozen=True)
class _Pair:
    """Two collections' values of one metric by item, and what the row says beside numbers."""

    row: Row
    a: dict[str, float]
    b: dict[str, float]


def pairs(config: Config, long: pd.DataFrame) -> list[tuple[str, str]]:
    """The configured pairs, else all that share a prompt set, or items where both have none."""
    if config.compare is not None:
        return list(config.compare)
    items = long.groupby("collection")["item"].agg(set)
    return [
        (a, b)
        for a, b in combinations(config.collections, 2)
        if config.prompt_set(a) == config.prompt_set(b)
        and (config.prompt_set(a) or items.get(a, set()) & items.get(b, set()))
    ]


def compare_all(config: Config, long: pd.DataFrame) -> list[Row]:
    """Rows of COMPARISONS from scores in long form.

    Several clips of one item count as one, by their mean. Raises UserError when the two
    collections of a pair were scored under different protocols.
    """
    rows: list[Row] = []
    chosen = pairs(config, long)
    for _, part in long.groupby("task", sort=False):
        rows += _compare_task(config, list(_pairs(config, chosen, part)))
    return rows


def _compare_task(config: Config, found: list[_Pair]) -> list[Row]:
    """Compare and correct the pairs of one task.

    A permutation test of n samples cannot go below 1 / (n + 1), so there are at least as many as
    let the smallest p pass Holm's correction with room to spare.
    """
    enough = ceil(4 * len(found) / (1 - config.statistics.confidence))
    permutations = max(config.statistics.bootstrap, enough)
    statistics = {**config.statistics.model_dump(), "permutations": permutations}
    rows = [pair.row | compare(pair.a, pair.b, statistics) for pair in found]
    for row, p_value in zip(rows, holm([row["p_value"] for row in rows]), strict=True):
        row |= {"p_holm": p_value, "permutations": permutations}
        if not row["n_common"]:
            row |= {"note": "no item is scored in both", "comparable": False, "permutations": None}
    return rows


def _pairs(config: Config, chosen: list[tuple[str, str]], part: pd.DataFrame) -> Iterator[_Pair]:
    for (task, model), rows in part.groupby(["task", "model"], sort=False):
        head = {"task": task, "model": model, "limited": config.limit is not None}
        for a, b in chosen:
            both = rows[rows["collection"].isin((a, b))]
            if both["collection"].nunique() < 2:
                continue
            head["protocol_id"] = _one_protocol(both, a, b)
            for metric, values in both.groupby("metric", sort=False):
                base = str(metric).rpartition("/")[2]
                if task == "retrieval" and base not in COMPARED_RETRIEVAL:
                    continue
                row = {**head, "metric": metric, "a": a, "b": b}
                if base in CLAIMED:
                    row |= _claims(both, values, a, b)
                else:
                    row |= _pools(values, a, b)
                yield _Pair(row, *(_by_item(values, name) for name in (a, b)))


def _one_protocol(both: pd.DataFrame, a: str, b: str) -> str:
    found = both.groupby("collection")["protocol_id"].unique()
    if len({*found[a], *found[b]}) > 1:
        task, model = both["task"].iloc[0], both["model"].iloc[0]
        raise UserError(
            f"{task}, {model}: {a} and {b} were scored under different protocols "
            f"({', '.join(found[a])} and {', '.join(found[b])}), and numbers of different "
            f"protocols must not be compared; set models.{model}.precision if a GPU computed "
            f"one and a CPU the other, or delete scores/{task}/{model}/ in the results folder, and "
            "run again"
        )
    return str(found[a][0])


def _by_item(rows: pd.DataFrame, collection: str) -> dict[str, float]:
    scored = rows[(rows["collection"] == collection) & (rows["status"] == "ok")]
    means = scored.groupby("item")["value"].mean()
    return {str(item): float(value) for item, value in means.items()}


def _pools(rows: pd.DataFrame, a: str, b: str) -> Row:
    """What limits a comparison of ranks: they depend on how many candidates there are."""
    pools = rows.groupby("collection")["candidates"].max().dropna()
    if len(pools) < 2 or pools[a] == pools[b]:
        return {"note": None, "comparable": True}
    note = f"{int(pools[a])} and {int(pools[b])} candidates: the smaller pool is easier"
    return {"note": note, "comparable": False}


def _claims(both: pd.DataFrame, offsets: pd.DataFrame, a: str, b: str) -> Row:
    """On how many of the measured items an offset is claimed.

    Without a claim on either side an item is not compared. A difference over fewer than half of
    the items measured in both says little of the collections, and must not be judged by.
    """
    measured, claimed = (
        [_by_item(rows, name).keys() for name in (a, b)]
        for rows in (both[both["metric"] == "av_align"], offsets)
    )
    counts = [f"{len(c & m)} of {len(m)}" for c, m in zip(claimed, measured, strict=True)]
    note = f"an offset is claimed in {' and '.join(counts)} items"
    enough = 2 * len(claimed[0] & claimed[1]) >= len(measured[0] & measured[1])
    return {"note": note if enough else f"{note}: too few to judge by", "comparable": enough}
