"""The page of results whose every text tries to run: nothing does, even without its policy."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import report_results
from hostile import FORMULAS, SCRIPTS
from report_features import add_features, spoil
from report_results import make_results
from test_page import CHROMIUM, browse

from concord.config import TASKS, Config
from concord.report.aggregate import aggregate
from concord.report.page import render

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium, which is not installed"),
]
POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    with pytest.MonkeyPatch.context() as patch:
        texts = [*SCRIPTS, *FORMULAS]
        patch.setattr(report_results, "NAMES", [text.replace("/", "\u2215") for text in texts])
        patch.setattr(report_results, "PROMPTS", texts)
        config = make_results(
            tmp_path_factory.mktemp("hostile"),
            ("faithful", "late"),
            count=len(texts),
            media=True,
            labels=2,
            tasks=[*TASKS, "features"],
            probes={"classifiers": ["logistic"]},
            report={"clips": 2, "title": SCRIPTS[1], "projections": ["pca"]},
        )
    add_features(config)
    checks: list[dict[str, Any]] = [
        {"check": "duplicates", "status": "failed", "meaning": SCRIPTS[0], "count": 4,
         "examples": json.dumps([list(SCRIPTS[:2]), list(SCRIPTS[2:4])])}
    ]  # fmt: skip
    spoil(config, checks)
    return config


def test_no_text_on_the_page_runs(config: Config, tmp_path: Path) -> None:
    output = config.results / "report" / "index.html"
    aggregate(config, config.results / "tables")
    render(config, config.results / "tables", output)
    html = output.read_text("utf-8")
    open_page = output.with_name("open.html")
    open_page.write_text(
        POLICY.sub("", html, count=1).replace("<details", "<details open"), "utf-8"
    )
    assert POLICY.search(html)
    for page in (output, open_page):
        shown, console = browse(page, tmp_path / page.stem)
        assert console == []
        title = re.search(r"<title>(.*?)</title>", shown)
        assert title, shown[:2000]
        assert title[1] not in ("pwned", "1")
        tags = set(re.findall(r"<([a-zA-Z!/][^\s>]*)", shown))
        assert not tags & {"script", "img", "iframe", "object", "embed", "svg/onload"}
        assert not re.search(r"<[^>]*\son\w+\s*=", re.sub(r'"[^"]*"', '""', shown))
        assert "{{ 7 * 7 }}" in shown
        assert 'href="javascript' not in shown


def test_a_page_that_did_run_a_text_would_be_noticed(config: Config, tmp_path: Path) -> None:
    bad = tmp_path / "bad.html"
    bad.write_text(f"<title>page</title><body>{SCRIPTS[0]}</body>", "utf-8")
    shown, _ = browse(bad, tmp_path / "profile")
    assert "<title>pwned</title>" in shown
