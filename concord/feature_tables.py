"""Tables of features: quality, probes, distributions and pictures."""

import pyarrow as pa

from concord.tables import (
    CLIP_ID,
    COLLECTION,
    LIMITED,
    MODALITY,
    MODEL,
    PROTOCOL,
    Column,
    Table,
    status_columns,
)

_text, _int, _float = pa.string(), pa.int64(), pa.float64()

QUALITY = Table(
    "quality",
    1,
    (
        MODEL,
        MODALITY,
        Column("source", _text, "collection, or prompt set of texts, whose embeddings are checked"),
        PROTOCOL,
        Column("check", _text, "not_finite, zero, collapsed, effective_rank, duplicates or norms"),
        Column("status", _text, "ok, warning, failed, or skipped: too few vectors to tell"),
        Column("n", _int, "vectors checked"),
        Column("count", _int, "vectors the check found; null where it judges all together"),
        Column("share", _float, "count / n, 0 to 1"),
        Column("value", _float, "what is held against the limit"),
        Column("limit", _float, "key of `quality` in the configuration; beyond it: failed"),
        Column("examples", _text, "JSON list of a few ids, or of lists of ids that are alike"),
        Column("meaning", _text, "what was found, in words"),
    ),
)
_SCOPE = Column("scope", _text, "the collection the clips are of; * for all together")
_PROBE = Column("probe", _text, "logistic, svm or mlp")
PROBES = Table(
    "probes",
    1,
    (
        _SCOPE,
        MODEL,
        PROTOCOL,
        MODALITY,
        _PROBE,
        Column("split", _text, "what is held out together: stratified (nothing), grouped, items"),
        Column("fold", _int, "the fold that was held out, from 0; null: all folds together"),
        Column("metric", _text, "accuracy, balanced_accuracy or roc_auc"),
        Column("value", _float, "the metric on clips held out; null when not ok"),
        Column("ci_low", _float, "lower end of the bootstrap confidence interval; all folds only"),
        Column("ci_high", _float, "upper end of it"),
        Column("chance", _float, "the metric of always naming the commonest label"),
        Column("shuffled", _float, "mean of the metric over shufflings of the labels: the control"),
        Column("n", _int, "clips behind the value"),
        Column("n_expected", _int, "clips there are"),
        Column("n_skipped", _int, "clips left out, with a reason"),
        Column("n_failed", _int, "clips that failed, with a reason"),
        Column("n_labels", _int, "labels told apart"),
        Column("n_groups", _int, "groups or items that were kept together; null without"),
        *status_columns("whether there is a value"),
    ),
)
PREDICTIONS = Table(
    "predictions",
    1,
    (
        _SCOPE,
        MODEL,
        PROTOCOL,
        MODALITY,
        _PROBE,
        COLLECTION,
        CLIP_ID,
        Column("label", _text, "what the clip is"),
        Column("predicted", _text, "what the probe took it for, trained without its fold"),
        Column("fold", _int, "the fold it was held out with"),
        Column(
            "score",
            _float,
            "how sure: of the second label by alphabet if there are two, else of the predicted; "
            "probability (logistic, mlp) or signed distance to the margin (svm)",
        ),
        *status_columns("whether the clip has a prediction"),
    ),
)
CONFUSION = Table(
    "confusion",
    1,
    (
        _SCOPE,
        MODEL,
        PROTOCOL,
        MODALITY,
        _PROBE,
        Column("label", _text, "what the clips are"),
        Column("predicted", _text, "what the probe took them for"),
        Column("n", _int, "clips; pairs of labels without any are not listed"),
    ),
)
FEATURE_DISTRIBUTIONS = Table(
    "feature_distributions",
    1,
    (
        _SCOPE,
        MODEL,
        PROTOCOL,
        MODALITY,
        Column(
            "statistic",
            _text,
            "norm_mean, norm_std, spread (of one label), centroid_distance, frechet_distance, "
            "standardised_difference (of two); pairs where there are too many to list those of two",
        ),
        Column("label", _text, "the label; null: all of them"),
        Column("other", _text, "the label it is compared with; null where it is none"),
        Column("dimension", _int, "index of the dimension, from 0; null: all dimensions"),
        Column("value", _float, "the statistic; null when not ok"),
        Column("n", _int, "clips of the label"),
        Column("n_other", _int, "clips of the other label; null where there is none"),
        *status_columns("whether there is a value"),
    ),
)
PROJECTIONS = Table(
    "projections",
    1,
    (
        _SCOPE,
        COLLECTION,
        CLIP_ID,
        Column("label", _text, "label or collection that the clip is drawn as"),
        Column("norm", _float, "length of its feature vector"),
        Column(
            "centre_cosine",
            _float,
            "cosine with the mean direction of the other clips of its label; null if it is alone",
        ),
        Column("method", _text, "pca, tsne or umap"),
        Column("x", _float, "first coordinate; without unit"),
        Column("y", _float, "second coordinate; without unit"),
    ),
)
ALL_FEATURES = {
    table.name: Table(f"all_{table.name}", 1, (*table.columns, LIMITED))
    for table in (QUALITY, PROBES, PREDICTIONS, CONFUSION, FEATURE_DISTRIBUTIONS)
}
