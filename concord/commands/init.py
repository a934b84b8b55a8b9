"""`concord init`: write a configuration for given folders."""

import re
import shlex
import unicodedata
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from concord.commands.terminal import say
from concord.config_docs import config_yaml
from concord.errors import UserError
from concord.files import write_text
from concord.load import check, load
from concord.remote.urls import Place, Url, is_address, place


def run(given: Sequence[str], prompts: str | None, output: Path, force: bool) -> None:
    """Write a commented configuration and say what to do next.

    What is given are paths or addresses. Raises UserError for folders that are not there and for
    an output that is.
    """
    folders, problems = _places(given)
    problems += [
        f"{path}: no such folder or manifest"
        for path in folders
        if isinstance(path, Path) and not path.exists()
    ]
    if prompts and not is_address(prompts) and not Path(prompts).is_file():
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


def _places(given: Sequence[str]) -> tuple[list[Place], list[str]]:
    """Paths and addresses, and what is wrong with addresses."""
    places, problems = list[Place](), list[str]()
    for text in given:
        try:
            places.append(place(text))
        except ValueError as error:
            problems.append(f"{text}: {str(error).removeprefix('Input ')}")
    return places, problems


def collection_names(folders: Sequence[Place]) -> list[str]:
    """A name for each folder: as much of the path's end as tells them apart, in plain letters."""
    parts = [_parts(folder) for folder in folders]
    names: list[str] = []
    for length in range(1, max(map(len, parts)) + 1):
        names = [_plain("-".join(part[-length:])) for part in parts]
        if len({name.lower() for name in names}) == len(names):
            return names
    return [f"{name[:56]}-{number}" for number, name in enumerate(names, start=1)]


def _parts(folder: Place) -> tuple[str, ...]:
    if isinstance(folder, Url):
        return PurePosixPath(folder.bucket, folder.key).with_suffix("").parts
    return folder.absolute().resolve().with_suffix("").parts[1:] or ("root",)


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
