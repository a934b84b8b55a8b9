"""The page in a real browser: it shows its content, fits, and has nothing to complain about."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from report_features import BAD_CHECKS, add_features, spoil
from report_results import make_results

from concord.config import TASKS
from concord.report.aggregate import aggregate
from concord.report.page import render

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--enable-logging=stderr", "--v=0", "--allow-file-access-from-files", "--hide-scrollbars",
)  # fmt: skip

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium, which is not installed"),
]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = make_results(
        tmp_path_factory.mktemp("page"),
        media=True,
        labels=2,
        tasks=[*TASKS, "features"],
        probes={"classifiers": ["logistic", "svm"]},
        report={"clips": 1, "projections": ["pca", "tsne"]},
        limit=24,
    )
    add_features(config)
    spoil(config, BAD_CHECKS)
    tables, output = config.results / "tables", config.results / "report" / "index.html"
    aggregate(config, tables)
    render(config, tables, output)
    return output


def browse(path: Path, profile: Path, *arguments: str) -> tuple[str, list[str]]:
    """The document after loading, and what the console said."""
    done = subprocess.run(
        [str(CHROMIUM), *FLAGS, f"--user-data-dir={profile}", *arguments, "--dump-dom",
         path.as_uri()],
        capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def test_the_page_shows_its_content_without_complaint(page: Path, tmp_path: Path) -> None:
    html, console = browse(page, tmp_path)
    assert console == []
    for heading in ("Who is better", "Scores", "Retrieval", "Features", "What is missing",
                    "Quality of the embeddings", "Clips to watch"):  # fmt: skip
        assert f">{heading}" in html
    assert html.count('<svg class="scatter"') == 2 * 4 * 2  # modalities, scopes, methods
    assert "This is a trial run." in html
    assert "<title>Concord</title>" in html
    assert html.count("<video") >= 8


def test_a_script_in_a_file_would_be_blocked_and_noticed(page: Path, tmp_path: Path) -> None:
    broken = page.with_name("broken.html")
    text = page.read_text("utf-8").replace("</main>", "<script>document.title = 'pwned'</script>")
    broken.write_text(text, "utf-8")
    html, console = browse(broken, tmp_path)
    assert "<title>Concord</title>" in html
    assert console


@pytest.mark.parametrize("width", [390, 768, 1280])
def test_the_page_fits(page: Path, tmp_path: Path, width: int) -> None:
    frame = page.with_name(f"frame{width}.html")
    frame.write_text(
        f'<iframe src="{page.name}" style="width:{width}px;height:800px;border:0"></iframe>'
        "<pre></pre><script>onload = () => {"
        "const page = document.querySelector('iframe').contentDocument;"
        "page.querySelectorAll('details').forEach(d => d.open = true);"
        "const root = page.documentElement, wide = [], edge = root.clientWidth + 1;"
        "for (const e of page.querySelectorAll('body *'))"
        "  if (!e.closest('.scroll, nav, .skip') && e.getBoundingClientRect().right > edge)"
        "    wide.push(e.tagName + '.' + e.className);"
        "document.querySelector('pre').textContent ="
        "  `scroll ${root.scrollWidth} client ${root.clientWidth} wide [${wide}]`; }</script>",
        "utf-8",
    )
    html, _ = browse(frame, tmp_path)
    found = re.search(r"scroll (\d+) client (\d+) wide \[([^]]*)\]<", html)
    assert found, html
    assert int(found[1]) <= int(found[2]) == width
    assert found[3] == ""


def test_the_clips_play_with_sound(page: Path, tmp_path: Path) -> None:
    player = page.with_name("player.html")
    clip = re.search(r'src="(media/[^"]+)"', page.read_text("utf-8"))[1]
    player.write_text(
        f'<video src="{clip}" preload="auto" onloadeddata="'
        "document.body.append(`ready ${this.videoWidth} ${this.duration.toFixed(1)}`)"
        '"></video>',
        "utf-8",
    )
    html, _ = browse(player, tmp_path, "--virtual-time-budget=5000")
    assert "ready 32 1.0" in html
