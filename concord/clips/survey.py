"""One look at all inputs: what is there, what belongs together, and everything that is wrong."""

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from concord.clips.companions import find_companions
from concord.clips.describe import Described, describe, eligible
from concord.clips.files import absolute, extension_of, is_folder
from concord.clips.match import Matches, Method, match_prompts
from concord.clips.pairing import Pairs
from concord.clips.prompts import PROMPTS, read_prompts
from concord.clips.records import SUFFIXES, read_records
from concord.clips.scan import scan
from concord.clips.sound import pair_sounds
from concord.clips.stills import join_images, without_images
from concord.config import Config
from concord.config_data import Collection
from concord.errors import UserError, did_you_mean
from concord.models.base import COMPANIONS, Modality
from concord.remote.settings import use
from concord.remote.urls import Place, Url
from concord.scores.tasks import companions


@dataclass
class Survey:
    """Prompt sets (PROMPTS) and collections by name, and the mistakes found.

    `unmatched` says of a collection without any match what its clips and prompts are called.
    """

    prompts: dict[str, pa.Table] = field(default_factory=dict)
    collections: dict[str, Described] = field(default_factory=dict)
    unmatched: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def survey(config: Config) -> Survey:
    """Read the prompt files in use and walk every collection once; mistakes are not raised."""
    use(config.remote)
    result = Survey()
    used = {config.prompt_set(name) for name in config.collections}
    for name, listed in config.prompts.items():
        if name not in used:
            continue
        try:
            _check_readable(listed.path, folder=False)
            result.prompts[name] = read_prompts(listed)
        except UserError as error:
            result.problems += [f"prompts.{name}: {problem}" for problem in error.args]
    for name in config.collections:
        prompt_set = config.prompt_set(name)
        prompts = None if prompt_set is None else result.prompts.get(prompt_set)
        try:
            _check_paths(config, name)
            result.collections[name] = _collection(config, name, prompts, result.unmatched)
        except UserError as error:
            result.problems += [f"collections.{name}: {problem}" for problem in error.args]
    result.problems += _useless_prompts(config, result)
    return result


def _useless_prompts(config: Config, result: Survey) -> list[str]:
    """Prompt sets that no clip of any collection matches: hardly what was meant.

    Where another collection matches, the rows say `no_prompt` and `no_clip`, and the run goes on.
    """
    problems = []
    for prompt_set in result.prompts:
        users = [name for name in result.collections if config.prompt_set(name) == prompt_set]
        if users and all(name in result.unmatched for name in users):
            problems += [f"collections.{name}: {result.unmatched[name]}" for name in users]
    return problems


def _collection(
    config: Config, name: str, prompts: pa.Table | None, unmatched: dict[str, str]
) -> Described:
    collection = config.collections[name]
    compared = companions(config.tasks)
    wanted = _with_image(compared) if "features" in config.tasks else compared
    found = scan(collection, config.results, wanted, config.remote.manifests)
    if "image" not in compared and _has_media(found):  # to features, these are thumbnails
        found = without_images(found)
    found = join_images(found)
    sounds = pair_sounds(found)
    clips = eligible(found, sounds)
    _check_media(collection, found, sounds, clips)
    beside = find_companions(collection, found, clips, wanted, config.results)
    beside = {m: files for m, files in beside.items() if m in compared or any(files.paths)}
    matches = None
    if prompts is not None:
        matches = _matches(collection, found, clips, prompts)
        if not matches.count:
            unmatched[name] = _no_match(collection, found, clips, prompts)
    described = describe(
        found,
        sounds,
        matches,
        PROMPTS.empty_table() if prompts is None else prompts,
        beside,
        limit=config.limit,
        skip=config.media.skip_count,
    )
    rows = described.clips
    if not pc.any(pc.and_(pc.is_valid(rows["clip_id"]), pc.is_valid(rows["item"]))).as_py():
        raise UserError(
            f"limit: none of the first {config.limit} prompts has a clip here; raise the limit"
        )
    return described


def _with_image(modalities: tuple[Modality, ...]) -> tuple[Modality, ...]:
    return modalities if "image" in modalities else ("image", *modalities)


def _has_media(found: pa.Table) -> bool:
    kinds = pa.array(["video", "audio"])
    return bool(pc.any(pc.is_in(found["kind"], value_set=kinds)).as_py())


def _matches(
    collection: Collection, found: pa.Table, clips: list[bool], prompts: pa.Table
) -> Matches:
    """Matches by the method asked for; `auto` takes the first that matches any clip.

    Raises UserError if index and stem both match, but differently.
    """
    possible: dict[Method, bool] = {
        "column": found["index"].null_count < len(found),
        "index": True,
        "stem": prompts["stem"].null_count < len(prompts),
    }
    if collection.match != "auto":
        if not possible[collection.match]:
            raise UserError(_impossible(collection.match))
        return match_prompts(found, clips, prompts, collection.match)
    if possible["column"]:
        return match_prompts(found, clips, prompts, "column")
    by_index = match_prompts(found, clips, prompts, "index")
    if not possible["stem"]:
        return by_index
    by_stem = match_prompts(found, clips, prompts, "stem")
    pairs = zip(by_index.prompt, by_stem.prompt, strict=True)
    if any(a is not None and b is not None and a != b for a, b in pairs):
        raise UserError(
            "match: index and stem both find prompts for the clips, but different ones; "
            "say `match: index` or `match: stem`"
        )
    return by_index if by_index.count else by_stem


def _impossible(method: Method) -> str:
    if method == "column":
        return "match: column needs a manifest with a column `index`; there is none"
    return "match: stem needs stems in the prompts: name their column in prompts.NAME.stem"


def _no_match(collection: Collection, found: pa.Table, clips: list[bool], prompts: pa.Table) -> str:
    names = [
        path.rpartition("/")[2]
        for path, clip in zip(found["path"].to_pylist(), clips, strict=True)
        if clip
    ]
    indices = ", ".join(map(str, prompts["index"][:3].to_pylist()))
    return (
        f"none of its {len(names)} clips matches a prompt (match: {collection.match}): the clips "
        f"have names like {names[0]!r}, the prompts indices like {indices}; name the files "
        "sample_0001 and so on, use stems or a manifest, or set `prompts: none`"
    )


def _check_media(collection: Collection, found: pa.Table, sounds: Pairs, clips: list[bool]) -> None:
    where = ", ".join(map(absolute, collection.path))
    if not any(clips):
        endings = Counter(extension_of(path) or "(none)" for path in found["path"].to_pylist())
        there = ", ".join(f"{count} {ending}" for ending, count in endings.most_common(5))
        deeper = "" if collection.recursive else ", or recursive: true to look into subfolders"
        raise UserError(
            f"{where}: no video or audio file; found by ending: {there or 'no file at all'}; "
            f"expected .mp4, .wav or the like{deeper}"
        )
    if collection.audio and not sounds.of:
        raise UserError(
            f"audio: no sound file in {absolute(collection.audio)} belongs to a clip; "
            "expected the same stem as the clip, or the same index in both names"
        )


def _check_paths(config: Config, name: str) -> None:
    """Raise UserError with everything that keeps a collection from being scanned."""
    collection = config.collections[name]
    problems: list[str] = []
    for path in collection.path:
        problems += _problems_of(path, folder=None)
        problems += _unused_prompts(config, name, path)
        problems += _among_results(config, path)
    for key in ("audio", *COMPANIONS):
        if path := getattr(collection, key):
            found = [*_problems_of(path, folder=True), *_among_results(config, path)]
            problems += [f"{key}: {text}" for text in found]
    folders = [absolute(path) for path in collection.path if is_folder(path)]
    for folder in folders:
        if collection.recursive and any(_holds(other, folder) for other in folders):
            problems.append(f"{folder} lies in another of its folders; list only one of them")
    if problems:
        raise UserError(*problems)


def _among_results(config: Config, path: Place) -> list[str]:
    """A folder of clips where runs write; only the demo belongs there."""
    if isinstance(path, Url):
        target = config.publish.path if config.publish else None
        if target and is_folder(path) and (path.holds(target) or target.holds(path)):
            return [f"{path} and publish: {target} lie in one another; keep them apart"]
        return []
    results, folder = config.results.resolve(), path.expanduser().resolve()
    if not folder.is_dir() or not folder.is_relative_to(results):
        return []
    if folder.is_relative_to(results / "demo"):
        return []
    return [
        f"{path} lies in the results folder {config.results}, where runs write; keep the clips "
        "elsewhere, or set `results:` to another folder"
    ]


def _holds(folder: str, path: str) -> bool:
    return path != folder and path.startswith(folder.rstrip("/") + "/")


def _unused_prompts(config: Config, name: str, path: Place) -> list[str]:
    """A manifest with prompts in it, in a collection for which no prompt set is named."""
    collection = config.collections[name]
    if collection.prompts or config.prompt_set(name) or path.suffix.lower() not in SUFFIXES:
        return []
    if isinstance(path, Path):
        path = path.expanduser()
        if not path.is_file():
            return []
    names = {"video_prompt", "audio_prompt"} & set(read_records(path, ()).names)
    if not names:
        return []
    return [
        f"{path} has the column {min(names)!r}, but there is no prompt set; "
        f"add `prompts: {path}`, or `prompts: none` to this collection"
    ]


def _check_readable(path: Place, folder: bool | None) -> None:
    if problems := _problems_of(path, folder):
        raise UserError(*problems)


def _problems_of(path: Place, folder: bool | None) -> list[str]:
    """What keeps a file (or a folder, or either) from being read; objects tell when they are."""
    if isinstance(path, Url):
        if folder is not None and is_folder(path) != folder:
            return [f"{path}: expected a {'folder' if folder else 'file'}"]
        return []
    path = Path(absolute(path))
    if not path.exists():
        return [_not_there(path)]
    if folder is not None and path.is_dir() != folder:
        return [f"{path}: expected a {'folder' if folder else 'file'}"]
    if folder is None and not path.is_dir() and path.suffix.lower() not in SUFFIXES:
        return [f"{path}: expected a folder, or a manifest ({', '.join(SUFFIXES)})"]
    if not os.access(path, os.R_OK | os.X_OK if path.is_dir() else os.R_OK):
        return [f"{path}: no permission to read it"]
    return []


def _not_there(path: Path) -> str:
    above = next(parent for parent in path.parents if parent.is_dir())
    name = path.relative_to(above).parts[0]
    try:
        siblings = [entry.name for entry in above.iterdir()]
    except OSError:
        siblings = []
    return f"{path} does not exist: there is no {name!r} in {above}{did_you_mean(name, siblings)}"
