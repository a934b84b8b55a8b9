"""The real evaluation set, laid out for a run."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from concord.media.ffmpeg import find_ffmpeg
from tests.imagebind_checkpoint import write_tiny

SOUND = {"delayed": "adelay=1000:all=1", "muted": "volume=0"}
"""What becomes of the sound of the audible clips in the collections made of them."""
COLLECTIONS = ("original", *SOUND, "broken")


def lay_out(folder: Path, shared: Path, collections: Sequence[str] = COLLECTIONS) -> dict[str, Any]:
    """Make the set's collections in a folder; returns the configuration of a run there.

    They are those of the set's own script, but pictures are copied, not encoded again, which takes
    seconds instead of minutes. The model `random` is an ImageBind that reads originals; its weights
    are random and its scores mean nothing.
    """
    media, target = shared / "media", folder / "eval"
    for name in COLLECTIONS:
        (target / name).mkdir(parents=True)
    sounds = {name: sound for name, sound in SOUND.items() if name in collections}
    prompts = json.loads((shared / "eval" / "prompts.json").read_text())
    for prompt in prompts:
        if not (source := prompt.pop("source")):
            continue
        path = media / "videos" / source
        stem = f"sample_{prompt['index']:04d}"
        (target / "original" / f"{stem}{path.suffix}").symlink_to(path)
        if path.parent.name == "videos":  # the audible ones
            for name, sound in sounds.items():
                _derive(path, sound, target / name / f"{stem}.mkv")
    (target / "prompts.json").write_text(json.dumps(prompts, ensure_ascii=False))
    for number, path in enumerate(sorted((media / "broken").iterdir()), 101):
        (target / "broken" / f"sample_{number:04d}{path.suffix}").symlink_to(path)
    write_tiny(folder / "random.pth")
    return {
        "collections": {name: f"eval/{name}" for name in collections},
        "prompts": "eval/prompts.json",
        "models": {
            "mini": {"workers": 2},
            "random": {"entry": "imagebind", "checkpoint": "random.pth", "workers": 2},
        },
    }


def _derive(clip: Path, sound: str, target: Path) -> None:
    """The clip with its sound through a filter of ffmpeg."""
    command = [find_ffmpeg().path, "-v", "error", "-nostdin", "-fflags", "+genpts", "-i", clip]
    command += ["-map", "0:v:0", "-map", "0:a:0", "-c:v", "copy", "-af", sound, "-c:a", "aac"]
    subprocess.run([*command, "-shortest", target], check=True)
