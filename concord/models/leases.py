"""One device, one job: locks that end with the process that holds them. No torch, no GPU library.

A device is held by a lock on an empty file that bears its name, in a folder that all users of the
machine share and that no variable of a single job (TMPDIR, HOME) moves; the lock goes when its
process ends, however it ends, and the file stays. Nothing is ever written to such a file and no
link is followed, so that what others put into the folder can at most make a job wait.
"""

import errno
import fcntl
import os
import pwd
import re
import stat
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from concord.errors import UserError

VISIBLE = "CUDA_VISIBLE_DEVICES"
CHOSEN = ("SLURM_JOB_GPUS", "SLURM_STEP_GPUS")
"""Where SLURM says which GPUs it gave to a job, or to a step of it."""
WITHOUT_GPUS = "CONCORD_CLUSTER_WITHOUT_GPUS"
"""Set for the jobs of a run on a cluster that offers no GPUs."""
FOLDER = "CONCORD_GPU_LOCKS"
"""Names another folder for the locks, for containers and where jobs have a /tmp of their own."""
USUAL_FOLDER = Path("/tmp/concord-gpus")
POLL_S = 1.0
_DEVICE = re.compile(r"\d+|(GPU|MIG)-.+")


def named(visible: str) -> list[str]:
    """The devices that a value of CUDA_VISIBLE_DEVICES names, as CUDA reads it.

    What is no device (-1, an empty name, NoDevFiles) hides itself and all that follows.
    """
    found: list[str] = []
    for name in map(str.strip, visible.split(",")):
        if not _DEVICE.fullmatch(name):
            break
        found.append(name)
    return list(dict.fromkeys(found))


def instances(environment: Mapping[str, str]) -> list[str]:
    """The parts of GPUs (MIG) that CUDA_VISIBLE_DEVICES names; of several CUDA sees the first."""
    return [name for name in named(environment.get(VISIBLE, "")) if name.startswith("MIG-")]


def cluster_offers_gpus() -> bool:
    """Whether jobs can get a GPU, as far as this run knows; the same answer in all its jobs."""
    return WITHOUT_GPUS not in os.environ


def is_assigned(devices: Sequence[str], environment: Mapping[str, str]) -> bool:
    """Whether SLURM chose the only device for this job, so that nobody else is to be asked.

    A job that sees several has them from an allocation in which jobs run beside each other. On a
    cluster that does not manage its GPUs SLURM says nothing of them.
    """
    return len(devices) == 1 and any(map(environment.get, CHOSEN))


@contextmanager
def take(devices: Sequence[str]) -> Iterator[str]:
    """Hold one of the devices, by its name; waits for one if other jobs hold them all.

    Raises UserError for a folder of locks that cannot be used.
    """
    if is_assigned(devices, os.environ):
        yield devices[0]
        return
    folder = _folder()
    name, handle = _hold(devices, folder)
    try:
        yield name
    finally:
        os.close(handle)


def _hold(devices: Sequence[str], folder: Path) -> tuple[str, int]:
    """Lock the first free device; its name, and the descriptor that holds the lock."""
    began, told = time.monotonic(), False
    while True:
        for name in devices:
            handle = _lock(_file(folder, name))
            if handle is not None:
                if told:
                    _tell(f"took {name} after {time.monotonic() - began:.0f} s")
                return name, handle
        if not told:
            _tell(
                f"all {len(devices)} GPUs are held by other jobs ({_holders(devices, folder)}); "
                "waiting for one (start no more jobs than GPUs with `--resources gpu=N`)"
            )
        told = True
        time.sleep(POLL_S)


def _file(folder: Path, device: str) -> Path:
    return folder / f"{quote(device, safe='')}.lock"


def _lock(path: Path) -> int | None:
    """A descriptor that holds the lock of a file; None if another process has it."""
    try:
        handle = _open(path)
    except OSError as error:
        raise _unusable(path, error) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    except OSError as error:
        os.close(handle)
        raise _unusable(path, error) from error
    with suppress(FileNotFoundError):
        if os.path.samestat(os.fstat(handle), path.stat(follow_symlinks=False)):
            return handle
    os.close(handle)  # the file was removed before it was locked: another one counts now
    return _lock(path)


def _open(path: Path) -> int:
    """Open a lock file for reading alone, which everybody may, and make it if it is not there.

    A file of another user is opened without O_CREAT: Linux refuses that (fs.protected_regular).
    """
    while True:
        with suppress(FileNotFoundError):
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                os.close(handle)
                raise OSError(errno.EINVAL, "it is no file")
            return handle
        with suppress(FileExistsError):
            handle = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o444)
            os.fchmod(handle, 0o444)  # whatever the umask
            return handle


def _folder() -> Path:
    """The folder of the locks, in which every user can make files and none those of others."""
    folder = Path(os.environ.get(FOLDER) or USUAL_FOLDER)
    try:
        with suppress(FileExistsError):
            folder.mkdir()
            folder.chmod(0o1777)
        if not stat.S_ISDIR(folder.stat(follow_symlinks=False).st_mode):
            raise NotADirectoryError(errno.ENOTDIR, "it is no folder, or a link to one")
    except OSError as error:
        raise _unusable(folder, error) from error
    return folder


def _unusable(path: Path, error: OSError) -> UserError:
    return UserError(
        f"{path}: found what cannot hold the lock of a GPU ({error.strerror}), expected a folder "
        "in which every user may make files (mode 1777); have its owner remove it, or set "
        f"{FOLDER} to another folder, the same for all jobs of this machine"
    )


def _holders(devices: Sequence[str], folder: Path) -> str:
    """Who holds the devices, as far as the system tells."""
    return "; ".join(f"{name} by {_holder(_file(folder, name))}" for name in devices)


def _holder(path: Path) -> str:
    with suppress(OSError, ValueError, IndexError):
        inode = str(path.stat().st_ino)
        for line in Path("/proc/locks").read_text().splitlines():
            fields = line.split()
            if fields[1] == "FLOCK" and fields[5].split(":")[-1] == inode:
                return f"process {fields[4]} of {_owner(fields[4])}"
    return "a process that is not to be seen"


def _owner(process: str) -> str:
    """Name of the user whose process it is."""
    user = Path("/proc", process).stat().st_uid
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"user {user}"


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
