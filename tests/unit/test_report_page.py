"""The page: what it says, what it escapes, how large it gets."""

import errno
import re
import subprocess
from contextlib import nullcontext
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from report_results import make_results

from concord.config import Config
from concord.errors import MachineError
from concord.media.ffmpeg import Ffmpeg
from concord.report import figures, media
from concord.report.aggregate import aggregate
from concord.report.metrics import metric
from concord.report.missing import Missing
from concord.report.page import render, show_p
from concord.report.verdicts import verdict


def page_of(config: Config) -> str:
    tables = config.results / "tables"
    aggregate(config, tables)
    output = config.results / "report" / "index.html"
    render(config, tables, output)
    return output.read_text("utf-8")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return make_results(tmp_path_factory.mktemp("page"), media=True, report={"clips": 2})


@pytest.fixture(scope="module")
def page(config: Config) -> str:
    return page_of(config)


class Tags(HTMLParser):
    """Collects tags and visible text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.text += " "

    def handle_data(self, data: str) -> None:
        self.text += data


def test_prompts_and_names_are_text(page: str) -> None:
    found = Tags(page)
    names = {tag for tag, _ in found.tags}
    assert "script" not in names
    assert "img" not in names
    assert not [a for _, attributes in found.tags for a in attributes if a.startswith("on")]
    assert "<script>document.title='pwned'</script>" in found.text
    assert "<img src=x onerror=alert(1)>.mp4" in found.text
    for text in ("一只红色的球在弹跳", "كرة حمراء تقفز على الأرض", "quả bóng đỏ nảy lên"):
        assert text in found.text


def test_nothing_is_fetched_from_elsewhere(page: str) -> None:
    found = Tags(page)
    used = [a[key] for _, a in found.tags for key in ("src", "href", "poster") if a.get(key)]
    assert all(link.startswith(("#", "media/")) for link in used)
    assert "url(" not in page
    assert "@import" not in page
    assert len(page) < 1_000_000


def test_the_clips_lie_beside_the_page_with_sound(config: Config, page: str) -> None:
    folder = config.results / "report"
    links = set(re.findall(r'src="(media/[^"]+)"', page))
    posters = set(re.findall(r'poster="(media/[^"]+)"', page))
    assert links
    assert {path.name for path in (folder / "media").iterdir()} == {
        Path(link).name for link in links | posters
    }
    command = ["ffprobe", "-v", "error", "-show_entries", "stream=codec_name", "-of", "csv=p=0"]
    probed = subprocess.run(
        [*command, str(folder / sorted(links)[0])], capture_output=True, text=True, check=True
    )
    assert probed.stdout.split() == ["h264", "aac"]
    assert all(video.get("preload") == "none" for tag, video in Tags(page).tags if tag == "video")


def test_verdicts_give_difference_interval_and_n(page: str) -> None:
    text = " ".join(Tags(page).text.split())
    assert "faithful is better" in text
    assert re.search(r"Picture and prompt \+0\.\d{3} \[\+0\.\d{3}, \+0\.\d{3}\], n = 22", text)
    assert "No clear difference" in text


def test_the_tools_and_samples_behind_the_numbers_are_named(page: str) -> None:
    text = " ".join(Tags(page).text.split())
    assert "transcoded by av 18.1, ffmpeg 7.0000 and 7.0001." in text
    # 200 are configured; Holm over the 12 rows of retrieval and the 9 of synchrony needs more
    assert "(picture and prompt 240, sound and prompt 240, picture and sound 240," in text
    assert "synchrony 720, retrieval 960; all of them where there are no more)" in text


def test_a_clip_without_prompt_that_fails_is_told_as_a_failure() -> None:
    rows = [
        ("x.mp4", "prompts", "skipped", "no_prompt"),
        ("x.mp4", "media", "failed", "unreadable"),
        ("x.mp4", "scores/av_consistency/mini", "failed", "unreadable"),
        ("x.mp4", "scores/video_text/mini", "skipped", "no_prompt"),
        (None, "scores/retrieval/mini/text_to_video", "skipped", "no_clip"),
    ]
    status = pd.DataFrame(rows, columns=["clip_id", "stage", "status", "reason"])
    found = Missing(status.assign(collection="a", item="1"), ["a"]).reasons()
    assert [(row["stage"], row["reason"], row["total"]) for row in found] == [
        ("media", "unreadable", 1),
        ("prompts", "no_prompt", 1),
    ]


def test_many_pairs_without_a_winner_are_a_table(tmp_path: Path) -> None:
    names = ("faithful", "late", "c", "d", "careless")
    page = page_of(make_results(tmp_path, names, tasks=["synchrony"], report={"clips": 0}))
    assert page.count('<article class="duel">') == 4  # late against each other one
    assert "6 other pairs without a clear difference" in page


def test_what_is_missing_is_told_once_and_with_its_reason(page: str) -> None:
    text = " ".join(Tags(page).text.split())
    assert "failed unreadable no stream in the file can be read media 1 1 1" in text
    assert "skipped no_clip no clip belongs to the prompt clips 1 1 1" in text
    assert "moov <not> found" in text


def test_missing_clips_do_not_break_the_page(tmp_path: Path) -> None:
    text = page_of(make_results(tmp_path, ("faithful",), count=4))
    assert "This clip cannot be shown" in text
    assert "<video" not in text


def test_a_full_disk_ends_the_page_and_is_no_clips_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By ffmpeg's word and by the system's; what ails a picture itself is told on the page."""
    said = "No space left on device"
    tool, picture = tmp_path / "ffmpeg", tmp_path / "a.png"
    monkeypatch.setattr(media, "find_ffmpeg", lambda: Ffmpeg(str(tool), "7", "system"))
    picture.touch()
    row = {"key": "k", "modality": "image", "clip_id": "a", "path": str(picture)}
    config = Config.model_validate({"collections": {"c": "c"}})
    for word, problem in ((said, MachineError), ("Invalid data found", None)):
        tool.write_text(f"#!/bin/sh\necho '{word}' >&2\nexit 1\n")
        tool.chmod(0o755)
        with pytest.raises(problem, match="there is no room") if problem else nullcontext():
            found = media.place_picture(config, row, tmp_path / "page")
            assert found.problem == "a.png cannot be read as a picture"

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, said)

    monkeypatch.setattr(media, "_opened", full)
    with pytest.raises(MachineError, match="there is no room"):
        media.place_picture(config, row, tmp_path / "page")


def test_the_folder_of_clips_is_there_without_clips(tmp_path: Path) -> None:
    config = make_results(tmp_path, ("faithful",), count=4, report={"clips": 0})
    page_of(config)
    assert list((config.results / "report" / "media").iterdir()) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"collections": ("faithful",)}, "there is one collection"),
        ({"compare": []}, "no two collections share prompts or items"),
        ({"scored": False}, "No clip was scored"),
        ({"count": 0}, "no item is scored in both"),
        ({"tasks": ["synchrony"]}, "Retrieval was not asked for"),
        ({"limit": 20}, "This is a trial run."),
        ({"report": {"clips": 0, "title": "<b>mine"}}, "&lt;b&gt;mine"),
    ],
)
def test_little_is_enough(tmp_path: Path, options: dict, said: str) -> None:
    assert said in page_of(make_results(tmp_path, **{"count": 6} | options))


def test_the_page_stays_small(tmp_path: Path) -> None:
    page = page_of(
        make_results(
            tmp_path, ("faithful", "late"), count=5_000, tasks=["av_consistency", "synchrony"],
            statistics={"bootstrap": 100},
        )
    )  # fmt: skip
    assert len(page) < 400_000
    assert "10,000" in page


def test_long_lists_say_how_long_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("concord.report.missing.LISTED", 5)
    page = page_of(make_results(tmp_path, count=6))
    assert "The first 5 of 12, failures first; all are in tables/status.csv" in page


def test_models_and_their_licences_are_named(tmp_path: Path) -> None:
    import json

    config = make_results(tmp_path, ("faithful",))
    models = {
        "mini": {"licence": "MIT", "commercial": True, "citation": "ours", "sha256": "ab" * 32,
                 "backend": "mini", "architecture": None, "pretrained": None},
        "other": {"licence": "CC-BY-NC-4.0", "commercial": False, "citation": "theirs",
                  "sha256": None, "backend": "x", "architecture": "y", "pretrained": None},
    }  # fmt: skip
    (config.results / "provenance.json").write_text(json.dumps({"models": models}))
    page = page_of(config)
    licence = re.findall("CC-BY-NC-4.0.{1,60}not cleared for commercial use", page, re.DOTALL)
    assert len(licence) == page.count("not cleared for commercial use") == 2  # head and foot


def comparison(**change: object) -> dict:
    row = {
        "task": "video_text",
        "model": "mini",
        "metric": "cosine",
        "a": "a",
        "b": "b",
        "difference": 0.1,
        "ci_low": 0.05,
        "ci_high": 0.15,
        "p_holm": 0.01,
        "note": "an offset is claimed in 9 of 9 and 8 of 9 items",
        "comparable": True,
    }
    return row | change  # fmt: skip


@pytest.mark.parametrize(
    ("change", "winner"),
    [
        ({}, "a"),
        ({"difference": -0.1, "ci_low": -0.15, "ci_high": -0.05}, "b"),
        ({"metric": "abs_offset_ms"}, "b"),
        ({"metric": "offset_ms"}, None),
        ({"p_holm": 0.06}, None),
        ({"ci_low": -0.01}, None),
        ({"comparable": False}, None),
        ({"p_holm": None}, None),
    ],
)
def test_a_winner_needs_everything(change: dict, winner: str | None) -> None:
    assert verdict(comparison(**change), 0.05).winner == winner


def test_nothing_is_minus_zero() -> None:
    assert [metric("cosine").show(v, True) for v in (-1e-9, -0.5)] == ["+0.000", "−0.500"]


def test_p_values_are_never_zero() -> None:
    assert [show_p(p) for p in (None, 0.0004, 0.0123, 1.0)] == ["–", "< 0.001", "0.012", "1.000"]


@pytest.mark.parametrize("values", [[0.31, 0.29], [1e-9, 2e-9], [-800.0, 1200.0], [5.0, 5.0], []])
def test_axes_hold_their_values(values: list[float]) -> None:
    axis = figures.Axis.over(values)
    assert 2 <= len(axis.ticks) <= 8
    assert all(0 <= axis.at(v) <= 100 for v in [*values, *axis.ticks])
    assert len({text for _, text in axis.labels()}) == len(axis.ticks)
    steps = np.diff(axis.ticks)
    np.testing.assert_allclose(steps, steps[0])


def test_histograms_share_one_scale() -> None:
    axis = figures.Axis.over([0, 1])
    narrow, wide, none = figures.histograms(
        axis, [np.full(10, 0.5), np.linspace(0, 1, 1000), np.zeros(0)]
    )
    assert none is None
    assert narrow.median == wide.median == 50

    def top(path: str) -> float:
        return min(float(v) for v in re.findall(r"V([\d.]+)", path))

    assert top(narrow.path) == 0
    assert top(wide.path) > 90
