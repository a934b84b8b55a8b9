"""The tree: proxies with sound under the clips' own paths, for people who want files to watch."""

import shutil
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from concord.errors import MachineError, UserError
from concord.media.ffmpeg import find_ffmpeg
from concord.media.file import URL_PROTOCOLS, MediaFile
from concord.media.paths import SUFFIX, Written, usual_name
from concord.media.proxies import Limits, Proxies
from concord.progress import Progress
from concord.remote.fetch import UnusableError
from concord.scratch import move_file, scratch_folder
from concord.tables import MEDIA, read_table


def write_tree(
    media: Path,
    tree: Path,
    unusual: Mapping[str, str],
    *,
    protocol: dict[str, Any],
    workers: int,
    timeout_s: float,
    memory_mb: int,
) -> None:
    """Write the clips of a media table below `tree`: picture of the proxy, sound of the wave.

    `unusual` has the paths that differ from `usual_name`. Files that are there already stay; those
    of clips that left the shard or changed their name are deleted. Proxies that were deleted are
    made again from the originals.
    Raises UserError with every clip that could not be written, when all others are; MachineError
    at once if the machine is at fault.
    """
    rows = [row for row in read_table(media, MEDIA).to_pylist() if row["proxy"]]
    places = {row["key"]: unusual.get(row["clip_id"], usual_name(row["clip_id"])) for row in rows}
    shard = media.parent.name
    ready = tree / f".{shard}.work"
    shutil.rmtree(ready, ignore_errors=True)
    ready.mkdir(parents=True)
    written = Written(tree, shard)
    written.keep(places.values())
    todo = [row for row in rows if not written.holds(places[row["key"]], row["key"])]
    limits = Limits(timeout_s, memory_mb)
    progress = Progress(f"tree {shard}: clips", len(todo))

    def write(row: Mapping[str, Any], scratch: Path) -> str | None:
        folder = scratch / row["key"]
        try:
            folder.mkdir()
            with Proxies(media.parent, protocol, folder, limits).open(row) as (proxy, wave):
                file = _mux(proxy, wave, folder, timeout_s)
            move_file(file, ready / f"{row['key']}{SUFFIX}")
            written.place(ready / f"{row['key']}{SUFFIX}", places[row["key"]], row["key"])
        except MachineError:
            raise
        except UnusableError as error:
            return f"{places[row['key']]}: not written: {error.detail}"
        except (UserError, OSError) as error:
            return f"{places[row['key']]}: not written: {error}"
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return None

    problems = []
    with scratch_folder() as scratch:
        pool = ThreadPoolExecutor(workers)
        try:
            for problem in pool.map(partial(write, scratch=scratch), todo):
                problems += [problem] if problem else []
                progress.step()
        finally:
            pool.shutdown(cancel_futures=True)
            shutil.rmtree(ready, ignore_errors=True)
    if problems:
        raise UserError(*problems)


def _mux(proxy: MediaFile | None, wave: MediaFile | None, folder: Path, timeout_s: float) -> Path:
    """Picture as it is and sound as AAC in one new file of `folder`."""
    target = folder / "both.mp4"
    safe = ("-protocol_whitelist", URL_PROTOCOLS)
    inputs = [word for file in (proxy, wave) if file for word in (*safe, "-i", file.url)]
    command = [find_ffmpeg().path, "-nostdin", "-v", "error", "-threads", "1"]
    codecs = ["-c:v", "copy", "-c:a", "aac", "-map_metadata", "-1", "-fflags", "+bitexact"]
    try:
        subprocess.run(
            [*command, *inputs, *codecs, "-movflags", "+faststart", f"file:{target}"],
            check=True,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired as error:
        raise UserError(f"ffmpeg took more than {timeout_s} s (media.timeout_s)") from error
    except subprocess.CalledProcessError as error:
        raise UserError(f"ffmpeg: {error.stderr.strip()}") from error
    return target
