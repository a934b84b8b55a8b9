"""Objects of a storage as files of a collection: one list of a folder, few requests a manifest."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from concord.clips.files import Files
from concord.errors import UserError
from concord.remote.urls import Url

if TYPE_CHECKING:
    from concord.remote.storage import Stamp

LISTED_FROM = 20
"""Files that a manifest names in one folder from which on the folder is listed."""
REQUESTS = 16
"""Requests at a time."""
SOUND_FOLDER = "audio"

Placed = Callable[[Files, str, str], None]
"""Told of each object that was added: its folder, as `a/b/` or empty, and its name."""


def add_objects(
    files: Files, folder: Url, recursive: bool, leave_out: Collection[str], placed: Placed
) -> None:
    """Add all objects below a folder, as a walk over local folders would.

    Without `recursive`, only its own and those of its audio/. Folders whose address is in
    `leave_out` are not entered. Objects that stand for folders are passed over. Raises UserError if
    there is nothing, or if the server or the configuration is at fault.
    """
    from concord.remote.storage import storage

    outside = [Url(text) for text in leave_out if folder.holds(text)]
    nothing = True
    for relative, stamp in storage(folder).list_folder(folder):
        nothing = False
        above, _, name = relative.rpartition("/")
        above = f"{above}/" if above else ""
        if not name or not _entered(above, recursive):
            continue
        if any(one.holds(folder.below(relative)) for one in outside):
            continue
        if not _is_plain(relative):
            why = "its key has a part that is empty, . or .., or a zero byte"
            files.add_trouble(relative.replace("\0", "\\0"), "skipped", "not_a_file", why)
        elif name.startswith("."):
            files.add_trouble(relative, "skipped", "hidden", None)
        else:
            files.add_object(relative, stamp)
            placed(files, above, name)
    if nothing:
        raise UserError(
            f"{folder}: no object lies below it; expected a bucket or a prefix of clips"
        )


def stamps_of(urls: Iterable[str | None]) -> dict[str, "Stamp | None"]:
    """What tells the version of each object; None for one that is not there.

    Folders of which many are asked for are listed, others cost a request each. Raises UserError if
    the server or the configuration is at fault.
    """
    folders: dict[Url, list[str]] = defaultdict(list)
    for url in filter(None, dict.fromkeys(urls)):
        folders[Url(url).folder].append(url)
    found: dict[str, Stamp | None] = {}
    single: list[str] = []
    for folder, wanted in folders.items():
        if len(wanted) < LISTED_FROM:
            single += wanted
        else:
            found |= _listed(folder, wanted)
    with ThreadPoolExecutor(REQUESTS) as pool:
        found |= zip(single, pool.map(_stamp, single), strict=True)
    return found


def _listed(folder: Url, wanted: list[str]) -> dict[str, "Stamp | None"]:
    from concord.remote.storage import storage

    there = {folder.below(name): stamp for name, stamp in storage(folder).list_folder(folder)}
    return {url: there.get(url) for url in wanted}


def _stamp(text: str) -> "Stamp | None":
    from concord.remote.storage import GoneError, NotFetchedError, storage

    url = Url(text)
    try:
        return storage(url).stamp(url)
    except GoneError:
        return None
    except NotFetchedError as error:
        raise UserError(f"{url}: {error}") from error


def _entered(folder: str, recursive: bool) -> bool:
    if recursive:
        parts = set(folder.split("/")) - {".", ".."}
        return not any(part.startswith(".") for part in parts)
    return folder in ("", f"{SOUND_FOLDER}/")


def _is_plain(relative: str) -> bool:
    return "\0" not in relative and not {"", ".", ".."} & set(relative.split("/"))
