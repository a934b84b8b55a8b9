"""The page on features and their quality: pictures, probes, checks, and tasks of any pair."""

import json
import re
from itertools import combinations, pairwise
from pathlib import Path
from time import process_time

import numpy as np
import pandas as pd
import pytest
from report_features import BAD_CHECKS, add_features, spoil
from report_results import make_results

from concord.config import Config
from concord.report import feature_section, scatter
from concord.report.aggregate import aggregate
from concord.report.checks import Checks, examples
from concord.report.confusion import confusions
from concord.report.console import print_summary
from concord.report.gallery import Gallery
from concord.report.metrics import measure_name
from concord.report.page import render
from concord.tables import COMPANION_FILES, read_table, write_table

QUICK = {
    "tasks": ["video_text", "features"],
    "probes": {"classifiers": ["logistic"], "max_clips": 12},
    "report": {"clips": 0, "projections": ["pca", "tsne"]},
}


def page_of(config: Config) -> str:
    aggregate(config, config.results / "tables")
    output = config.results / "report" / "index.html"
    render(config, config.results / "tables", output)
    return output.read_text("utf-8")


def text_of(html: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    folder = tmp_path_factory.mktemp("features")
    config = make_results(folder, ("faithful", "late"), count=14, labels=2, **QUICK)
    add_features(config)
    spoil(config, BAD_CHECKS)
    licence = {"licence": "CC-BY-NC 4.0", "commercial": False, "citation": "theirs"}
    licence |= dict.fromkeys(("sha256", "backend", "architecture", "pretrained"))
    (config.results / "provenance.json").write_text(json.dumps({"models": {"mini": licence}}))
    return config


@pytest.fixture(scope="module")
def page(config: Config) -> str:
    return page_of(config)


def test_every_scope_has_a_picture_with_words_for_it(page: str) -> None:
    labels = re.findall(r'role="img"[^>]*aria-label="([^"]*)"', page)
    # the clip without sound has a picture
    assert "Principal components of 13 clips: label 00 7, label 01 6" in labels
    assert "t-SNE of 12 clips: label 00 7, label 01 5" in labels
    assert "t-SNE of 24 clips: faithful 12, late 12" in labels
    assert len(labels) == 2 * 3 * 2  # modalities, scopes, methods
    assert "<title>label 01</title>" in page
    assert "are no evidence" in text_of(page)


def test_a_picture_that_cannot_be_is_told(tmp_path: Path) -> None:
    config = make_results(
        tmp_path, ("faithful",), count=8, tasks=["features"], report=QUICK["report"]
    )
    add_features(config)
    html = page_of(config)
    assert html.count("needs at least 10 clips, found 7") == 1
    assert html.count("needs at least 10 clips, found 6") == 1
    assert "Picture features of all collections" in text_of(html)


def test_probes_stand_beside_chance_and_control(config: Config, page: str) -> None:
    rows = read_frame(config, "probes")
    row = rows[(rows["scope"] == "late") & (rows["modality"] == "audio") & rows["fold"].isna()]
    accuracy = row[row["metric"] == "accuracy"].iloc[0]
    shown = [f"{accuracy[name]:.3f}" for name in ("value", "chance", "shuffled")]
    section = page.split("Sound features")[2]
    assert all(value in section for value in shown)
    assert "Logistic regression" in section
    assert "<small>a sample of 12 of 13 clips</small>" in page
    assert "(stratified folds)" in section
    assert 'data-label="ROC-AUC"' in section


def read_frame(config: Config, name: str) -> pd.DataFrame:
    return pd.read_parquet(config.results / "tables" / f"{name}.parquet")


def test_two_labels_show_their_held_out_scores(page: str) -> None:
    assert page.count("Held out, logistic regression: label 01") == 4


def test_lengths_are_shown_only_where_they_differ() -> None:
    clips = pd.DataFrame({"label": list("aabb"), "centre_cosine": [0.1, 0.2, 0.3, 0.4]})
    none = pd.DataFrame(columns=["status", "probe", "label", "score"])
    for norms, count in (([1, 1, 1 + 1e-7, 1], 1), ([1, 2, 3, 4], 2)):
        assert (
            len(list(feature_section._spreads(clips.assign(norm=norms), none, ["a", "b"]))) == count
        )


def test_the_closest_pairs_are_shown_of_many() -> None:
    """Label i lies at i * i; the second dimension differs most, then the first."""
    of_pairs = [
        {"label": f"{a:03}", "other": f"{b:03}", "status": "ok", "statistic": name}
        | {"dimension": dimension, "value": value}
        for a, b in combinations(range(101), 2)
        for name, dimension, value in (
            ("centroid_distance", None, float(b * b - a * a)),
            ("standardised_difference", 0, 0.5),
            ("standardised_difference", 1, -0.7),
        )
    ]
    started = process_time()
    closest, pairs = feature_section._distances(pd.DataFrame(of_pairs))
    assert process_time() - started < 1
    assert (len(closest), pairs) == (feature_section.CLOSEST, 5050)
    assert [(d.label, d.other, d.centroid) for d in closest[:3]] == [
        ("000", "001", 1), ("001", "002", 3), ("000", "002", 4)
    ]  # fmt: skip
    assert closest[0].frechet is None
    assert closest[0].dimensions == [(1, -0.7), (0, 0.5)]


def test_without_distances_no_pair_is_shown() -> None:
    columns = ["label", "other", "status", "statistic", "dimension", "value"]
    assert feature_section._distances(pd.DataFrame(columns=columns)) == ([], 0)


def test_what_is_wrong_with_embeddings_is_told_first_and_fully(page: str) -> None:
    text = text_of(page)
    assert "Some embeddings are not to be trusted: 1 of " in text
    section = page[page.index('id="quality"') : page.index('id="clips"')]
    assert section.index("duplicates") < section.index("norms far")  # the gravest first
    assert "&lt;b&gt;a.mp4 = =1+1.mp4" in section
    assert "collapsed" not in section.split("<tbody>")[1]


def test_a_model_that_may_not_be_used_freely_is_marked_where_it_is_named(page: str) -> None:
    mark = '<abbr title="CC-BY-NC 4.0: not cleared for commercial use">NC</abbr>'
    assert page.count(mark) == len(re.findall(r'<span class="tag">mini', page)) > 5


def test_the_end_of_a_run_tells_of_probes_and_checks(
    config: Config, page: str, capsys: pytest.CaptureFixture
) -> None:
    print_summary(config.results / "tables")
    said = capsys.readouterr().out
    assert "Sound features: accuracy of logistic regression" in said
    assert "1 failed, 1 warning, " in said


def test_without_the_task_there_is_no_section(tmp_path: Path) -> None:
    html = page_of(make_results(tmp_path, ("faithful",), count=4, report={"clips": 0}))
    assert 'id="features"' not in html
    assert "Some embeddings" not in html
    assert re.search(r"\d+ checks of 3 embedding tables: all \d+ ok", html)


def test_features_that_no_clip_has_are_told_in_a_line(tmp_path: Path) -> None:
    config = make_results(
        tmp_path, ("faithful",), count=6, labels=2, scored=False, **QUICK | {"tasks": ["features"]}
    )
    empty_embeddings(config)
    add_features(config)
    html = page_of(config)
    assert html.count("No clip has these features") == 2
    assert "<figure" not in html


def empty_embeddings(config: Config) -> None:
    from concord.tables import EMBEDDINGS, read_metadata

    for path in (config.results / "embeddings").rglob("*.parquet"):
        rows = read_table(path, EMBEDDINGS).to_pylist()
        lost = {"status": "skipped", "reason": "too_short", "embedding": None}
        write_table(path, EMBEDDINGS, [row | lost for row in rows], dim=read_metadata(path)["dim"])


def test_many_labels_stay_readable() -> None:
    labels = pd.Series([f"{i:03d}" for i in range(101) for _ in range(2)] + ["007"] * 5)
    drawn = scatter.groups(labels, sorted(set(labels)))
    assert len(drawn) == scatter.TOLD_APART + 1
    assert (drawn[0].name, drawn[0].count, drawn[0].colour) == ("77 other labels", 154, None)
    assert len({(group.colour, group.shape) for group in drawn}) == len(drawn)
    assert sum(group.count for group in drawn) == len(labels)
    assert "007" in {group.name for group in drawn}
    assert all(a.colour != b.colour and a.shape != b.shape for a, b in pairwise(drawn[1:]))


def test_every_point_is_drawn_once_and_inside() -> None:
    rng = np.random.default_rng(0)
    points = pd.DataFrame(rng.normal(size=(300, 2)) * [9, 1], columns=["x", "y"])
    points["label"] = [f"{i % 30:02d}" for i in range(300)]
    made = scatter.picture(points, scatter.groups(points["label"], sorted(set(points["label"]))))
    starts = [re.findall(r"M(-?\d+) (-?\d+)", path) for _, path in made.layers]
    assert [len(found) for found in starts] == [group.count for group, _ in made.layers]
    places = np.array([pair for found in starts for pair in found], int)
    assert places.min() >= 0
    assert places.max() <= scatter.SIDE
    assert np.ptp(places[:, 0]) > 3 * np.ptp(places[:, 1])  # one scale for both axes


def confusion_rows(labels: list[str]) -> pd.DataFrame:
    rows = [(label, label, 8) for label in labels] + [(labels[0], labels[1], 2)]
    return pd.DataFrame(rows, columns=["label", "predicted", "n"]).assign(probe="svm")


def test_a_confusion_counts_what_was_taken_for_what() -> None:
    (found,) = confusions(confusion_rows(["a", "b", "c"]))
    np.testing.assert_array_equal(found.counts, [[8, 2, 0], [0, 8, 0], [0, 0, 8]])
    assert found.rows[0] == ("a", [(8, 80), (2, 20), (0, 0)])
    assert found.worst == [("a", "b", 2, 10)]
    assert found.readable


def test_a_large_confusion_is_a_picture() -> None:
    (found,) = confusions(confusion_rows([f"{i:03d}" for i in range(101)]))
    assert not found.readable
    drawn = {opacity: path.count("M") for opacity, path in found.layers}
    assert drawn == {0.2: 1, 0.8: 1, 1.0: 100}


def test_checks_in_one_line() -> None:
    row = {"model": "m", "modality": "video", "source": "a", "status": "ok", "check": "zero"}
    assert Checks([row, row]).line == "2 checks of 1 embedding table: all 2 ok"
    mixed = Checks([row, row | {"status": "warning"}, row | {"status": "failed", "source": "b"}])
    assert mixed.line == "3 checks of 2 embedding tables: 1 failed, 1 warning, 1 ok"
    assert [found["status"] for found in mixed.noticed] == ["failed", "warning"]
    assert examples({"examples": None}) == []


@pytest.mark.parametrize(
    ("task", "title"),
    [("image_text", "Image and prompt"), ("audio_image", "Sound and image"),
     ("depth_text", "Depth map and prompt"), ("av_consistency", "Picture and sound")],
)  # fmt: skip
def test_any_pair_has_a_title(task: str, title: str) -> None:
    assert measure_name(task, "cosine") == title


def test_images_beside_clips_are_shown(tmp_path: Path) -> None:
    from PIL import Image

    config = make_results(tmp_path, ("faithful",), count=4, report={"clips": 1})
    aggregate(config, config.results / "tables")
    folder = config.results / "clips" / "faithful"
    good, bad = tmp_path / "a %03d.png", tmp_path / "b.png"
    Image.new("RGB", (900, 600), "red").save(good)
    bad.write_bytes(b"no picture")
    (folder / "companions.json").write_text('["image"]')
    path = config.results / "tables" / "clips.parquet"
    clips = pd.read_parquet(path)
    shown = clips[clips["status"] == "ok"]["clip_id"].tolist()
    rows = [
        {"clip_id": name, "modality": "image", "path": str(file), "key": f"k{i}", "status": "ok"}
        for i, (name, file) in enumerate(zip(shown, (good, bad, good, bad), strict=True))
    ]
    for shard in ("0000", "0001"):
        write_table(folder / "companions/image" / f"{shard}.parquet", COMPANION_FILES,
                    rows if shard == "0000" else [])  # fmt: skip
    scores = pd.Series(clips["clip_id"].map({shown[0]: 0.9, shown[1]: 0.1}), dtype=float)
    clips.assign(**{"image_text/mini/cosine": scores}).to_parquet(path)
    gallery = Gallery(config, config.results / "tables", tmp_path / "media")
    shelf = next(shelf for shelf in gallery.shelves if shelf.task == "Image and prompt")
    (_, best, worst) = shelf.rows[0]
    (what, clip), (_, lost) = (
        next(pair for pair in gallery.clips[found[0].key] if pair[0] == "image")
        for found in (best, worst)
    )
    assert (what, clip.poster) == ("image", "media/k0.jpg")
    assert lost.problem == "b.png cannot be read as a picture"
    with Image.open(tmp_path / "media" / "k0.jpg") as small:
        assert small.size == (480, 320)
        assert small.getpixel((100, 100))[0] > 200
