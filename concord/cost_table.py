"""The table of what jobs cost: a row a job. Written by the main process when a run ends."""

from collections.abc import Mapping

import pyarrow as pa

from concord.tables import MODALITY, Column, Table

_text, _int, _float = pa.string(), pa.int64(), pa.float64()

COST = Table(
    "cost",
    1,
    (
        Column("stage", _text, "media, embeddings/MODEL/MODALITY, synchrony, scores, ..."),
        Column("rule", _text, "rule of the workflow; snakemake: the run itself, with job starts"),
        Column("task", _text, "task that was scored; null where no task is"),
        Column("model", _text, "configured model; null where none is used"),
        MODALITY,
        Column("source", _text, "collection, or prompt set of texts; null for all together"),
        Column("part", _text, "number of the shard or block; null where it is not divided"),
        Column("status", _text, "ok, failed, or killed: it ended without a word"),
        Column("wall_s", _float, "seconds from start to end"),
        Column("cpu_s", _float, "seconds of all processors, child processes included"),
        Column("gpu_s", _float, "wall_s times the GPUs the job held; 0 where the host has none"),
        Column("memory_mb", _float, "most memory seen, MB; of long jobs looked at every 30 s"),
        Column("gpu_memory_mb", _float, "most GPU memory held by PyTorch, MB; null if none"),
        Column("read_bytes", _int, "bytes from storage; what the system has cached is not read"),
        Column("written_bytes", _int, "bytes to storage"),
        Column("threads", _int, "threads the job was given"),
        Column("gpus", _int, "GPUs the job was given"),
        Column("processed", _int, "clips or texts the job processed; null where it has none"),
        Column("reused", _int, "clips or texts it found done"),
        Column("start_s", _float, "seconds until the model was ready; null without a model"),
        Column("waited_s", _float, "seconds the model waited for decoders; null without a model"),
        Column("computed_s", _float, "seconds the model computed; null without a model"),
        Column("device", _text, "cpu or the GPU's name; null if nothing was computed by a model"),
        Column("host", _text, "kind of machine: processors and GPUs"),
        Column("ended", pa.timestamp("s", "UTC"), "when the job ended; null: killed"),
        Column("run", _text, "last: in the last run; earlier: in a run before it"),
    ),
)
WORKFLOW = "snakemake"
WORKFLOW_STAGE = "workflow"
LAST_STAGE = "tables, exports, page"
_STAGES = {
    "transcode_shard": "media",
    "measure_synchrony": "synchrony",
    "score_task": "scores",
    "score_synchrony": "scores",
    "check_embeddings": "scores",
    "probe_features": "features",
    "project_features": "features",
    "aggregate_tables": LAST_STAGE,
    "export_formats": LAST_STAGE,
    "render_report": LAST_STAGE,
    "drop_proxies": LAST_STAGE,
    "repack_shard": "media",
    "publish_results": LAST_STAGE,
    "write_tree": "tree",
    "make_demo": "demo",
    WORKFLOW: WORKFLOW_STAGE,
}


def stage_of(rule: str, wildcards: Mapping[str, str]) -> str:
    """The stage that a job's cost is summed under."""
    if rule.startswith("embed_"):
        return f"embeddings/{wildcards['model']}/{wildcards.get('modality', 'text')}"
    return _STAGES.get(rule, rule)
