"""What made the results: versions, weights, configuration, code."""

import json
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from concord import __version__
from concord.config import Config
from concord.files import write_text
from concord.media.ffmpeg import find_ffmpeg
from concord.models import catalogue
from concord.runs import runs

PACKAGES = (
    "av",
    "ffmpeg-python",
    "numpy",
    "open-clip-torch",
    "opencv-python-headless",
    "pandas",
    "pyarrow",
    "scikit-learn",
    "scipy",
    "snakemake",
    "soundfile",
    "torch",
    "torchvision",
    "transformers",
    "umap-learn",
)


def software() -> dict[str, Any]:
    """Versions of Concord, Python, packages and ffmpeg; the commit ends in + where files differ."""
    ffmpeg = find_ffmpeg()
    return {
        "concord": __version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "ffmpeg": {"version": ffmpeg.version, "path": str(ffmpeg.path), "source": ffmpeg.source},
        "packages": {name: _installed(name) for name in PACKAGES},
    }


def _installed(package: str) -> str | None:
    """A package's version; None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def provenance(config: Config) -> dict[str, Any]:
    """The software, the models with weights and licences, and all runs that have ended."""
    specs = {name: catalogue.spec(config, name) for name in config.models}
    return {
        **software(),
        "models": {
            name: {
                "backend": spec.backend,
                "architecture": spec.architecture,
                "pretrained": spec.pretrained,
                "checkpoint": spec.checkpoint,
                "sha256": spec.sha256,
                "licence": spec.licence,
                "commercial": spec.commercial,
                "citation": spec.citation,
                "verified": spec.verified,
            }
            for name, spec in specs.items()
        },
        "configuration": config.model_dump(mode="json"),
        "runs": runs(config.results),
    }


def write_provenance(config: Config, path: Path) -> None:
    """Write `provenance` as JSON."""
    write_text(path, json.dumps(provenance(config), indent=2, ensure_ascii=False) + "\n")


def _commit() -> str | None:
    """The commit of the code, with `+` where files differ from it; None outside a checkout."""
    root = Path(__file__).resolve().parents[1]
    command = ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--dirty=+"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
