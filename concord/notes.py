"""What a configuration asks for and cannot have: allowed, but it may surprise. Light to import."""

from collections.abc import Iterator, Mapping

from concord.config import Config
from concord.models.base import Modality, ModelSpec
from concord.scores.tasks import applies, companions


def unmeasured(config: Config, specs: Mapping[str, ModelSpec]) -> Iterator[str]:
    """A line for each collection and cause of tasks that give nothing there."""
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


def _idle(
    config: Config, specs: Mapping[str, ModelSpec], has_prompts: bool
) -> dict[str, list[str]]:
    """The tasks that no model does on a collection, by what is lacking."""

    def possible(task: str, prompts: bool) -> bool:
        known = (spec.modalities for spec in specs.values())
        return any(applies(task, modalities, prompts, config.tasks) for modalities in known)

    tasks = [t for t in config.tasks if t != "synchrony" and not possible(t, has_prompts)]
    return {
        "it has no prompts": [task for task in tasks if possible(task, True)],
        "no configured model can do them": [task for task in tasks if not possible(task, True)],
    }


def _absent(config: Config, name: str) -> list[Modality]:
    """What tasks compare and a collection of plain folders cannot have; images may be clips."""
    collection = config.collections[name]
    from concord.clips.files import is_folder

    if not all(map(is_folder, collection.path)):
        return []  # a manifest has columns for it
    wanted = companions(config.tasks)
    return [m for m in wanted if m != "image" and getattr(collection, m) is None]
