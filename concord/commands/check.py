"""`concord check`: everything that is wrong with the configuration and the inputs."""

from collections.abc import Iterator
from pathlib import Path

from concord.commands.terminal import say
from concord.config import Config
from concord.errors import UserError
from concord.load import check, load, without_unmade
from concord.models import catalogue
from concord.models.base import Modality, ModelSpec
from concord.scores.tasks import applies, companions


def run(path: Path) -> None:
    """Print what will be measured and what cannot be; raises UserError with all problems."""
    config = load(path)
    if problems := check(config):
        raise UserError(*(f"{path}: {problem}" for problem in problems))
    say(f"{path}: no problems", "green")
    for note in _notes(config):
        say(f"note: {note}", "yellow")


def _idle(config: Config, specs: list[ModelSpec], has_prompts: bool) -> dict[str, list[str]]:
    """The tasks that no model does on a collection, by what is lacking."""

    def possible(task: str, prompts: bool) -> bool:
        return any(applies(task, spec.modalities, prompts, config.tasks) for spec in specs)

    tasks = [t for t in config.tasks if t != "synchrony" and not possible(t, has_prompts)]
    return {
        "it has no prompts": [task for task in tasks if possible(task, True)],
        "no configured model can do them": [task for task in tasks if not possible(task, True)],
    }


def _absent(config: Config, name: str) -> list[Modality]:
    """What tasks compare and a collection of plain folders cannot have; images may be clips."""
    collection = config.collections[name]
    if not all(path.is_dir() for path in collection.path):
        return []  # a manifest has columns for it
    wanted = companions(config.tasks)
    return [m for m in wanted if m != "image" and getattr(collection, m) is None]


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
    specs = [catalogue.spec(config, name) for name in config.models]
    for name in config.collections:
        has_prompts = config.prompt_set(name) is not None
        for lack, idle in _idle(config, specs, has_prompts).items():
            if idle:
                yield f"collections.{name}: nothing will be done for {', '.join(idle)}: {lack}"
        for modality in _absent(config, name):
            yield (
                f"collections.{name}: no folder `{modality}` is named, so tasks that compare "
                f"{modality} will have no score there"
            )
    for spec in specs:
        if not spec.commercial:
            yield f"models.{spec.name}: licence {spec.licence}; not for commercial use as it stands"
