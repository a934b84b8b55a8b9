"""Makes a plausible results folder, as the other rooms would leave it, without running them."""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from concord.config import Config
from concord.feature_tables import QUALITY
from concord.protocol import digest, protocol_id
from concord.report.results import Results
from concord.tables import CLIPS, EMBEDDINGS, LABELS, MEDIA, PLAN, RETRIEVAL, SCORES, write_table

PROMPTS = [
    "a red ball bounces <script>document.title='pwned'</script>",
    "一只红色的球在弹跳",
    "كرة حمراء تقفز على الأرض",
    "quả bóng đỏ nảy lên, tiếng trống vang đều",
    "a \"quoted\" & 'odd' prompt",
    "two blue squares slide past each other while a low drum marks every turn",
]
NAMES = ["<img src=x onerror=alert(1)>", "-dash", "=1+1", "emoji 🥁", "a b", "plain"]
AGREEMENT = {"faithful": 0.55, "late": 0.54, "careless": 0.35}
DIM = 32
SILENT, BROKEN = 3, 5  # the clips of every collection without sound, and unreadable


def make_results(
    folder: Path,
    collections: tuple[str, ...] = ("faithful", "late", "careless"),
    count: int = 24,
    prompts: bool = True,
    media: bool = False,
    scored: bool = True,
    labels: int = 0,
    **options: Any,
) -> Config:
    """A configuration and the tables of `count` clips a collection; one prompt has no clip.

    `media` also makes proxies and waves; `scored` false skips every score; with `labels`, clips
    have one of so many, and their features tell which.
    """
    given = {"label": "parent"} if labels else {}
    config = Config.model_validate(
        {
            "results": folder / "results",
            "collections": {
                name: {"path": str(folder / name / "videos"), **given} for name in collections
            },
            "prompts": {"world": str(folder / "prompts.json")} if prompts else {},
            "models": {"mini": {"checkpoint": str(folder / "weights.safetensors")}},
            "statistics": {"bootstrap": 200},
            "clips": {"block_size": 1},  # each shard a block of its own
            **options,
        }
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "weights.safetensors").write_bytes(b"weights")
    for prompt_set in config.prompts:
        path = config.results / "prompts" / prompt_set / "shards.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('["0000"]')
    if media:
        _make_clip(folder)
    for seed, name in enumerate(collections):
        _Collection(config, folder, name, count, prompts, media, scored, labels, seed).write()
    _check(config)
    return config


def _check(config: Config) -> None:
    """The quality tables of all embeddings: nothing is wrong."""
    layout = Results(config).layout
    for path in {path for name in config.collections for path in layout.quality(name)}:
        model, modality = path.parts[-3:-1]
        row = {"model": model, "modality": modality, "source": path.stem, "check": "zero",
               "status": "ok", "n": 22, "count": 0, "value": 0.0, "limit": 0.0}  # fmt: skip
        write_table(path, QUALITY, [row])


class _Collection:
    """One collection's tables."""

    def __init__(
        self,
        config: Config,
        folder: Path,
        name: str,
        count: int,
        prompts: bool,
        media: bool,
        scored: bool,
        labels: int,
        seed: int,
    ) -> None:
        self.config, self.folder, self.name, self.prompts = config, folder, name, prompts
        self.media, self.scored = media, scored
        self.ids = [f"sub/{i:04d} {NAMES[i % len(NAMES)]}.mp4" for i in range(count)]
        self.root = folder / name / "videos"
        rng = np.random.default_rng(seed)
        texts = np.random.default_rng(99).normal(size=(count, DIM))
        share = AGREEMENT.get(name, 0.7)
        self.video = (share * texts + (1 - share) * rng.normal(size=texts.shape)).astype("f4")
        self.audio = (share * texts + (1 - share) * rng.normal(size=texts.shape)).astype("f4")
        self.texts = texts.astype("f4")
        self.labels = [f"label {i % labels:02d}" if labels else None for i in range(count)]
        if labels:
            centres = 2 * np.random.default_rng(98).normal(size=(labels, DIM)).astype("f4")
            self.video += centres[np.arange(count) % labels]
            self.audio += centres[np.arange(count) % labels]
        self.offsets = rng.normal(800 if name == "late" else 0, 40, count)

    def prompt(self, i: int) -> str | None:
        return f"{PROMPTS[i % len(PROMPTS)]} {i}" if self.prompts else None

    def item(self, i: int) -> str:
        return str(i) if self.prompts else Path(self.ids[i]).stem

    def write(self) -> None:
        self._clips()
        self._media()
        self._embeddings("video", self.video)
        self._embeddings("audio", self.audio)
        self._similarity("av_consistency", self.video, self.audio)
        if self.prompts:
            self._similarity("video_text", self.video, self.texts)
            self._similarity("audio_text", self.audio, self.texts)
        self._synchrony()
        if "retrieval" in self.config.tasks:
            both = {"video_to_audio": (self.video, self.audio)}
            both["audio_to_video"] = (self.audio, self.video)
            self._retrieval(both)

    def _shards(self) -> list[tuple[str, list[int]]]:
        half = len(self.ids) // 2
        everything = list(range(len(self.ids)))
        return [("0000", everything[:half]), ("0001", everything[half:])]

    def _clips(self) -> None:
        folder = self.config.results / "clips" / self.name
        rows: list[dict[str, Any]] = []
        for shard, members in self._shards():
            plan = [
                {"clip_id": self.ids[i], "path": str(self.root / self.ids[i]), "key": str(i)}
                for i in members
            ]
            write_table(folder / "plan" / f"{shard}.parquet", PLAN, plan)
            rows += [
                {
                    "clip_id": self.ids[i],
                    "path": str(self.root / self.ids[i]),
                    "kind": "video",
                    "shard": shard,
                    "item": self.item(i),
                    "prompt_index": i if self.prompts else None,
                    "video_prompt": self.prompt(i),
                    "audio_prompt": self.prompt(i),
                    "status": "ok",
                    "prompt_status": "ok" if self.prompts else None,
                }
                for i in members
            ]
        rows.append({"clip_id": "notes.txt", "path": str(self.root / "notes.txt"), "kind": "other",
                     "status": "skipped", "reason": "not_media"})  # fmt: skip
        if self.prompts:
            rows.append({"item": "24000", "prompt_index": 24000, "video_prompt": "never made",
                         "audio_prompt": "never made", "status": "skipped", "reason": "no_clip",
                         "prompt_status": "ok"})  # fmt: skip
        write_table(folder / "clips.parquet", CLIPS, rows)
        known = [{"clip_id": name, "label": label}
                 for name, label in zip(self.ids, self.labels, strict=True) if label]  # fmt: skip
        write_table(folder / "labels.parquet", LABELS, known)
        (folder / "shards.json").write_text(json.dumps([s for s, _ in self._shards()]))

    def _media(self) -> None:
        for shard, members in self._shards():
            folder = self.config.results / "media" / self.name / shard
            write_table(folder / "media.parquet", MEDIA, [self._measured(i) for i in members],
                        computed=[{"ffmpeg": f"7.{shard}", "av": "18.1"}])  # fmt: skip
            for kind, suffix in (("video", "mp4"), ("audio", "wav")) if self.media else ():
                (folder / kind).mkdir(parents=True)
                for i in members:
                    key = digest(self.name, str(i))
                    (folder / kind / f"{key}.{suffix}").hardlink_to(self.folder / f"clip.{suffix}")

    def _measured(self, i: int) -> dict[str, Any]:
        key = digest(self.name, str(i))
        row = {"clip_id": self.ids[i], "key": key, "path": str(self.root / self.ids[i])}
        if i == BROKEN:
            return row | {"status": "failed", "reason": "unreadable", "detail": "moov <not> found",
                          "video_status": "failed", "video_reason": "unreadable",
                          "audio_status": "failed", "audio_reason": "unreadable"}  # fmt: skip
        return row | {"status": "ok", "video_status": "ok", "audio_status": "ok",
                      "proxy": f"{key}.mp4", "wave": f"{key}.wav", "duration_s": 2.0,
                      "width": 320, "height": 240, "fps": 25.0, "frames": 40,
                      "mean_volume_db": -90.0 if i == SILENT else -20.0}  # fmt: skip

    def _embeddings(self, modality: str, values: np.ndarray) -> None:
        for shard, members in self._shards():
            rows = [
                {"id": self.ids[i], "key": str(i), "views": 8, **self._fate(i)}
                | ({} if i == BROKEN else {"status": "ok", "reason": None, "embedding": values[i]})
                for i in members
            ]
            path = self.config.results / "embeddings" / "mini" / modality / self.name
            write_table(path / f"{shard}.parquet", EMBEDDINGS, rows, dim=DIM)

    def _fate(self, i: int) -> dict[str, Any]:
        if i == BROKEN:
            return {"status": "failed", "reason": "unreadable", "detail": "moov <not> found"}
        if i == SILENT:
            return {"status": "skipped", "reason": "silent"}
        if not self.scored:
            return {"status": "skipped", "reason": "too_short"}
        return {"status": "ok"}

    def _similarity(self, task: str, left: np.ndarray, right: np.ndarray) -> None:
        cosine = (left * right).sum(1) / (
            np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
        )
        self._scores(task, "mini", {"cosine": cosine})

    def _synchrony(self) -> None:
        self._scores(
            "synchrony",
            "signal",
            {
                "av_align": np.clip(0.6 - np.abs(self.offsets) / 2000, 0, 1),
                "offset_ms": self.offsets,
                "abs_offset_ms": np.abs(self.offsets),
            },
        )

    def _scores(self, task: str, model: str, metrics: dict[str, np.ndarray]) -> None:
        rows = [
            {"collection": self.name, "clip_id": clip_id, "item": self.item(i), "metric": metric,
             **fate, "value": float(values[i]) if fate["status"] == "ok" else None}
            for metric, values in metrics.items()
            for i, clip_id in enumerate(self.ids)
            for fate in [self._fate(i)]
        ]  # fmt: skip
        if self.prompts and model == "mini":
            rows.append({"collection": self.name, "item": "24000", "metric": "cosine",
                         "status": "skipped", "reason": "no_clip"})  # fmt: skip
        self._write(task, model, SCORES, rows)

    def _retrieval(self, directions: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
        rows = [row for name, sides in directions.items() for row in self._queries(name, *sides)]
        self._write("retrieval", "mini", RETRIEVAL, rows)

    def _queries(self, direction: str, left: np.ndarray, right: np.ndarray) -> list[dict[str, Any]]:
        good = [i for i in range(len(self.ids)) if self._fate(i)["status"] == "ok"]
        unit = [s[good] / np.linalg.norm(s[good], axis=1, keepdims=True) for s in (left, right)]
        matrix = unit[0] @ unit[1].T
        own = np.diag(matrix)
        rank = dict(zip(good, (matrix > own[:, None]).sum(1) + 1.0, strict=True))
        shuffled = dict(zip(good, (matrix > np.roll(own, 1)[:, None]).sum(1) + 1.0, strict=True))
        rows = []
        for i, clip_id in enumerate(self.ids):
            row = {"collection": self.name, "direction": direction, "query": clip_id}
            row |= self._fate(i)
            if row["status"] == "ok":
                row |= {f"recall_at_{k}": float(rank[i] <= k) for k in (1, 5, 10)}
                row |= {"rank": rank[i], "candidates": len(good), "positives": 1}
                row |= {"shuffled_rank": shuffled[i]}
                row |= {"shuffled_recall_at_1": float(shuffled[i] <= 1)}
            rows.append(row)
        return rows

    def _write(self, task: str, model: str, table: Any, rows: list[dict[str, Any]]) -> None:
        protocol = {"task": task, "model": model, "version": 1}
        path = self.config.results / "scores" / task / model / f"{self.name}.parquet"
        write_table(path, table, rows, protocol=protocol, protocol_id=protocol_id(protocol))


def _make_clip(folder: Path) -> None:
    command = ["ffmpeg", "-v", "error", "-y", "-f", "lavfi"]
    picture = ["-i", "testsrc2=size=32x32:rate=5:duration=1", "-pix_fmt", "yuv420p"]
    sound = ["-i", "sine=frequency=440:sample_rate=16000:duration=1"]
    subprocess.run([*command, *picture, str(folder / "clip.mp4")], check=True)
    subprocess.run([*command, *sound, str(folder / "clip.wav")], check=True)
