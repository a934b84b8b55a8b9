"""Which log file belongs to a stage of a shard, a block or a collection."""

from pathlib import Path

from concord.models.base import COMPANIONS

_RULES = {"media": "transcode_shard", "synchrony": "measure_synchrony"}


def log_of(results: Path, stage: str, collection: str, part: str | None) -> Path | None:
    """The log of the job behind a stage, as STATUS names stages; None for clips and prompts.

    Clips and prompts are looked at when the workflow is planned, not in a job. `collection` is
    the prompt set for embeddings of texts; `part` the shard or, for embeddings, the block.
    """
    kind, *parts = stage.split("/")
    if kind in _RULES:
        rule, names = _RULES[kind], [collection, part]
    elif kind == "embeddings" and parts[1] == "text":
        rule, names = "embed_texts", [parts[0], collection, part]
    elif kind == "embeddings" and parts[1] in COMPANIONS:
        rule, names = "embed_companions", [*parts, collection, part]
    elif kind == "embeddings":
        rule, names = "embed_media", [*parts, collection, part]
    elif kind == "scores" and parts[0] == "synchrony":
        rule, names = "score_synchrony", [collection]
    elif kind == "scores":
        rule, names = "score_task", [*parts[:2], collection]
    else:
        return None
    return results / "logs" / rule / f"{'.'.join(map(str, names))}.log"
