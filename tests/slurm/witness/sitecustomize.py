"""Loaded by every Python of a watched run: notes what it is, and each look into a watched folder.

A line of JSON each: process, SLURM's job and node, the GPUs it may use, when it was, what happened.
"""

import atexit
import json
import os
import sys
import time
import traceback

_FILE, _FOLDER = os.environ.get("CONCORD_WITNESS"), os.environ.get("CONCORD_WITNESSED")


def _note(event, **more):
    known = {
        "event": event,
        "pid": os.getpid(),
        "time": time.time(),
        "job": os.environ.get("SLURM_JOB_ID"),
        "node": os.environ.get("SLURMD_NODENAME"),
        "gpus": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "command": sys.argv[:3],
    }
    line = json.dumps({**known, **more}) + "\n"
    handle = os.open(_FILE, os.O_WRONLY | os.O_APPEND)
    os.write(handle, line.encode())
    os.close(handle)


def _stack():
    """Where in the code it was: the innermost ten places."""
    return [f"{f.filename}:{f.lineno} {f.name}" for f in traceback.extract_stack()[-12:-2]]


def _hear(event, arguments):
    if (
        event in ("os.scandir", "os.listdir")
        and arguments
        and isinstance(arguments[0], (str, bytes))
    ):
        path = os.path.realpath(os.fsdecode(arguments[0]))
        if path == _FOLDER or path.startswith(_FOLDER + os.sep):
            _note("walk", path=path, stack=_stack())


if _FILE and _FOLDER:
    sys.addaudithook(_hear)
    _note("start")
    atexit.register(_note, "end")
