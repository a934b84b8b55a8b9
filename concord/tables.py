"""Tables Concord writes: columns, types, meaning; checked when read, atomic when written.

Those of features, their quality and probes are in concord.feature_tables.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from concord.errors import DamagedError, MachineError, UserError, shortened
from concord.files import atomic_path

STATUSES = ("ok", "skipped", "failed")
REASONS = {
    "not_media": "by its extension no video or sound, nor an image where images are compared",
    "name_not_utf8": "the file name is not valid UTF-8",
    "hidden": "the file name begins with a dot",
    "not_a_file": "neither a file nor a link to one",
    "unpaired": "a separate sound file that no clip belongs to",
    "no_prompt": "no prompt belongs to the clip",
    "empty_prompt": "the prompt is there, but has no text",
    "no_clip": "no clip belongs to the prompt",
    "ambiguous": "several prompts or files fit equally well, so none was chosen",
    "duplicate": "another file was chosen in its place",
    "left_out": "left out by media.skip_count",
    "missing": "a manifest, a link or the plan names the file or object, but it does not exist",
    "changed": "the object was replaced after the run was planned; the next run takes the new one",
    "not_fetched": "the object could not be downloaded whole, though others could",
    "unreadable": "no stream in the file can be read",
    "no_video_stream": "the file has no moving picture (an attached cover is not one)",
    "still_image": "the clip is an image, not a moving picture",
    "no_image": "no image belongs to the clip",
    "no_depth_file": "no depth map belongs to the clip",
    "no_thermal_file": "no thermal image belongs to the clip",
    "no_imu_file": "no recording of motion sensors belongs to the clip",
    "no_audio_stream": "the file has no sound stream",
    "no_frames": "the picture stream is there, but no frame decodes",
    "no_samples": "the sound stream is there, but no sample decodes",
    "silent": "the sound is quieter than audio.silence_db",
    "not_finite": "samples or values are NaN or infinite",
    "too_short": "too short for the measure",
    "too_large": "the picture is larger than media.max_pixels",
    "no_events": "no audible event or no motion to compare",
    "no_synchrony": "no shift of the sound fits the motion better than chance",
    "timeout": "the time limit for one clip was reached",
    "memory_limit": "the memory limit for one clip was reached",
    "crashed": "the process that opened the file died",
    "model_error": "the model could not embed the input",
    "no_label": "no label is known, so that nothing can be learned from the clip",
    "too_few_clips": "fewer clips, or groups of clips, than the measure needs",
    "one_label": "all clips have one label, so that there is nothing to tell apart",
    "too_many_labels": "more labels than pairs of them are compared for",
    "not_sampled": "not in the random sample of probes.max_clips clips",
}


@dataclass(frozen=True)
class Column:
    """One column: its name, Arrow type and meaning; the unit is part of the meaning."""

    name: str
    type: pa.DataType
    meaning: str


@dataclass(frozen=True)
class Table:
    """A table's name, format version and columns."""

    name: str
    version: int
    columns: tuple[Column, ...]
    readable: tuple[int, ...] = ()
    """Earlier versions, which lack some of the columns: those are null when read."""

    @property
    def schema(self) -> pa.Schema:
        return pa.schema([(c.name, c.type) for c in self.columns])

    @property
    def names(self) -> list[str]:
        return [c.name for c in self.columns]


_text, _int, _float, _bool = pa.string(), pa.int64(), pa.float64(), pa.bool_()


def status_columns(subject: str) -> tuple[Column, ...]:
    """Whether there is what `subject` says, and why not."""
    return (
        Column("status", _text, f"ok, skipped or failed: {subject}"),
        Column("reason", _text, "why not ok: a word of REASONS; null when ok"),
        Column("detail", _text, "the tool's own words on the reason, where it had any"),
    )


_KEY = Column("key", _text, "digest of the input and of the protocol: equal key, equal row")


def _size_and_digest(file: str) -> tuple[Column, ...]:
    """What a file that the media stage made has to be; null in tables of earlier versions."""
    return (
        Column(f"{file}_bytes", _int, f"size of the {file} in bytes; null if none or not known"),
        Column(f"{file}_digest", _text, "first 32 hexadecimal digits of its SHA-256; likewise"),
    )


CLIP_ID = Column("clip_id", _text, "path below the collection's folder, with /; unique in it")
COLLECTION = Column("collection", _text, "name of the collection")
ITEM = Column("item", _text, "what pairs clips across collections: prompt index, else clip_id")
MODEL = Column("model", _text, "configured model, or signal where no model is used")
PROTOCOL = Column("protocol_id", _text, "short id of the protocol that made the numbers")
MODALITY = Column("modality", _text, "what was embedded: video, audio, text, image, ...")
TASK = Column("task", _text, "what was measured")
LIMITED = Column("limited", _bool, "a trial run: only the first `limit` prompts or clips")

PLAN = Table(
    "plan",
    1,
    (
        CLIP_ID,
        Column("path", _text, "absolute path of the clip, or its address"),
        Column("audio_path", _text, "absolute path of a separate sound file; null if none"),
        Column("key", _text, "digest of path, size and time (or ETag) of the file or files"),
    ),
)
CLIPS = Table(
    "clips",
    3,
    (
        Column("clip_id", _text, "path below its folder; null: a prompt without clip"),
        Column("path", _text, "absolute path of the file; null for a prompt without clip"),
        Column("kind", _text, "video, audio, image or other, by extension; null without clip"),
        Column("shard", _text, "shard that holds the clip; null if it is not processed"),
        ITEM,
        Column("prompt_index", _int, "index of the prompt; null without a prompt"),
        Column("video_prompt", _text, "what the picture should show"),
        Column("audio_prompt", _text, "what the sound should be"),
        *status_columns("whether the row is a clip that is processed"),
        Column("prompt_status", _text, "ok or skipped: whether a prompt belongs to the clip"),
        Column("prompt_reason", _text, "no_prompt, ambiguous or duplicate; null if ok"),
    ),
)
LABELS = Table(
    "labels",
    1,
    (
        CLIP_ID,
        Column("label", _text, "what the clip is, for probes; null if unknown"),
        Column("group", _text, "what keeps clips on one side of a split; null: each its own"),
    ),
)
COMPANION_FILES = Table(
    "companion_files",
    1,
    (
        CLIP_ID,
        Column("modality", _text, "image, depth, thermal or imu"),
        Column("path", _text, "absolute path of the file; null if the clip has none"),
        Column("key", _text, "digest of the row and of the file's size and modification time"),
        *status_columns("whether the clip has such a file"),
    ),
)
TEXTS = Table(
    "texts",
    1,
    (
        Column("text_id", _text, "digest of the text"),
        Column("text", _text, "the prompt"),
    ),
)
MEDIA = Table(
    "media",
    3,
    (
        CLIP_ID,
        _KEY,
        Column("source_key", _text, "digest of the original file or files alone, as in the plan"),
        Column("path", _text, "absolute path of the original"),
        Column("audio_path", _text, "absolute path of a separate sound file; null if none"),
        *status_columns("failed if neither picture nor sound can be used"),
        Column("video_status", _text, "ok, skipped or failed: the picture"),
        Column("video_reason", _text, "why the picture cannot be used; null when ok"),
        Column("audio_status", _text, "ok, skipped or failed: the sound, before any gate"),
        Column("audio_reason", _text, "why the sound cannot be used; null when ok"),
        Column("proxy", _text, "file name of the proxy under video/; null if none"),
        Column("wave", _text, "file name of the 16 kHz mono wave under audio/; null if none"),
        *_size_and_digest("proxy"),
        *_size_and_digest("wave"),
        Column("duration_s", _float, "seconds of picture decoded, or of sound without picture"),
        Column("width", _int, "pixels, as shown (after rotation)"),
        Column("height", _int, "pixels, as shown (after rotation)"),
        Column("fps", _float, "average frames a second of the original"),
        Column("frames", _int, "frames in the proxy"),
        Column("rotation", _int, "degrees clockwise that a player turns the picture"),
        Column("video_codec", _text, "codec of the chosen picture stream"),
        Column("audio_codec", _text, "codec of the chosen sound stream"),
        Column("video_stream", _int, "index of the chosen picture stream"),
        Column("audio_stream", _int, "index of the chosen sound stream"),
        Column("streams", _text, "all streams as found: 0:video:h264 1:audio:aac ..."),
        Column("sample_rate_hz", _int, "of the original sound"),
        Column("channels", _int, "of the original sound"),
        Column("audio_duration_s", _float, "seconds of sound decoded"),
        Column("mean_volume_db", _float, "root mean square level of the sound, dBFS"),
        Column("max_volume_db", _float, "largest sample of the sound, dBFS"),
        Column("silent_fraction", _float, "share of the sound quieter than -60 dBFS, 0 to 1"),
        Column("black_fraction", _float, "share of the picture that is black, 0 to 1"),
        Column("frozen_fraction", _float, "share of the picture that stands still, 0 to 1"),
    ),
    readable=(2,),
)
EMBEDDINGS = Table(
    "embeddings",
    1,
    (
        Column("id", _text, "clip_id, or text_id for texts"),
        _KEY,
        *status_columns("whether there is an embedding"),
        Column("views", _int, "views (frames, windows) behind the embedding"),
        Column("embedding", pa.list_(pa.float32()), "as the protocol says; null when not ok"),
    ),
)
SCORES = Table(
    "scores",
    1,
    (
        COLLECTION,
        Column("clip_id", _text, "the clip; null for a prompt without clip"),
        ITEM,
        Column("metric", _text, "cosine, av_align, offset_ms, ..."),
        Column("value", _float, "the score; null when not ok"),
        *status_columns("whether there is a score"),
    ),
)
SYNCHRONY = Table(
    "synchrony",
    1,
    (
        CLIP_ID,
        _KEY,
        *status_columns("whether anything could be measured"),
        Column("av_align", _float, "intersection over union of onsets and motion peaks, 0 to 1"),
        Column("onsets", _int, "audio onsets found"),
        Column("peaks", _int, "motion peaks found"),
        Column("offset_ms", _float, "sound after picture: positive is late; null if not claimed"),
        Column("offset_reason", _text, "why no offset is claimed; null when there is one"),
        Column("offset_confidence", _float, "strength of the evidence; the docs say how computed"),
    ),
)
RETRIEVAL = Table(
    "retrieval",
    1,
    (
        COLLECTION,
        Column("direction", _text, "query_to_candidate, as video_to_text"),
        Column("query", _text, "clip_id or text_id of the query"),
        Column("rank", _float, "expected rank of the best positive, 1 is best; ties at random"),
        Column("recall_at_1", _float, "chance that a positive is first, ties at random"),
        Column("recall_at_5", _float, "the same for the first five"),
        Column("recall_at_10", _float, "the same for the first ten"),
        Column("shuffled_rank", _float, "rank with the candidates shuffled: the control"),
        Column("shuffled_recall_at_1", _float, "recall_at_1 of the control"),
        Column("candidates", _int, "number of candidates"),
        Column("positives", _int, "number of right candidates"),
        *status_columns("whether the query was ranked"),
    ),
)


def to_arrow(table: Table, rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Rows as an Arrow table with the declared columns; missing keys are null.

    Raises ValueError for a key that is not a column, a wrong type or an undeclared reason.
    """
    rows = list(rows)
    extra = {key for row in rows for key in row} - set(table.names)
    if extra:
        raise ValueError(f"{table.name}: no such columns: {sorted(extra)}")
    data = {c.name: pa.array([row.get(c.name) for row in rows], c.type) for c in table.columns}
    for name in [name for name in data if name.endswith("reason")]:
        unknown = set(data[name].unique().to_pylist()) - REASONS.keys() - {None}
        if unknown:
            raise ValueError(f"{table.name}.{name}: undeclared reasons {sorted(unknown)}")
    return pa.table(data, schema=table.schema)


def write_table(
    path: Path,
    table: Table,
    rows: Iterable[Mapping[str, Any]] | pa.Table,
    **metadata: Any,
) -> None:
    """Write a Parquet file atomically; `metadata` (JSON) stands beside its name and version.

    Usual metadata keys: protocol (dict), protocol_id, run (counts of processed and reused rows).
    """
    data = rows if isinstance(rows, pa.Table) else to_arrow(table, rows)
    if data.schema.remove_metadata() != table.schema:
        raise ValueError(f"{table.name}: columns {data.schema} differ from {table.schema}")
    note = {"table": table.name, "version": table.version, **metadata}
    data = data.replace_schema_metadata({"concord": json.dumps(note, ensure_ascii=False)})
    with atomic_path(path) as temporary:
        # A dictionary of floats that never repeat makes vectors slow to read.
        scalars = [c.name for c in table.columns if not pa.types.is_list(c.type)]
        pq.write_table(
            data,
            temporary,
            compression="zstd",
            use_dictionary=scalars,
            write_page_checksum=True,  # without it a flipped bit is another number
        )


def write_table_if_changed(path: Path, table: Table, data: pa.Table) -> bool:
    """Write a Parquet file atomically unless it already holds these rows; says whether it wrote.

    What cannot be read as this table is replaced.
    """
    there = read_if_sound(path, table)
    if there is not None and there.equals(data):
        return False
    write_table(path, table, data)
    return True


def read_if_sound(path: Path, table: Table, columns: list[str] | None = None) -> pa.Table | None:
    """As `read_table`; None where there is no file, or one that is damaged or another table.

    Raises MachineError when the system fails, since the file may be sound then.
    """
    if not path.exists():
        return None
    try:
        return read_table(path, table, columns)
    except MachineError:
        raise
    except UserError:
        return None


def read_table(path: Path, table: Table, columns: list[str] | None = None) -> pa.Table:
    """Read a Parquet file written by `write_table`.

    Columns that a readable earlier version lacks are null.
    Raises UserError when it is another table or another version, MachineError when the file is
    missing or the system fails, DamagedError when its content is not what was written.
    """
    with _told_damage(path), pq.ParquetFile(path, page_checksum_verification=True) as file:
        note = _note(file.schema_arrow)
        found = (note.get("table"), note.get("version"))
        if found[0] == table.name and found[1] in table.readable:
            return _completed(file.read(), table, columns)
        if found != (table.name, table.version):
            raise UserError(
                f"{path}: expected table {table.name} version {table.version}, found {found}; "
                "delete the file and run again"
            )
        return file.read(columns)


def read_any(path: Path, columns: list[str] | None = None) -> pa.Table:
    """Read a Parquet file of Concord's whatever table it is. Raises what `read_table` does."""
    with _told_damage(path):
        return pq.read_table(path, columns=columns, page_checksum_verification=True)


@contextmanager
def _told_damage(path: Path) -> Iterator[None]:
    """Raise a MachineError where a file cannot be read, DamagedError where its content is at fault.

    A lack of memory stays a MemoryError, though pyarrow's is an ArrowException too.
    """
    try:
        yield
    except MemoryError:
        raise
    except (OSError, ValueError, pa.ArrowException) as error:
        number = getattr(error, "errno", None)
        if number is None and type(error) is not pa.ArrowException:  # that: no thread to be had
            raise DamagedError(path, error) from error
        why = os.strerror(number) if number else shortened(error)
        raise MachineError(
            f"{path}: cannot be read ({why}); run the same command again, which makes what is "
            "missing"
        ) from error


def _completed(data: pa.Table, table: Table, columns: list[str] | None) -> pa.Table:
    """The rows of an earlier version with all columns of the table, or those named."""
    wanted = [c for c in table.columns if columns is None or c.name in columns]
    there = set(data.column_names)
    parts = [data[c.name] if c.name in there else pa.nulls(len(data), c.type) for c in wanted]
    return pa.table(parts, schema=pa.schema([(c.name, c.type) for c in wanted]))


def count_rows(path: Path) -> int:
    """Rows of a Parquet file, from its end alone; 0 if it is not there.

    Raises what `read_table` does.
    """
    if not path.exists():
        return 0
    with _told_damage(path):
        return int(pq.read_metadata(path).num_rows)


def read_metadata(path: Path) -> dict[str, Any]:
    """The metadata that `write_table` stored: table, version and what else was given."""
    with _told_damage(path):
        return _note(pq.read_schema(path))


def _note(schema: pa.Schema) -> dict[str, Any]:
    raw = (schema.metadata or {}).get(b"concord")
    note: dict[str, Any] = json.loads(raw) if raw else {}
    return note
