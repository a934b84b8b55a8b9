"""The columns of the final tables, in results/tables, that summarise what the rooms left."""

import pyarrow as pa

from concord.tables import (
    CLIPS,
    COLLECTION,
    ITEM,
    LABELS,
    LIMITED,
    MEDIA,
    MODEL,
    PROTOCOL,
    RETRIEVAL,
    SCORES,
    TASK,
    Column,
    Table,
    status_columns,
)

_text, _int, _float, _bool = pa.string(), pa.int64(), pa.float64(), pa.bool_()

SUMMARY = Table(
    "summary",
    1,
    (
        TASK,
        MODEL,
        PROTOCOL,
        COLLECTION,
        Column("metric", _text, "cosine, av_align, video_to_text/recall_at_1, ..."),
        Column("n_expected", _int, "rows there should be"),
        Column("n_scored", _int, "rows behind the numbers"),
        Column("n_skipped", _int, "rows left out, with a reason"),
        Column("n_failed", _int, "rows that failed, with a reason"),
        Column("mean", _float, "mean over the scored rows"),
        Column("ci_low", _float, "lower end of the bootstrap confidence interval of the mean"),
        Column("ci_high", _float, "upper end of it"),
        Column("std", _float, "standard deviation, ddof 0"),
        Column("min", _float, "smallest"),
        Column("max", _float, "largest"),
        Column("median", _float, "median"),
        Column("control", _float, "the mean under shuffled pairs, where there is such a control"),
        LIMITED,
    ),
)
COMPARISONS = Table(
    "comparisons",
    1,
    (
        TASK,
        MODEL,
        PROTOCOL,
        Column("metric", _text, "the metric compared"),
        Column("a", _text, "first collection"),
        Column("b", _text, "second collection"),
        Column("n_common", _int, "items scored in both"),
        Column("n_only_a", _int, "items scored in a alone"),
        Column("n_only_b", _int, "items scored in b alone"),
        Column("mean_a", _float, "mean of a over the common items"),
        Column("mean_b", _float, "mean of b over the common items"),
        Column("difference", _float, "mean of a - b over the common items"),
        Column("ci_low", _float, "lower end of its bootstrap confidence interval"),
        Column("ci_high", _float, "upper end of it"),
        Column("p_value", _float, "two-sided sign-flip permutation test of no difference"),
        Column("permutations", _int, "sign patterns tried for it: at random, or all if fewer"),
        Column("p_holm", _float, "p_value corrected by Holm over the table's rows of one task"),
        Column("note", _text, "why there is no difference, or what limits it; null if nothing"),
        Column("comparable", _bool, "whether a difference may be read as one being better"),
        LIMITED,
    ),
)
STATUS = Table(
    "status",
    1,
    (
        COLLECTION,
        Column("clip_id", _text, "the clip; null for a prompt without clip"),
        ITEM,
        Column(
            "stage",
            _text,
            "clips, prompts, media, embeddings/MODEL/MODALITY or scores/TASK/MODEL[/METRIC]",
        ),
        *status_columns("of the clip at this stage"),
        LIMITED,
    ),
)
# The next ones gather what the rooms left, for people who want one file.
ALL_CLIPS = Table(  # and a column a score
    "all_clips", 1, (COLLECTION, *CLIPS.columns, *LABELS.columns[1:], LIMITED)
)
ALL_MEDIA = Table(
    "all_media",
    2,
    (COLLECTION, Column("shard", _text, "shard that holds the clip"), *MEDIA.columns, LIMITED),
)
ALL_SCORES = Table("all_scores", 1, (TASK, MODEL, PROTOCOL, *SCORES.columns, LIMITED))
ALL_RETRIEVAL = Table("all_retrieval", 1, (TASK, MODEL, PROTOCOL, *RETRIEVAL.columns, LIMITED))
