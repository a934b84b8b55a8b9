"""What a reader must know of a metric: its name, its unit, and which end is better."""

from dataclasses import dataclass
from typing import Literal

from concord.scores.tasks import task_info

PROBE_TITLES = {
    "logistic": "logistic regression",
    "svm": "linear SVM",
    "mlp": "network of one layer",
}

# Retrieval metrics of a query, and the column that holds their control under shuffled pairs.
RETRIEVAL_METRICS: dict[str, str | None] = {
    "recall_at_1": "shuffled_recall_at_1",
    "recall_at_5": None,
    "recall_at_10": None,
    "rank": "shuffled_rank",
}
COMPARED_RETRIEVAL = ("recall_at_1", "rank")
CLAIMED = ("offset_ms", "abs_offset_ms")  # there only where the evidence suffices


@dataclass(frozen=True)
class Metric:
    """How a metric is shown. `better` is None where neither end is."""

    label: str
    better: Literal["higher", "lower"] | None
    digits: int
    unit: str
    meaning: str

    def show(self, value: float | None, signed: bool = False) -> str:
        """The value with the digits that mean something; an en dash where there is none."""
        if value is None or value != value:
            return "–"
        text = f"{value:{'+' if signed else ''}z.{self.digits}f}"
        return text.replace("-", "\N{MINUS SIGN}")


_METRICS = {
    "cosine": Metric(
        "cosine similarity", "higher", 3, "",
        "Cosine of the two embeddings, −1 to 1. Only comparable under the same model.",
    ),
    "av_align": Metric(
        "AV-Align", "higher", 3, "",
        "Intersection over union of audio onsets and motion peaks, 0 to 1.",
    ),
    "offset_ms": Metric(
        "offset", None, 0, "ms", "Sound after picture: positive is late, negative early."
    ),
    "abs_offset_ms": Metric(
        "size of the offset", "lower", 0, "ms", "How far sound and picture are apart."
    ),
    "recall_at_1": Metric(
        "R@1", "higher", 3, "", "Share of queries whose right answer comes first."
    ),
    "recall_at_5": Metric("R@5", "higher", 3, "", "The same among the first five."),
    "recall_at_10": Metric("R@10", "higher", 3, "", "The same among the first ten."),
    "accuracy": Metric("accuracy", "higher", 3, "", "Share of clips that are told right."),
    "balanced_accuracy": Metric(
        "balanced accuracy", "higher", 3, "", "The same, with every label counting alike."
    ),
    "roc_auc": Metric(
        "ROC-AUC", "higher", 3, "",
        "Chance that a clip of a label scores higher for it than one of another label.",
    ),
    "rank": Metric("rank", "lower", 1, "", "Place of the first right answer; 1 is best."),
}  # fmt: skip


def metric(name: str) -> Metric:
    """The metric behind a name as in the tables; `direction/metric` for retrieval."""
    direction, _, base = name.rpartition("/")
    known = _METRICS.get(base) or Metric(base.replace("_", " "), None, 3, "", "")
    if not direction:
        return known
    label = f"{direction.replace('_to_', ' → ')}, {known.label}"
    return Metric(label, known.better, known.digits, known.unit, known.meaning)


def measure_name(task: str, name: str) -> str:
    """What was measured, for readers: the task, and the metric where it does not go unsaid."""
    title = task_info(task).title
    return title if name == "cosine" else f"{title}: {metric(name).label}"
