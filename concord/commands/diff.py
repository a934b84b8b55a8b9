"""`concord diff`: what differs between the runs that two results folders hold."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import typer

from concord.commands.terminal import print_table, say
from concord.differences import Run, differences

Row = dict[str, Any]


def run(first: Path, second: Path, tolerance: float, most: int, as_json: bool) -> None:
    """Print what differs; of long lists the first `most`.

    Raises UserError for a folder that holds no run.
    """
    a, b = Run(first), Run(second)
    found = differences(a, b, tolerance)
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    for side in (a, b):
        if side.unfinished:
            say(f"note: a run into {side.folder} has not ended; its tables may be older", "yellow")
    _print_inputs(found["inputs"], most)
    _print_fields("Protocols", found["protocols"], "protocol")
    _print_fields("Configuration", found["configuration"])
    _print_fields("Software, weights, machines", found["software"])
    _print_means(found["means"])
    _print_probes(found["probes"])
    _print_scores(found["scores"], tolerance, most)
    _print_status(found["status"])
    same = found["same"]
    if found["nothing"]:
        say(
            f"Nothing differs: {same['clips']} clips, {same['scores']} scores within "
            f"{tolerance:g}, their states, protocols and software are the same.",
            "green",
        )


def _print_inputs(inputs: Row, most: int) -> None:
    kinds = {
        "only_a": "in A alone",
        "only_b": "in B alone",
        "changed": "with a file that changed (size or time)",
        "elsewhere": "of the same name in another place, where it cannot be told whether it is "
        "the same file",
    }
    if any(inputs.values()):
        _title("Inputs")
    for kind, words in kinds.items():
        _print_names(words, inputs[kind], most)
    _print_texts("a prompt", inputs["prompts"], ("video_prompt", "audio_prompt"), most)
    _print_texts("a label or group", inputs["labels"], ("label", "group"), most)
    beside = [f"{_clip(row)} ({row['modality']})" for row in inputs["beside"]]
    _print_names("with a file beside it that changed, came or went", beside, most)


def _print_texts(what: str, rows: Sequence[Row], names: Sequence[str], most: int) -> None:
    _print_names(f"with {what} that changed", [_clip(row) for row in rows], most)
    for row in rows[: min(most, 3)]:
        for name in names:
            if row[f"{name}_a"] != row[f"{name}_b"]:
                say(f"    {_clip(row)}, {name}: {row[f'{name}_a']!r} -> {row[f'{name}_b']!r}")


def _print_names(words: str, names: Sequence[str], most: int) -> None:
    if names:
        more = f", and {len(names) - most} more" if len(names) > most else ""
        say(f"  {len(names)} clip{'s' * (len(names) > 1)} {words}: {', '.join(names[:most])}{more}")


def _print_fields(title: str, rows: Sequence[Row], *names: str) -> None:
    if rows:
        _title(title)
        print_table((*names, "field", "A", "B"), (_field(row, names) for row in rows))


def _field(row: Row, names: Iterable[str]) -> list[str]:
    values = (json.dumps(row[side], ensure_ascii=False) for side in "ab")
    return [*(row[name] for name in names), row["field"], *values]


def _print_means(rows: Sequence[Row]) -> None:
    if rows:
        _title("Means")
        columns = ("task", "model", "collection", "metric", "n A", "mean A", "n B", "mean B")
        print_table((*columns, "difference", "protocol"), map(_mean, rows))


def _mean(row: Row) -> list[Any]:
    sides = []
    for side in "ab":
        n, expected = row[f"n_scored_{side}"], row[f"n_expected_{side}"]
        ends = (row[f"ci_low_{side}"], row[f"ci_high_{side}"])
        known = None not in ends
        interval = f" [{ends[0]:.4f}, {ends[1]:.4f}]" if known else ""
        mean = row[f"mean_{side}"]
        sides += [
            "" if n is None else f"{n} of {expected}",
            "" if mean is None else f"{mean:.4f}{interval}",
        ]
    a, b = row["mean_a"], row["mean_b"]
    difference = "" if a is None or b is None else f"{b - a:+.4f}"
    return [*_of(row), *sides, difference, _comparable(row)]


def _print_probes(rows: Sequence[Row]) -> None:
    if rows:
        _title("Probes")
        names = ("scope", "model", "modality", "probe", "split", "metric")
        columns = (*names, "n A", "A", "n B", "B", "difference", "protocol")
        print_table(columns, ([*(row[name] for name in names), *_probe(row)] for row in rows))


def _probe(row: Row) -> list[Any]:
    a, b = row["value_a"], row["value_b"]
    shown = ["" if value is None else f"{value:.4f}" for value in (a, b)]
    difference = "" if a is None or b is None else f"{b - a:+.4f}"
    return [row["n_a"], shown[0], row["n_b"], shown[1], difference, _comparable(row)]


def _comparable(row: Row) -> str:
    return "" if row["same_protocol"] in (True, None) else "another: do not compare"


def _print_scores(scores: Row, tolerance: float, most: int) -> None:
    if not scores["counts"]:
        return
    _title(f"Scores that differ by more than {tolerance:g}")
    columns = ("task", "model", "collection", "metric", "different", "in both", "largest")
    print_table(
        columns,
        (
            [*_of(row), row["n_different"], row["n_common"], f"{row['largest']:.6g}"]
            for row in scores["counts"]
        ),
    )
    say(f"  the largest{f' {most}' if len(scores['clips']) > most else ''}:")
    print_table(
        ("clip", "task", "model", "metric", "A", "B", "difference"),
        map(_score, scores["clips"][:most]),
    )


def _score(row: Row) -> list[str]:
    values = [f"{row['value_a']:.6g}", f"{row['value_b']:.6g}", f"{row['difference']:+.6g}"]
    return [_clip(row), row["task"], row["model"], row["metric"], *values]


def _print_status(rows: Sequence[Row]) -> None:
    if rows:
        _title("States that changed")
        print_table(
            ("stage", "A", "B", "rows", "such as"),
            (
                [row["stage"], _state(row, "a"), _state(row, "b"), row["n"], row["example"]]
                for row in rows
            ),
        )


def _state(row: Row, side: str) -> str:
    return " ".join(filter(None, (row[f"status_{side}"], row[f"reason_{side}"])))


def _of(row: Row) -> list[str]:
    return [row["task"], row["model"], row["collection"], row["metric"]]


def _clip(row: Row) -> str:
    return f"{row['collection']}/{row['clip_id']}"


def _title(text: str) -> None:
    say(text, "bold")
