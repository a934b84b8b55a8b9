"""A few files and texts through the workflow's own jobs, without a workflow.

The tables are those that the rules make, in a folder of the caller's; so the numbers are theirs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from concord.config import Config
from concord.errors import UserError
from concord.load import load
from concord.media.protocol import media_protocol
from concord.models import catalogue
from concord.models.base import COMPANIONS, MODALITIES, Modality, ModelSpec
from concord.models.shard import Means, embed_companions, embed_media, embed_texts
from concord.protocol import digest, protocol_id
from concord.remote.urls import is_address
from concord.scores.gather import (
    Embeddings,
    Indices,
    Outcome,
    apply_embeddings,
    apply_media,
    read_embeddings,
    what_computed,
)
from concord.scores.score import score_protocol
from concord.scores.similarity import cosine
from concord.scores.tasks import PAIRS
from concord.tables import (
    COMPANION_FILES,
    EMBEDDINGS,
    MEDIA,
    PLAN,
    REASONS,
    TEXTS,
    read_table,
    write_table,
)

COLLECTION = "once"
_TASK_OF = {frozenset(pair): task for task, pair in PAIRS.items()}


@dataclass(frozen=True)
class Given:
    """One input: a text, or the path of a file."""

    modality: Modality
    source: str

    @property
    def id(self) -> str:
        """What its row is called: by its digest for a text, else by its path."""
        return digest(self.source) if self.modality == "text" else self.source


@dataclass(frozen=True)
class Embedded:
    """N inputs of one modality through one model.

    `rows` are theirs in `table.vectors` [N], -1 where `outcome` is not ok. `notes` say what is to
    be known of an input that was embedded all the same.
    """

    given: Sequence[Given]
    table: Embeddings
    outcome: Outcome
    rows: Indices
    notes: Sequence[str | None]

    def vector(self, index: int) -> npt.NDArray[np.float32] | None:
        """The embedding [dim] of an input; None if it has none."""
        row = int(self.rows[index])
        return self.table.vectors[row] if row >= 0 else None

    def why(self, index: int) -> str | None:
        """Why an input has no embedding, or what is to be known of it; None if nothing."""
        if self.outcome.ok[index]:
            return self.notes[index]
        reason, detail = self.outcome.reason[index], self.outcome.detail[index]
        return f"{reason}: {REASONS[reason]}" + (f" ({detail})" if detail else "")


@dataclass(frozen=True)
class Pair:
    """The score of two inputs; None with the reason why there is none."""

    first: Given
    second: Given
    cosine: float | None
    why: str | None
    protocol_id: str


class Once:
    """Inputs that are embedded in the temporary folder `folder`, by the keys of `config`."""

    def __init__(self, config: Config, given: Sequence[Given], folder: Path) -> None:
        self.config, self.folder = config, folder
        unique = dict.fromkeys(given)
        self.given = {m: found for m in MODALITIES if (found := _of(unique, m))}
        _check_files(self.given)

    def embed(self, spec: ModelSpec) -> dict[Modality, Embedded]:
        """All inputs through a model of the configuration, which has to know their modalities.

        Raises UserError when the machine or the configuration is at fault; an input that cannot be
        used keeps the reason.
        """
        return {modality: self._embed(spec, modality) for modality in self.given}

    def _embed(self, spec: ModelSpec, modality: Modality) -> Embedded:
        given = self.given[modality]
        output = self.folder / f"{spec.name}.{modality}.parquet"
        means = Means.of(self.config, spec.name)
        if modality == "text":
            embed_texts([self._texts(given)], output, spec, means)
        elif modality in COMPANIONS:
            embed_companions([self._companions(given)], output, spec, modality, means)
        else:
            protocol = media_protocol(self.config, COLLECTION)
            embed_media([self._media_of(modality)], output, spec, modality, means, protocol)
        return self._outcome(read_embeddings([output], modality), given, output)

    def _outcome(self, table: Embeddings, given: Sequence[Given], output: Path) -> Embedded:
        ids = pa.array([item.id for item in given], pa.string())
        outcome = Outcome(len(given))
        if table.modality in ("video", "audio"):
            clips = pa.table({"clip_id": ids})
            apply_media(outcome, clips, [self._media], table.modality, self._gate(table.modality))
        rows = apply_embeddings(outcome, ids, table)
        notes = {row["id"]: row["detail"] for row in _ok_rows(output)}
        return Embedded(given, table, outcome, rows, [notes.get(item.id) for item in given])

    def _gate(self, modality: Modality) -> dict[str, Any] | None:
        return self.config.audio.model_dump() if modality == "audio" else None

    @cached_property
    def _media(self) -> Path:
        """The media table of all files with picture or sound, each opened once."""
        from concord.media.shard import process_shard

        paths = dict.fromkeys(g.source for m in ("video", "audio") for g in self.given.get(m, ()))
        plan, output = self.folder / "plan.parquet", self.folder / "media" / "media.parquet"
        rows = [
            {"clip_id": path, "path": _absolute(path), "key": _file_key(path)} for path in paths
        ]
        write_table(plan, PLAN, [dict.fromkeys(PLAN.names) | row for row in rows])
        media = self.config.media
        process_shard(
            plan,
            output,
            media_protocol(self.config, COLLECTION),
            workers=media.workers,
            timeout_s=media.timeout_s,
            memory_mb=media.memory_mb,
        )
        return output

    def _media_of(self, modality: Modality) -> Path:
        """The media table of the files whose picture, or whose sound, is asked for."""
        ids = {item.id for item in self.given[modality]}
        rows = [row for row in read_table(self._media, MEDIA).to_pylist() if row["clip_id"] in ids]
        path = self._media.with_name(f"{modality}.parquet")
        write_table(path, MEDIA, rows)
        return path

    def _texts(self, given: Sequence[Given]) -> Path:
        path = self.folder / "texts.parquet"
        write_table(path, TEXTS, [{"text_id": item.id, "text": item.source} for item in given])
        return path

    def _companions(self, given: Sequence[Given]) -> Path:
        path = self.folder / f"{given[0].modality}.parquet"
        rows = [
            dict.fromkeys(COMPANION_FILES.names)
            | {"clip_id": item.id, "modality": item.modality, "status": "ok"}
            | {"path": _absolute(item.source), "key": _file_key(item.source)}
            for item in given
        ]
        write_table(path, COMPANION_FILES, rows)
        return path


def configured(models: Mapping[str, Mapping[str, Any]], folder: Path) -> Config:
    """A configuration of models by name, with their keys, and defaults for everything else.

    Raises UserError that calls the keys `--key`, as command lines do.
    """
    results = folder / "results"
    results.mkdir()
    try:
        return load(
            {
                "results": str(results),
                "collections": {COLLECTION: str(folder / "clips")},
                "models": {
                    name: {key: value for key, value in keys.items() if value is not None}
                    for name, keys in models.items()
                },
                "media": {"filter": False},
            }
        )
    except UserError as error:
        problems = [str(problem) for problem in error.args]
        wrong = [problem for problem in problems if problem.startswith("models.")] or problems
        named = dict.fromkeys(_as_option(problem, models) for problem in wrong)
        raise UserError(*named) from error


def specs(config: Config, given: Sequence[Given]) -> list[ModelSpec]:
    """The configuration's models. Raises UserError for inputs that one of them does not take."""
    found = [catalogue.spec(config, name) for name in config.models]
    asked = dict.fromkeys(item.modality for item in given)
    problems = [
        f"--{modality}: {spec.name} does not take it; it takes {', '.join(spec.modalities)} "
        "(`concord models` lists them all)"
        for spec in found
        for modality in asked
        if modality not in spec.modalities
    ]
    if problems:
        raise UserError(*problems)
    return found


def weights_sha256(embedded: Mapping[Modality, Embedded]) -> str | None:
    """The digest of the weights that embedded the inputs; None if there was nothing to embed."""
    entries = what_computed([found.table for found in embedded.values()])
    return next((entry["weights_sha256"] for entry in entries), None)


def pairs(embedded: Mapping[Modality, Embedded], gate: Mapping[str, Any]) -> list[Pair]:
    """The cosine of every two inputs of different modalities, under the workflow's protocol.

    `gate` is that of sounds, with the keys require and silence_db.
    """
    found: list[Pair] = []
    for asked in combinations(embedded, 2):
        task = _TASK_OF[frozenset(asked)]
        first, second = (embedded[modality] for modality in PAIRS[task])
        data = {modality: embedded[modality].table for modality in PAIRS[task]}
        protocol = score_protocol(task, data, gate if "audio" in asked else None)
        found += _scored(first, second, protocol_id(protocol))
    return found


def faults(embedded: Mapping[Modality, Embedded]) -> list[str]:
    """The inputs without an embedding, each with the reason."""
    return [
        f"--{modality}: {item.source}: {found.why(index)}"
        for modality, found in embedded.items()
        for index, item in enumerate(found.given)
        if not found.outcome.ok[index]
    ]


def _scored(first: Embedded, second: Embedded, protocol: str) -> list[Pair]:
    places = [(i, j) for i in range(len(first.given)) for j in range(len(second.given))]
    ok = [(i, j) for i, j in places if first.outcome.ok[i] and second.outcome.ok[j]]
    rows_a = np.array([first.rows[i] for i, _ in ok], np.int64)
    rows_b = np.array([second.rows[j] for _, j in ok], np.int64)
    values = cosine(first.table.vectors, second.table.vectors, rows_a, rows_b)
    scores = dict(zip(ok, values.tolist(), strict=True))
    return [
        Pair(
            first.given[i],
            second.given[j],
            scores.get((i, j)),
            "; ".join(filter(None, (first.why(i), second.why(j)))) or None,
            protocol,
        )
        for i, j in places
    ]


def _of(given: Mapping[Given, None], modality: Modality) -> list[Given]:
    return [item for item in given if item.modality == modality]


def _check_files(given: Mapping[Modality, Sequence[Given]]) -> None:
    """Raise UserError with everything that is no file, and with texts that say nothing."""
    problems = []
    for modality, items in given.items():
        for item in items:
            if modality == "text" and not item.source.strip():
                problems.append("--text: found an empty text, expected words")
            elif modality != "text" and is_address(item.source):
                problems.append(
                    f"--{modality}: {item.source} is an address; this command reads local files: "
                    "download it first, or let a collection of the workflow name it"
                )
            elif modality != "text" and not Path(item.source).is_file():
                kind = "is a folder" if Path(item.source).is_dir() else "does not exist"
                problems.append(f"--{modality}: {item.source} {kind}; expected a file")
    if problems:
        raise UserError(*problems)


def _absolute(path: str) -> str:
    return str(Path(path).absolute())


def _file_key(path: str) -> str:
    state = Path(path).stat()
    return digest(_absolute(path), str(state.st_size), str(state.st_mtime_ns))


def _ok_rows(output: Path) -> list[dict[str, Any]]:
    table = read_table(output, EMBEDDINGS, ["id", "status", "detail"])
    return [row for row in table.to_pylist() if row["status"] == "ok"]


def _as_option(problem: str, models: Mapping[str, Any]) -> str:
    for name in models:
        for key, option in ((".entry:", "--model:"), (".", "--"), (":", "--model:")):
            problem = problem.replace(f"models.{name}{key}", option)
    return problem
