"""The real evaluation set, laid out for a run."""

import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.imagebind_checkpoint import write_tiny

COLLECTIONS = ("original", "delayed", "muted", "broken")


def lay_out(folder: Path, shared: Path) -> dict[str, Any]:
    """Make the set's collections in a folder; returns the configuration of a run there.

    The model `random` is an ImageBind that reads originals; its weights are random and its scores
    mean nothing.
    """
    make = [sys.executable, str(shared / "eval" / "make.py"), str(folder / "eval")]
    subprocess.run(make, check=True, capture_output=True)
    write_tiny(folder / "random.pth")
    return {
        "collections": {name: f"eval/{name}" for name in COLLECTIONS},
        "prompts": "eval/prompts.json",
        "models": {
            "mini": {"workers": 2},
            "random": {"entry": "imagebind", "checkpoint": "random.pth", "workers": 2},
        },
    }
