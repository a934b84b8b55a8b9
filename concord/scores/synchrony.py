"""Synchrony without a model: AV-Align, and how late the sound is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from concord.errors import UserError
from concord.media.file import MediaFile
from concord.media.protocol import content_id
from concord.media.proxies import Limits, Proxies
from concord.progress import Progress
from concord.protocol import digest, protocol_id
from concord.resume import Resume, Row
from concord.scores.tasks import task_info
from concord.scratch import scratch_folder
from concord.tables import MEDIA, SCORES, SYNCHRONY, read_metadata, read_table, write_table

if TYPE_CHECKING:
    from concord.scores.gather import Outcome

VERSION = 1
"""Raised whenever onsets.py, motion.py, offset.py or this file change what is measured."""

MIN_DURATION_S = 1.0


def synchrony_protocol() -> dict[str, Any]:
    """What decides the numbers, beside the media protocol, as builtins. Light to import."""
    return {
        "version": VERSION,
        "av_align": "onsets and flow peaks less than one proxy frame apart (Yariv et al. 2024)",
        "offset": "transients against jolts within 2 s, p at most 0.1, 1.2 times the next best",
    }


def av_align(onsets_s: npt.ArrayLike, peaks_s: npt.ArrayLike, fps: float) -> float:
    """Intersection over union of onsets and motion peaks, 0 to 1, as AV-Align's code counts it.

    An onset is in the intersection if a peak lies less than one frame (1 / fps seconds) from it.
    The union is all onsets and peaks less the intersection. Onsets may share a peak, by which the
    published value can pass 1; it is cut off there.
    Yariv et al., "Diverse and Aligned Audio-to-Video Generation via Text-to-Video Model
    Adaptation", AAAI 2024. Raises ValueError (`no_events`) without onsets or peaks.
    """
    onsets, peaks = np.asarray(onsets_s, float), np.asarray(peaks_s, float)
    if not len(onsets) or not len(peaks):
        raise ValueError("no_events")
    window_s = 1 / fps
    near = (peaks - window_s < onsets[:, None]) & (onsets[:, None] < peaks + window_s)
    shared = int(near.any(axis=1).sum())
    return min(1.0, shared / (len(onsets) + len(peaks) - shared))


def measure(proxy: MediaFile, wave: MediaFile) -> Row:
    """The measured columns of SYNCHRONY, with status and reason, of one proxy and its wave.

    Raises ValueError (`unreadable`) for files that do not decode.
    """
    from concord.scores.motion import peak_times, read_motion
    from concord.scores.offset import estimate_offset
    from concord.scores.onsets import find_transients, onset_times, read_wave

    samples, rate_hz = read_wave(wave)
    motion = read_motion(proxy)
    duration_s = min(motion.duration_s, len(samples) / rate_hz)
    if duration_s < MIN_DURATION_S:
        return {"status": "skipped", "reason": "too_short"}
    onsets = onset_times(samples, rate_hz)
    peaks = np.zeros(0) if motion.still else peak_times(motion)
    found: Row = {"status": "ok", "reason": None, "onsets": len(onsets), "peaks": len(peaks)}
    try:
        found["av_align"] = av_align(onsets, peaks, motion.fps)
    except ValueError:
        return found | {"status": "skipped", "reason": "no_events"}
    offset = estimate_offset(find_transients(samples, rate_hz), motion, duration_s)
    return found | {
        "offset_ms": offset.ms,
        "offset_reason": offset.reason,
        "offset_confidence": offset.confidence,
    }


def measure_shard(
    media: Path,
    output: Path,
    *,
    protocol: dict[str, Any],
    workers: int,
    limits: Limits,
    media_protocol: dict[str, Any],
) -> None:
    """Measure the clips of a shard; writes SYNCHRONY to `output`, a row for every row of `media`.

    Clips whose picture or sound cannot be used keep that reason. Rows that are done are kept.
    Proxies that were deleted are made again, for this job only.
    Raises UserError when the machine or the configuration is at fault.
    """
    name = protocol_id(protocol)
    rows = [_planned(row, name) for row in read_table(media, MEDIA).to_pylist()]
    with Resume(output, SYNCHRONY) as resume:
        todo = [row for row in rows if row["key"] not in resume.done]
        resume.settle(*(row["settled"] for row in todo if row["settled"]))
        todo = [row for row in todo if not row["settled"]]
        if todo:
            with scratch_folder() as scratch:
                proxies = Proxies(media.parent, media_protocol, scratch, limits)
                _run(resume, todo, _Measure(proxies), workers, f"synchrony {media.parent.name}")
        protocol = protocol | {"media": content_id(media_protocol)}
        resume.finish(
            [row["key"] for row in rows], protocol=protocol, protocol_id=protocol_id(protocol)
        )


def _planned(row: Row, protocol: str) -> Row:
    """A media row with the key of its measurement, and the finished row if it has none."""
    status, reason, detail = _usable(row)
    settled: Row | None = None
    key = digest(row["key"], protocol)
    if status != "ok":
        key = digest(row["key"], protocol, status, reason or "")
        settled = {"clip_id": row["clip_id"], "key": key, "status": status, "reason": reason}
        settled["detail"] = detail
    return {"key": key, "settled": settled, "media": row}


def _usable(row: Row) -> tuple[str, str | None, str | None]:
    """Status, reason and detail of the first of picture, sound and files that is not there."""
    for part in ("video", "audio"):
        if row[f"{part}_status"] != "ok":
            return row[f"{part}_status"], row[f"{part}_reason"], row["detail"]
    if not row["proxy"] or not row["wave"]:  # left untranscoded; the row's own status says why
        return row["status"], row["reason"], row["detail"]
    return "ok", None, None


@dataclass(frozen=True)
class _Measure:
    """Measures the clip of a MEDIA row; picklable, for worker processes."""

    proxies: Proxies

    def __call__(self, row: Row) -> Row:
        with self.proxies.open(row) as (proxy, wave):
            assert proxy is not None
            assert wave is not None
            return measure(proxy, wave)


def _run(resume: Resume, todo: list[Row], work: _Measure, workers: int, what: str) -> None:
    """Measure in parallel; every result is recorded as it comes."""
    from concord.parallel import Failure, parallel_map

    progress = Progress(what, len(todo))
    with parallel_map(
        work,
        (row["media"] for row in todo),
        workers=workers,
        ahead=2 * workers,
        timeout_s=work.proxies.limits.proxy_s,
    ) as results:
        for row, result in zip(todo, results, strict=True):
            if isinstance(result, Failure):
                result = {"status": "failed", "reason": result.reason, "detail": result.detail}
            resume.add({"clip_id": row["media"]["clip_id"], "key": row["key"]} | result)
            progress.step()


def score_synchrony(
    output: Path,
    *,
    collection: str,
    clips: Path,
    media: Sequence[Path],
    synchrony: Sequence[Path],
    audio: Mapping[str, Any],
) -> None:
    """Write SCORES: av_align, offset_ms and abs_offset_ms of every clip and missing clip.

    `audio` (require, silence_db) is the gate. An offset that is not claimed is skipped with its
    reason, never a number. Raises UserError when tables are missing or of several protocols.
    """
    from concord.scores.gather import apply_media, apply_synchrony, clip_outcome, read_clips

    rows = read_clips(clips)
    outcome = clip_outcome(rows)
    apply_media(outcome, rows, media, "video", None)
    apply_media(outcome, rows, media, "audio", audio)
    measured = apply_synchrony(outcome, rows, synchrony)
    claimed = outcome.take(np.arange(len(rows)))
    no_claim = pc.is_null(measured["offset_ms"]).to_numpy()
    claimed.then(
        np.where(no_claim, "skipped", "ok").astype(object),
        measured["offset_reason"].to_numpy().astype(object),
    )
    protocol = {
        "task": "synchrony",
        "version": task_info("synchrony").version,
        "synchrony": _agreed_protocol(synchrony),
        "audio": dict(audio),
    }
    parts = [
        _metric(collection, rows, "av_align", measured["av_align"], outcome),
        _metric(collection, rows, "offset_ms", measured["offset_ms"], claimed),
        _metric(collection, rows, "abs_offset_ms", pc.abs(measured["offset_ms"]), claimed),
    ]
    write_table(
        output,
        SCORES,
        pa.concat_tables(parts),
        protocol=protocol,
        protocol_id=protocol_id(protocol),
        task="synchrony",
        collection=collection,
        model="signal",
    )


def _metric(
    collection: str, rows: pa.Table, metric: str, values: pa.ChunkedArray, outcome: "Outcome"
) -> pa.Table:
    """SCORES of one metric; a value only where the outcome [N] is ok."""
    n = len(rows)
    columns = {
        "collection": pa.array([collection] * n, pa.string()),
        "clip_id": rows["clip_id"],
        "item": rows["item"],
        "metric": pa.array([metric] * n, pa.string()),
        "value": pc.if_else(pa.array(outcome.ok), values, None),
        **outcome.columns(),
    }
    return pa.table(columns, schema=SCORES.schema)


def _agreed_protocol(synchrony: Sequence[Path]) -> dict[str, Any]:
    """The protocol of all files. Raises UserError when there are several."""
    found = {path: read_metadata(path)["protocol"] for path in synchrony}
    if len({protocol_id(protocol) for protocol in found.values()}) > 1:
        listed = ", ".join(f"{protocol_id(protocol)} in {path}" for path, protocol in found.items())
        raise UserError(
            f"synchrony of one protocol expected, several found: {listed}; "
            "delete the outdated files and run again"
        )
    return next(iter(found.values()), synchrony_protocol())
