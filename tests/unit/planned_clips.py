"""Collections to plan, and what their plans hold, for the tests of plans."""

import json
from pathlib import Path

from concord.clips.plan import shards
from concord.config import Config
from concord.tables import CLIPS, PLAN, TEXTS, read_table, to_arrow


def fill(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def configure(folder: Path, **options: object) -> Config:
    """A configuration with the collection `c` in folder/clips."""
    collection = {"path": folder / "clips"} | options.pop("collection", {})
    options = {"results": folder / "results", "clips": {"shard_size": 3}} | options
    return Config(collections={"c": collection}, **options)


def write_prompts(folder: Path, *indices: int) -> Path:
    rows = [{"index": i, "video_prompt": f"see {i}", "audio_prompt": f"hear {i}"} for i in indices]
    path = folder / "prompts.json"
    path.write_text(json.dumps(rows))
    return path


def clips(config: Config, name: str = "c") -> list[dict]:
    rows = read_table(config.results / "clips" / name / "clips.parquet", CLIPS).to_pylist()
    to_arrow(CLIPS, rows)
    return rows


def members(config: Config) -> dict[str, dict]:
    """PLAN rows of all shards by clip_id, with their shard."""
    folder = config.results / "clips/c/plan"
    assert sorted(path.stem for path in folder.iterdir()) == shards(config, "c")
    return {
        row["clip_id"]: row | {"shard": shard}
        for shard in shards(config, "c")
        for row in read_table(folder / f"{shard}.parquet", PLAN).to_pylist()
    }


def stamps(config: Config) -> dict[str, int]:
    files = [path for path in config.results.rglob("*") if path.is_file()]
    return {str(path.relative_to(config.results)): path.stat().st_mtime_ns for path in files}


def changed_plans(before: dict[str, int], after: dict[str, int]) -> set[str]:
    return {
        Path(name).stem
        for name in before.keys() | after.keys()
        if "/plan/" in name and before.get(name) != after.get(name)
    }


def planned_texts(config: Config) -> set[str]:
    folder = config.results / "prompts/prompts/plan"
    return {row["text"] for path in folder.iterdir() for row in read_table(path, TEXTS).to_pylist()}


def texts_of(*indices: int) -> set[str]:
    return {f"{verb} {i}" for verb in ("see", "hear") for i in indices}
