"""Reads the configuration and says everything that is wrong with it at once."""

import copy
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from concord.config import Config
from concord.errors import UserError, did_you_mean
from concord.explain import Location, explain, shown, written
from concord.remote.urls import Place, Url


def load(source: Mapping[str, Any] | Path) -> Config:
    """The configuration of a YAML file or of a mapping.

    Raises UserError that lists all problems of the configuration; where there are any, the inputs
    that can be made out are checked too, so that the list is whole.
    """
    raw = read_yaml(source) if isinstance(source, Path) else dict(source)
    config, problems = _validate(raw)
    if config:
        problems += _name_problems(config, raw)
        if not problems:
            return config
        problems += [problem for problem in check(config) if problem not in problems]
    if isinstance(source, Path):
        problems = [f"{source}: {problem}" for problem in problems]
    raise UserError(*problems)


def check(config: Config) -> list[str]:
    """Everything that is wrong with the inputs of a valid configuration.

    The demo's clips are left out until the workflow has made them.
    """
    from concord.clips.plan import problems

    return problems(without_unmade(config))


def without_unmade(config: Config) -> Config:
    """The configuration without demo collections and prompts that are still to be made."""
    made = {
        name: collection
        for name, collection in config.collections.items()
        if not config.is_demo(name) or any(map(_exists, collection.path))
    }
    demo = Path(config.results, "demo").resolve()
    prompts = {
        name: listed
        for name, listed in config.prompts.items()
        if _exists(listed.path) or not Path(listed.path).resolve().is_relative_to(demo)
    }
    return config.model_copy(update={"collections": made, "prompts": prompts})


def _exists(place: Place) -> bool:
    return isinstance(place, Url) or place.exists()


_GONE = object()
MAX_VALUES = 1_000_000
"""So many keys and values a configuration may have, aliases written out."""


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice, where YAML keeps the last one silently.

    Also aliases that make a few lines stand for more than memory holds, or for themselves.
    """

    def get_single_node(self) -> yaml.Node | None:
        node: yaml.Node | None = super().get_single_node()
        if node and _written_out(node, {}) > MAX_VALUES:
            raise yaml.constructor.ConstructorError(
                None, None, f"its aliases stand for more than {MAX_VALUES:,} values", None
            )
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} stands here twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _written_out(node: yaml.Node, known: dict[int, int]) -> int:
    """How many values a node stands for; a node may be in the tree many times, by its aliases."""
    if id(node) not in known:
        known[id(node)] = MAX_VALUES + 1  # what holds itself has no end
        children: Iterable[yaml.Node] = ()
        if isinstance(node, yaml.MappingNode):
            children = chain.from_iterable(node.value)
        elif isinstance(node, yaml.SequenceNode):
            children = node.value
        known[id(node)] = 1 + sum(_written_out(child, known) for child in children)
    return known[id(node)]


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises UserError for a file that is missing, not UTF-8, not YAML or not a mapping, and for a
    key that stands twice; with the line where there is one.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8-sig"), Loader=_Loader)
    except FileNotFoundError as error:
        raise UserError(
            f"{path}: no such file; name yours with --config, or let `python -m concord init "
            "FOLDER...` write one"
        ) from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: byte {error.start + 1} is not UTF-8; save it as UTF-8") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise UserError(_yaml_error(path, error)) from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: found {shown(content)}, expected keys such as collections: ...")
    return content


def _yaml_error(path: Path, error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    place = f"{path}, line {mark.line + 1}, column {mark.column + 1}" if mark else str(path)
    text = getattr(error, "problem", None) or str(error)
    hint = "; indent with spaces, not with tabs" if "'\\t'" in text else ""
    return f"{place}: {text}{hint}"


def _validate(raw: dict[str, Any]) -> tuple[Config | None, list[str]]:
    """The configuration, without what is wrong in it, and what is wrong.

    None where nothing is left to go on with.
    """
    rest, problems = copy.deepcopy(raw), list[str]()
    while True:
        try:
            return Config.model_validate(rest), problems
        except ValidationError as error:
            details = error.errors()
        if not problems:
            problems = list(dict.fromkeys(explain(detail, raw) for detail in details))
        wrong = {written(detail["loc"], rest) for detail in details}
        if sum(_remove(rest, path) for path in wrong) == 0:
            return None, problems


def _remove(raw: dict[Any, Any], path: Location) -> bool:
    """Take out what stands at a path, unless it is gone; says whether it was there."""
    for key in path[:-1]:
        raw = raw.get(key, {})
    return bool(path) and raw.pop(path[-1], _GONE) is not _GONE


def _name_problems(config: Config, raw: Mapping[str, Any]) -> list[str]:
    """Names that clash or that nothing is called; `raw` has those too whose options are wrong."""
    collections, prompts, models = (
        _names(getattr(config, section), raw.get(section))
        for section in ("collections", "prompts", "models")
    )
    readable = bool(config.prompts) or not raw.get("prompts")
    problems = [
        *_clashes("collections", collections),
        *_clashes("prompts", prompts, "none", "it says that a collection has no prompts"),
        *_clashes("models", models, "signal", "it stands for scores that need no model"),
    ]
    for name, collection in config.collections.items():
        key = f"collections.{name}.prompts"
        if collection.prompts is None and len(prompts) > 1:
            problems.append(f"{key}: missing; expected one of {', '.join(prompts)}, or none")
        elif collection.prompts not in (None, "none", *prompts) and readable:
            problems.append(f"{key}: {_unknown('prompt set', collection.prompts, prompts)}")
    for a, b in config.compare or []:
        names = [name for name in (a, b) if name not in collections]
        problems += [f"compare: {_unknown('collection', name, collections)}" for name in names]
        if a == b:
            problems.append(f"compare: found {a} twice in one pair, expected two collections")
        elif not {a, b} - set(config.collections) and len({*map(config.prompt_set, (a, b))}) > 1:
            sets = [config.prompt_set(name) or "none" for name in (a, b)]
            problems.append(
                f"compare: found {a} (prompts: {sets[0]}) with {b} (prompts: {sets[1]}); their "
                "clips answer different prompts, expected two collections of one prompt set"
            )
    problems += _probe_problems(config, collections)
    if not models and set(config.tasks) - {"synchrony"}:
        problems.append("models: found none, expected one or more, or tasks: [synchrony]")
    for name in config.models:
        problems += _model_problems(config, name)
    return problems


def _probe_problems(config: Config, collections: list[str]) -> list[str]:
    labels, named = config.probes.labels, list[str]()
    if not isinstance(labels, str):
        named = [name for names in labels.values() for name in names]
    problems = [
        f"probes.labels: {_unknown('collection', name, collections)}"
        for name in named
        if name not in collections
    ]
    problems += [
        f"probes.labels: found {name} under several labels, expected one"
        for name in dict.fromkeys(named)
        if named.count(name) > 1
    ]
    if config.probes.split == "grouped" and not any(c.group for c in config.collections.values()):
        problems.append(
            "probes.split: found grouped, but no collection has the key group; set "
            "collections.NAME.group, or split: stratified"
        )
    return problems


def _names(valid: Iterable[str], raw: Any) -> list[str]:
    given = [name for name in raw if isinstance(name, str)] if isinstance(raw, dict | list) else []
    return list(dict.fromkeys([*valid, *given]))


def _clashes(section: str, names: list[str], reserved: str = "", why: str = "") -> list[str]:
    problems, seen = [], dict[str, str]()
    for name in names:
        if name.lower() == reserved:
            problems.append(f"{section}.{name}: this name is taken ({why}); choose another")
        if (other := seen.setdefault(name.lower(), name)) != name:
            problems.append(
                f"{section}: {other} and {name} differ in case only, which some file systems "
                "cannot tell apart; rename one"
            )
    return problems


def _unknown(kind: str, name: str | None, known: list[str]) -> str:
    guess = did_you_mean(str(name), known) or f"; there is: {', '.join(known) or 'none'}"
    return f"no {kind} is called {name!r}{guess}"


def _model_problems(config: Config, name: str) -> list[str]:
    from concord.models import catalogue

    try:
        catalogue.spec(config, name)
    except UserError as error:
        return list(map(str, error.args))
    return []
