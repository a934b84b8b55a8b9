"""Processes that open originals: they may crash or be killed without taking the job along.

A worker is `python -m concord.media.worker MEMORY_MB`; it reads one job a line and answers one
line, both JSON. It is a program of its own, not a fork, so that it shares no lock, thread or memory
with the job, and it leads a process group, so that its ffmpeg dies with it.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import traceback
from dataclasses import asdict
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import IO, Any

from concord.errors import MachineError
from concord.media.clip import Job, Row, closed, process
from concord.memory import limit_memory

GRACE_S = 5.0
"""How much longer than ffmpeg a worker may take before it is killed."""


class Worker:
    """One worker process, started when needed; not for several threads at a time."""

    def __init__(self, memory_mb: int) -> None:
        self.memory_mb = memory_mb
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> "Worker":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def run(self, job: Job) -> Row:
        """The row of a job's clip; `timeout` or `crashed` if the worker does not survive it.

        A clip with which the worker or its ffmpeg died is tried once more, since something else may
        have killed them. Raises MachineError if the machine is at fault, RuntimeError for a mistake
        in our code.
        """
        row = self._run(job)
        if "crashed" in (row["reason"], row.get("video_reason"), row.get("audio_reason")):
            self.close()
            print(f"{job.clip_id!r}: its process died; tried once more", file=sys.stderr)
            row = self._run(job)
        return row

    def _run(self, job: Job) -> Row:
        process = self._start()
        expired = threading.Event()

        def expire() -> None:
            expired.set()
            self.close()

        timer = threading.Timer(job.timeout_s + GRACE_S, expire)
        timer.start()
        try:
            answer = _ask(process, json.dumps(asdict(job)))
        finally:
            timer.cancel()
        if answer is None:
            self.close()
            return closed(job.row(), "timeout" if expired.is_set() else "crashed")
        if "machine" in answer:
            raise MachineError(answer["machine"])
        if "error" in answer:
            raise RuntimeError(f"{job.path}:\n{answer['error']}")
        row: Row = answer["row"]
        return row

    def close(self) -> None:
        """Kill the worker and what it started."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def _start(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            root = str(Path(__file__).parents[2])
            paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
            threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
            self._process = subprocess.Popen(
                [sys.executable, "-m", "concord.media.worker", str(self.memory_mb)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=os.environ | threads | {"PYTHONPATH": os.pathsep.join(paths)},
                start_new_session=True,
                text=True,
            )
            if _ask(self._process, None) != {"ready": True}:
                raise MachineError("a media worker does not start; its message is above")
        return self._process


def _ask(process: subprocess.Popen[str], question: str | None) -> dict[str, Any] | None:
    """The worker's next answer; None if it died."""
    assert process.stdin
    assert process.stdout
    try:
        if question is not None:
            process.stdin.write(question + "\n")
            process.stdin.flush()
        line = process.stdout.readline()
        answer: dict[str, Any] | None = json.loads(line) if line.endswith("\n") else None
    except (OSError, ValueError):  # the pipe broke, or was closed by the timer
        return None
    return answer


def _answer(line: str) -> dict[str, Any]:
    try:
        content = json.loads(line)
        content["keys"] = tuple(content["keys"])
        return {"row": process(Job(**content))}
    except (MachineError, OSError) as error:
        return {"machine": str(error)}
    except Exception:
        return {"error": traceback.format_exc()}


def _serve(memory_mb: int, questions: IO[str], answers: IO[str]) -> None:
    # Loaded before the limit, which is for clips.
    import numpy  # noqa: F401
    import soundfile  # noqa: F401

    waiting: SimpleQueue[str] = SimpleQueue()
    threading.Thread(target=_listen, args=(questions, waiting), daemon=True).start()
    limit_memory(memory_mb)
    print(json.dumps({"ready": True}), file=answers, flush=True)
    while True:
        print(json.dumps(_answer(waiting.get())), file=answers, flush=True)


def _listen(questions: IO[str], waiting: "SimpleQueue[str]") -> None:
    """Pass questions on; when the job is gone, end this process and its ffmpeg at once."""
    for line in questions:
        waiting.put(line)
    os.killpg(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    # A library that prints must not be taken for an answer.
    own_stdout = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    _serve(int(sys.argv[1]), sys.stdin, own_stdout)
