"""`concord init`: write a configuration for given folders."""

import re
import shlex
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from concord.commands.terminal import say
from concord.config_docs import config_yaml
from concord.errors import UserError
from concord.files import write_text
from concord.load import check, load


def run(folders: Sequence[Path], prompts: Path | None, output: Path, force: bool) -> None:
    """Write a commented configuration and say what to do next.

    Raises UserError for folders that are not there and for an output that is.
    """
    problems = [f"{path}: no such folder or manifest" for path in folders if not path.exists()]
    if prompts and not prompts.is_file():
        problems.append(f"{prompts}: no such file with prompts")
    if output.exists() and not force:
        problems.append(
            f"{output}: is already there; write to another file (-o FILE) or replace it (--force)"
        )
    if problems:
        raise UserError(*problems)
    names = collection_names(folders)
    values = {
        "collections": {name: str(folder) for name, folder in zip(names, folders, strict=True)}
    }
    extra = {"prompts": str(prompts)} if prompts else {}
    write_text(output, config_yaml({**values, **extra, "models": ["mini"]}))
    _say_next(output)


def collection_names(folders: Sequence[Path]) -> list[str]:
    """A name for each folder: as much of the path's end as tells them apart, in plain letters."""
    parts = [
        folder.absolute().resolve().with_suffix("").parts[1:] or ("root",) for folder in folders
    ]
    names: list[str] = []
    for length in range(1, max(map(len, parts)) + 1):
        names = [_plain("-".join(part[-length:])) for part in parts]
        if len({name.lower() for name in names}) == len(names):
            return names
    return [f"{name[:56]}-{number}" for number, name in enumerate(names, start=1)]


def _plain(text: str) -> str:
    """Letters, digits, _ and - only, as a collection's name must be."""
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    plain = re.sub(r"[^A-Za-z0-9_]+", "-", ascii_text).strip("-_")
    return plain[:64] or "collection"


def _say_next(output: Path) -> None:
    say(f"{output}: written", "green")
    try:
        problems = check(load(output))
    except UserError as error:
        problems = list(map(str, error.args))
    for problem in problems:
        say(f"to mend: {problem}", "yellow")
    is_default = str(output) == "config.yaml"
    name = shlex.quote(str(output))
    say("next, look at it and run:")
    say(f"  python -m concord check{'' if is_default else f' --config {name}'}")
    say(f"  snakemake --cores 16{'' if is_default else f' --configfile {name}'}")
