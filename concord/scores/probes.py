"""Linear probes and a small network: how much of a label is in the features.

Every clip is predicted once, by a classifier that was trained on the other folds.
"""

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from concord.feature_tables import FEATURE_DISTRIBUTIONS, PREDICTIONS, PROBES
from concord.models.base import Modality
from concord.protocol import protocol_id
from concord.scores.classification import METRICS, Floats, HeldOut, Indices, intervals, metrics
from concord.scores.distributions import distributions
from concord.scores.gather import Outcome
from concord.scores.labelled import Labelled, read_labelled
from concord.scores.sources import ACROSS, Source
from concord.scores.versions import PROBES_VERSION
from concord.tables import write_table

Row = dict[str, Any]

MAX_ITERATIONS = {"logistic": 1000, "svm": 5000, "mlp": 200}
HIDDEN_UNITS = 256
_NO_FEATURES = "no clip has features; this is the commonest reason"
_SKIPPED = {
    "no_label": "no clip with features has a label",
    "one_label": "all clips with features have one label",
    "too_few_clips": "fewer than two labels have a clip, or a group, for every fold",
}


@dataclass(frozen=True)
class Problem:
    """What is learned: features [N, dim], label [N] of K names, unit [N] and fold [N].

    Units are what a split keeps together: groups, or single clips.
    """

    features: npt.NDArray[np.float32]
    label: Indices
    names: list[str]
    unit: Indices
    fold: Indices


def probe(
    folder: Path,
    *,
    scope: str,
    model: str,
    modality: Modality,
    sources: Sequence[Source],
    probes: Mapping[str, Any],
    audio: Mapping[str, Any],
    statistics: Mapping[str, Any],
    threads: int,
) -> None:
    """Write PROBES, PREDICTIONS and FEATURE_DISTRIBUTIONS into `folder`.

    `probes`, `audio` and `statistics` are those sections of the configuration. `threads` decides
    nothing but the time. Raises UserError when the features of the sources do not go together.
    """
    clips = read_labelled(sources, modality, audio)
    protocol = {
        "version": PROBES_VERSION,
        **clips.protocol,
        **{key: probes[key] for key in ("labels", "folds", "split", "standardise")},
        "seed": statistics["seed"],
    }
    name = protocol_id(protocol)
    shown = "*" if scope == ACROSS else scope
    about = {"scope": shown, "model": model, "protocol_id": name, "modality": modality}
    note = {"protocol": protocol, "protocol_id": name}
    spread = [about | row for row in distributions(clips)]
    write_table(folder / "distributions.parquet", FEATURE_DISTRIBUTIONS, spread, **note)
    rows, predictions = _probe_all(clips, probes, statistics, threads)
    write_table(
        folder / "predictions.parquet", PREDICTIONS, [about | r for r in predictions], **note
    )
    write_table(folder / "probes.parquet", PROBES, [about | row for row in rows], **note)


def _probe_all(
    clips: Labelled, probes: Mapping[str, Any], statistics: Mapping[str, Any], threads: int
) -> tuple[list[Row], list[Row]]:
    grouped = probes["split"] == "grouped"
    reason = _leave_out_rare(clips, probes["folds"], grouped)
    counts = _counts(clips.outcome)
    rows: list[Row] = []
    predictions: list[Row] = []
    about = {"split": probes["split"], **counts}
    if reason:
        for name in probes["classifiers"]:
            status = {
                "status": "skipped",
                "reason": reason,
                "detail": _SKIPPED.get(reason, _NO_FEATURES),
            }
            rows += [about | status | {"probe": name, "metric": m, "n": 0} for m in METRICS]
            predictions += [row | {"probe": name} for row in _predictions(clips, None, None)]
        return rows, predictions
    problem = _problem(clips, probes["folds"], grouped, statistics["seed"])
    about |= {"n_labels": len(problem.names), "n_groups": _n_groups(problem) if grouped else None}
    for name in probes["classifiers"]:
        held_out, detail = _fit_all(name, problem, problem.label, probes, statistics, threads)
        order = np.random.default_rng(statistics["seed"]).permutation(len(problem.label))
        control, _ = _fit_all(name, problem, problem.label[order], probes, statistics, threads)
        for row in _rows(held_out, control, problem.unit, statistics):
            rows.append(about | row | {"probe": name, "status": "ok", "detail": detail})
        predictions += [row | {"probe": name} for row in _predictions(clips, problem, held_out)]
    return rows, predictions


def _leave_out_rare(clips: Labelled, folds: int, grouped: bool) -> str | None:
    """Skip clips whose label has fewer clips or groups than folds; why nothing is left, if so."""
    outcome = clips.outcome
    unit = clips.group if grouped else clips.clip_id
    if not outcome.ok.any():
        reasons = Counter(outcome.reason.tolist())
        unlabelled = not reasons or "no_label" in reasons
        return "no_label" if unlabelled else str(reasons.most_common(1)[0][0])
    labels = sorted(set(clips.label[outcome.ok]))
    kept = list(labels)
    for label in labels:
        rows = outcome.ok & (clips.label == label)
        pairs = zip(clips.collection[rows], unit[rows], strict=True)
        n = len(set(unit[rows]) if grouped else set(pairs))
        if n < folds:
            kept.remove(label)
            outcome.skip(rows, "too_few_clips")
            what = "groups" if grouped else "clips"
            outcome.detail[rows] = f"{n} {what} of label {label}, {folds} folds"
    if len(labels) < 2:
        reason = "one_label"
    elif len(kept) < 2:
        reason = "too_few_clips"
    else:
        return None
    outcome.skip(outcome.ok, reason)
    return reason


def _problem(clips: Labelled, folds: int, grouped: bool, seed: int) -> Problem:
    ok = clips.outcome.ok
    names, label = np.unique(clips.label[ok].astype(str), return_inverse=True)
    unit = np.arange(int(ok.sum()))
    if grouped:
        unit = np.unique(clips.group[ok].astype(str), return_inverse=True)[1]
    features = clips.vectors[clips.row[ok]]
    return Problem(
        features, label, names.tolist(), unit, split(label, unit if grouped else None, folds, seed)
    )


def split(label: Indices, group: Indices | None, folds: int, seed: int) -> Indices:
    """The fold [N] that holds out each clip: every label in about its share in every fold.

    With groups [N], clips of one group are in one fold.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    splitter = StratifiedKFold if group is None else StratifiedGroupKFold
    parts = splitter(folds, shuffle=True, random_state=seed).split(label[:, None], label, group)
    fold = np.full(len(label), -1)
    for number, (_, held_out) in enumerate(parts):
        fold[held_out] = number
    return fold


def _fit_all(
    name: str,
    problem: Problem,
    label: Indices,
    probes: Mapping[str, Any],
    statistics: Mapping[str, Any],
    threads: int,
) -> tuple[HeldOut, str | None]:
    """Scores of all clips, each from the folds without it; and what is to be said of the fits."""
    from joblib import Parallel, delayed
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    folds = np.unique(problem.fold)
    fit = delayed(fit_predict)
    # One thread of linear algebra a fold, so that the number of cores changes nothing.
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fits = Parallel(n_jobs=min(threads, len(folds)), prefer="threads")(
            fit(
                name,
                problem.features[problem.fold != fold],
                label[problem.fold != fold],
                problem.features[problem.fold == fold],
                n_labels=len(problem.names),
                standardise=probes["standardise"],
                seed=statistics["seed"],
            )
            for fold in folds
        )
    scores = np.empty((len(label), len(problem.names)))
    for fold, (found, _) in zip(folds, fits, strict=True):
        scores[problem.fold == fold] = found
    short = sum(not converged for _, converged in fits)
    detail = (
        f"not converged after {MAX_ITERATIONS[name]} iterations in {short} of {len(folds)} folds"
    )
    return (
        HeldOut(label, np.argmax(scores, axis=1), problem.fold, scores),
        detail if short else None,
    )


def fit_predict(
    name: str,
    train: npt.NDArray[np.float32],
    label: Indices,
    test: npt.NDArray[np.float32],
    *,
    n_labels: int,
    standardise: bool,
    seed: int,
) -> tuple[Floats, bool]:
    """Scores [M, K] of the clips `test` [M, dim] after training on `train` [N, dim].

    Probabilities, or signed distances for the svm; -inf for labels that are not in `label`. The
    second value says whether the fit converged.
    """
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    steps = [StandardScaler()] if standardise else []
    pipeline = make_pipeline(*steps, _classifier(name, seed))
    scores = np.full((len(test), n_labels), -np.inf)
    known = np.unique(label)
    if len(known) == 1:
        scores[:, known] = 0
        return scores, True
    pipeline.fit(train.astype(np.float64), label)
    if name == "svm":
        found = pipeline.decision_function(test.astype(np.float64))
        found = np.stack([-found, found], axis=1) if found.ndim == 1 else found
    else:
        found = pipeline.predict_proba(test.astype(np.float64))
    scores[:, known] = found
    return scores, bool(np.max(pipeline[-1].n_iter_) < MAX_ITERATIONS[name])


def _classifier(name: str, seed: int) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier
    from sklearn.svm import LinearSVC

    if name == "logistic":
        return LogisticRegression(max_iter=MAX_ITERATIONS[name])
    if name == "svm":
        return LinearSVC(max_iter=MAX_ITERATIONS[name], random_state=seed)
    return MLPClassifier((HIDDEN_UNITS,), max_iter=MAX_ITERATIONS[name], random_state=seed)


def _rows(
    held_out: HeldOut, control: HeldOut, unit: Indices, statistics: Mapping[str, Any]
) -> list[Row]:
    """A row a metric of all folds together, then a row a fold and metric."""
    commonest = int(np.argmax(np.bincount(held_out.label)))
    chance = HeldOut(
        held_out.label,
        np.full_like(held_out.label, commonest),
        held_out.fold,
        np.zeros_like(held_out.scores),
    )
    low, high = intervals(held_out, unit, statistics)
    rows: list[Row] = []
    for fold in (None, *np.unique(held_out.fold).tolist()):
        several = [h if fold is None else h.of_fold(fold) for h in (held_out, chance, control)]
        value, by_chance, shuffled = (metrics(one)[0] for one in several)
        for i, metric in enumerate(METRICS):
            row = {"metric": metric, "fold": fold, "n": len(several[0].label)}
            row |= {"value": value[i], "chance": by_chance[i], "shuffled": shuffled[i]}
            if fold is None:
                row |= {"ci_low": low[i], "ci_high": high[i]}
            rows.append({key: _number(given) for key, given in row.items()})
    return rows


def _number(value: Any) -> Any:
    """Null where a metric is undefined."""
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _predictions(clips: Labelled, problem: Problem | None, held_out: HeldOut | None) -> list[Row]:
    """A row a clip, with its prediction or with why it has none."""
    outcome = clips.outcome
    rows: list[Row] = [
        {
            "collection": clips.collection[i],
            "clip_id": clips.clip_id[i],
            "label": clips.label[i],
            "status": outcome.status[i],
            "reason": outcome.reason[i],
            "detail": outcome.detail[i],
        }
        for i in range(len(clips))
    ]
    if problem is None or held_out is None:
        return rows
    scored = held_out.scores
    score = scored[:, 1] if len(problem.names) == 2 else scored.max(axis=1)
    for at, i in enumerate(np.flatnonzero(outcome.ok)):
        rows[i]["predicted"] = problem.names[held_out.predicted[at]]
        rows[i]["fold"] = int(held_out.fold[at])
        rows[i]["score"] = float(score[at])
    return rows


def _counts(outcome: Outcome) -> dict[str, int]:
    n = {status: int((outcome.status == status).sum()) for status in ("skipped", "failed")}
    return {"n_expected": len(outcome.ok), "n_skipped": n["skipped"], "n_failed": n["failed"]}


def _n_groups(problem: Problem) -> int:
    return len(np.unique(problem.unit))
