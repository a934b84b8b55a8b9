"""`concord check`: everything that is wrong with the configuration and the inputs."""

from collections.abc import Iterator
from pathlib import Path

from concord.commands.terminal import say
from concord.config import Config
from concord.errors import UserError
from concord.load import check, load, without_unmade
from concord.models import catalogue
from concord.notes import unmeasured
from concord.scores.sources import unlearned


def run(path: Path) -> None:
    """Print what will be measured and what cannot be; raises UserError with all problems."""
    config = load(path)
    if problems := check(config):
        raise UserError(*(f"{path}: {problem}" for problem in problems))
    say(f"{path}: no problems", "green")
    for note in _notes(config):
        say(f"note: {note}", "yellow")


def _notes(config: Config) -> Iterator[str]:
    """What is allowed, but may surprise."""
    unmade = config.collections.keys() - without_unmade(config).collections.keys()
    if unmade:
        names = ", ".join(name for name in config.collections if name in unmade)
        yield f"the workflow will make the clips of {names}"
    if config.limit:
        yield (
            f"limit: a trial run with the clips of the first {config.limit} prompts, or the first "
            f"{config.limit} clips where there are none"
        )
    specs = {name: catalogue.spec(config, name) for name in config.models}
    yield from unmeasured(config, specs)
    yield from unlearned(config)
    for spec in specs.values():
        if not spec.commercial:
            yield f"models.{spec.name}: licence {spec.licence}; not for commercial use as it stands"
