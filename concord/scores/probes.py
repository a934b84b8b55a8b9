"""Linear probes and a small network: how much of a label is in the features.

Every clip is predicted once, by a classifier that was trained on the other folds.
"""

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from concord.feature_tables import FEATURE_DISTRIBUTIONS, PREDICTIONS, PROBES
from concord.models.base import Modality
from concord.protocol import protocol_id
from concord.scores.classification import (
    METRICS,
    Floats,
    HeldOut,
    Indices,
    intervals,
    mean_defined,
    metrics,
)
from concord.scores.distributions import distributions
from concord.scores.gather import Outcome
from concord.scores.labelled import Labelled, read_labelled
from concord.scores.sources import ACROSS, ALL_COLLECTIONS, Source
from concord.scores.splits import Units, folds, related, sample, shuffled, single
from concord.scores.versions import PROBES_VERSION
from concord.tables import write_table

Row = dict[str, Any]

MAX_ITERATIONS = {"logistic": 1000, "svm": 5000, "mlp": 200}
HIDDEN_UNITS = 256
CONTROLS = {"logistic": 5, "svm": 5, "mlp": 1}
"""Shufflings of the labels that the control is the mean of; a network takes long to learn them."""
_UNITS = {"stratified": "clips", "grouped": "groups", "items": "items"}
_NO_FEATURES = "no clip has features; this is the commonest reason"
_SKIPPED = {
    "no_label": "no clip with features has a label",
    "one_label": "all clips with features have one label",
    "too_few_clips": "fewer than two labels have a clip, or a group, for every fold",
}


@dataclass(frozen=True)
class Chosen:
    """What is told apart: the clips left, what the split keeps together, what belongs together.

    `described` [N] are the clips whose distributions are told: those left, or the sample where
    nothing can be learned, for which `reason` says why. `note` is to be said of every row.
    """

    clips: Labelled
    described: npt.NDArray[np.bool_]
    kept: Units
    related: Units
    reason: str | None
    note: str | None


@dataclass(frozen=True)
class Problem:
    """What is learned: features [N, dim], label [N] of K names, and fold [N].

    `unit` [N] numbers what the split keeps together, `related` [N] what belongs together.
    """

    features: npt.NDArray[np.float32]
    label: Indices
    names: list[str]
    unit: Indices
    related: Indices
    fold: Indices


def probe(
    folder: Path,
    *,
    scope: str,
    model: str,
    modality: Modality,
    sources: Sequence[Source],
    labelling: Mapping[str, Mapping[str, str | None]],
    probes: Mapping[str, Any],
    audio: Mapping[str, Any],
    statistics: Mapping[str, Any],
    threads: int,
) -> None:
    """Write PROBES, PREDICTIONS and FEATURE_DISTRIBUTIONS into `folder`.

    `labelling` says where the labels and groups come from (concord.scores.sources), for the
    protocol. `probes`, `audio` and `statistics` are those sections of the configuration. `threads`
    decides nothing but the time. Raises UserError when the features of the sources do not go
    together.
    """
    clips = read_labelled(sources, modality, audio)
    protocol = {
        "version": PROBES_VERSION,
        **clips.protocol,
        **{key: probes[key] for key in ("labels", "folds", "split", "standardise", "max_clips")},
        "labelling": {name: dict(keys) for name, keys in labelling.items()},
        "seed": statistics["seed"],
    }
    name = protocol_id(protocol)
    shown = ALL_COLLECTIONS if scope == ACROSS else scope
    about = {"scope": shown, "model": model, "protocol_id": name, "modality": modality}
    computed = {"scikit-learn": version("scikit-learn")}
    note = {"protocol": protocol, "protocol_id": name, "computed": computed}
    chosen = _choose(clips, probes, statistics["seed"])
    spread = [about | row for row in distributions(clips, chosen.described)]
    write_table(folder / "distributions.parquet", FEATURE_DISTRIBUTIONS, spread, **note)
    rows, predictions = _probe_all(chosen, probes, statistics, threads)
    write_table(
        folder / "predictions.parquet", PREDICTIONS, [about | r for r in predictions], **note
    )
    write_table(folder / "probes.parquet", PROBES, [about | row for row in rows], **note)


def _choose(clips: Labelled, probes: Mapping[str, Any], seed: int) -> Chosen:
    """At most `max_clips` clips, of the labels that have enough of them for every fold."""
    ok, notes = np.flatnonzero(clips.outcome.ok), []
    outcome = clips.outcome.take(np.arange(len(clips)))
    taken = ok[sample([clips.collection[ok], clips.label[ok]], probes["max_clips"], seed)]
    if len(taken) < len(ok):
        outcome.skip(~np.isin(np.arange(len(clips)), taken), "not_sampled")
        notes.append(f"a sample of {len(taken)} of {len(ok)} clips")
    clips = replace(clips, outcome=outcome)
    together = related(clips)
    kept = single(clips) if probes["split"] == "stratified" else together
    if kept.note:
        notes.append(kept.note)
    outcome, reason = _leave_out_rare(clips, kept, probes["folds"])
    described = clips.outcome.ok if reason else outcome.ok
    left = replace(clips, outcome=outcome)
    return Chosen(left, described, kept, together, reason, "; ".join(notes) or None)


def _probe_all(
    chosen: Chosen, probes: Mapping[str, Any], statistics: Mapping[str, Any], threads: int
) -> tuple[list[Row], list[Row]]:
    clips, kept = chosen.clips, chosen.kept
    rows: list[Row] = []
    predictions: list[Row] = []
    about = {"split": kept.split, **_counts(clips.outcome)}
    if chosen.reason:
        told = _SKIPPED.get(chosen.reason, _NO_FEATURES)
        about |= {"status": "skipped", "reason": chosen.reason, "n": 0}
        about |= {"detail": _joined(told, chosen.note)}
        for name in probes["classifiers"]:
            rows += [about | {"probe": name, "metric": metric} for metric in METRICS]
            predictions += [row | {"probe": name} for row in _predictions(clips, None, None)]
        return rows, predictions
    problem = _problem(chosen, probes["folds"], statistics["seed"])
    n_groups = None if kept.split == "stratified" else len(np.unique(problem.unit))
    about |= {"status": "ok", "n_labels": len(problem.names), "n_groups": n_groups}
    rng = np.random.default_rng(statistics["seed"])
    controls = [
        shuffled(problem.label, problem.related, rng) for _ in range(max(CONTROLS.values()))
    ]
    for name in probes["classifiers"]:
        (held_out, detail), *by_chance = _fit_all(
            name,
            problem,
            [problem.label, *controls[: CONTROLS[name]]],
            standardise=probes["standardise"],
            seed=statistics["seed"],
            threads=threads,
        )
        about["detail"] = _joined(detail, chosen.note)
        for row in _rows(held_out, [one for one, _ in by_chance], problem.unit, statistics):
            rows.append(about | row | {"probe": name})
        predictions += [row | {"probe": name} for row in _predictions(clips, problem, held_out)]
    return rows, predictions


def _joined(*parts: str | None) -> str | None:
    return "; ".join(part for part in parts if part) or None


def _leave_out_rare(clips: Labelled, kept: Units, n_folds: int) -> tuple[Outcome, str | None]:
    """The outcome without labels of fewer units than folds; and why nothing is left, if so."""
    outcome = clips.outcome.take(np.arange(len(clips)))
    ok = outcome.ok
    if not ok.any():
        reasons = Counter(outcome.reason.tolist())
        unlabelled = not reasons or "no_label" in reasons
        return outcome, "no_label" if unlabelled else str(reasons.most_common(1)[0][0])
    pairs = {*zip(clips.label[ok], kept.name[ok], strict=True)}
    units = Counter(label for label, _ in pairs)
    rare = {label: n for label, n in units.items() if n < n_folds}
    for row in np.flatnonzero(ok & np.isin(clips.label.astype(str), [*rare])):
        label = clips.label[row]
        outcome.status[row], outcome.reason[row] = "skipped", "too_few_clips"
        what = f"{rare[label]} {_UNITS[kept.split]} of label {label}"
        outcome.detail[row] = f"{what}, {n_folds} folds"
    if len(units) - len(rare) > 1:
        return outcome, None
    reason = "one_label" if len(units) < 2 else "too_few_clips"
    outcome.skip(outcome.ok, reason)
    return outcome, reason


def _problem(chosen: Chosen, n_folds: int, seed: int) -> Problem:
    clips = chosen.clips
    ok = clips.outcome.ok
    names, label = np.unique(clips.label[ok].astype(str), return_inverse=True)
    unit = chosen.kept.of(ok).number
    return Problem(
        clips.vectors[clips.row[ok]],
        label,
        names.tolist(),
        unit,
        chosen.related.of(ok).number,
        folds(label, unit, n_folds, seed),
    )


def _fit_all(
    name: str,
    problem: Problem,
    labels: Sequence[Indices],
    *,
    standardise: bool,
    seed: int,
    threads: int,
) -> list[tuple[HeldOut, str | None]]:
    """For each of the labels [N], scores of all clips, each from the folds without it.

    With what is to be said of the fits.
    """
    from joblib import Parallel, delayed
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    parts = [problem.fold == fold for fold in np.unique(problem.fold)]
    fit = delayed(fit_predict)
    # One thread of linear algebra a fit, so that the number of cores changes nothing.
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fits = Parallel(n_jobs=min(threads, len(parts)), prefer="threads")(
            fit(
                name,
                problem.features[~part],
                label[~part],
                problem.features[part],
                n_labels=len(problem.names),
                standardise=standardise,
                seed=seed,
            )
            for label in labels
            for part in parts
        )
    found = []
    for at, label in enumerate(labels):
        own = fits[at * len(parts) : (at + 1) * len(parts)]
        scores = np.empty((len(label), len(problem.names)))
        for part, (values, _) in zip(parts, own, strict=True):
            scores[part] = values
        held_out = HeldOut(label, np.argmax(scores, axis=1), problem.fold, scores)
        found.append((held_out, _unconverged(name, [converged for _, converged in own])))
    return found


def _unconverged(name: str, converged: Sequence[bool]) -> str | None:
    """What is to be said of fits that did not converge."""
    if all(converged):
        return None
    short = converged.count(False)
    most = MAX_ITERATIONS[name]
    return f"not converged after {most} iterations in {short} of {len(converged)} folds"


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
    held_out: HeldOut, controls: Sequence[HeldOut], unit: Indices, statistics: Mapping[str, Any]
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
        several = [h if fold is None else h.of_fold(fold) for h in (held_out, chance, *controls)]
        value, by_chance, *by_control = (metrics(one)[0] for one in several)
        control = mean_defined(np.stack(by_control, axis=1))
        for i, metric in enumerate(METRICS):
            row = {"metric": metric, "fold": fold, "n": len(several[0].label)}
            row |= {"value": value[i], "chance": by_chance[i], "shuffled": control[i]}
            if fold is None:
                row |= {"ci_low": low[i], "ci_high": high[i]}
            rows.append({key: _number(given) for key, given in row.items()})
    return rows


def _number(value: Any) -> Any:
    """Null where a value is undefined, or a label was not in the training folds."""
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
        rows[i]["score"] = _number(float(score[at]))
    return rows


def _counts(outcome: Outcome) -> dict[str, int]:
    n = {status: int((outcome.status == status).sum()) for status in ("skipped", "failed")}
    return {"n_expected": len(outcome.ok), "n_skipped": n["skipped"], "n_failed": n["failed"]}
