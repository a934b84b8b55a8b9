"""A SLURM of our own on this machine, for tests: a controller and three nodes, up in seconds.

node1 and node2 have two GPUs each (files that stand for devices: no GPU is needed), node3 has none.
Partitions: `cpu` with all nodes, `gpu` with the first two. Everything lies in one folder, the ports
are free ones, and every process is stopped by its own id, so several can be up at once. No root, no
systemd, no cgroups, no accounting. Needs Debian's packages slurmctld, slurmd, slurm-client, munge.

By hand, from the checkout:
    python -m tests.slurm.private_slurm up /tmp/my-slurm     prints what to export
    python -m tests.slurm.private_slurm kill /tmp/my-slurm node1
    python -m tests.slurm.private_slurm down /tmp/my-slurm
"""

import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

PACKAGES = {"slurmctld": "slurmctld", "slurmd": "slurmd", "srun": "slurm-client", "munged": "munge"}
CLIENTS = ["sbatch", "scancel", "scontrol", "sinfo", "squeue", "srun", "sacct", "sacctmgr"]
NODES = ("node1", "node2", "node3")
GPUS = {"node1": 2, "node2": 2, "node3": 0}
SEARCHED = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
CLIENT_S = 20
"""Limit of a client command (s)."""

CONFIGURATION = """\
ClusterName=private
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd-%n.log
# More processors and memory are declared than there are: jobs of a test wait for nothing else.
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=sched_interval=2,sched_min_interval=0,batch_sched_delay=0,bf_interval=2
GresTypes=gpu
# Without cgroups, the sampling of processes is what ends a job over its memory.
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
MailProg=/bin/true
MinJobAge=3600
KillWait=5
SlurmdTimeout=10
Waittime=0
OverTimeLimit=0
{nodes}
PartitionName=cpu Nodes={all_nodes} Default=YES MaxTime=INFINITE DefaultTime=10 State=UP
PartitionName=gpu Nodes={gpu_nodes} MaxTime=INFINITE DefaultTime=10 State=UP
"""


def missing_packages() -> list[str]:
    """Debian's packages that would have to be installed."""
    return sorted({p for tool, p in PACKAGES.items() if shutil.which(tool, path=SEARCHED) is None})


class SlurmError(RuntimeError):
    """The cluster did not do what was asked; the message ends with its logs."""


class PrivateSlurm:
    """One cluster in one folder; `up` and `down`, or use it as a context manager."""

    def __init__(self, folder: Path, *, gpus: dict[str, int] = GPUS) -> None:
        self.folder = folder.resolve()
        self.gpus = gpus
        self.configuration = self.folder / "slurm.conf"
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> "PrivateSlurm":
        try:
            self.up()
        except BaseException:
            self.down()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to be a user of this cluster.

        The wrappers on PATH are there because the jobs' own executor takes SLURM_CONF out of the
        environment.
        """
        path = os.pathsep.join([str(self.folder / "bin"), os.environ.get("PATH", "")])
        return {"SLURM_CONF": str(self.configuration), "PATH": path}

    def up(self) -> None:
        """Start what is not running and wait until all nodes are idle."""
        for name in ("log", "state", "bin", "dev", "pids", *(f"spool/{node}" for node in NODES)):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        if not self.configuration.exists():
            self._configure()
        self.start_authentication()
        self.start_controller()
        for node in NODES:
            self.start_node(node)
        self.wait(self._is_idle, "the nodes are idle", 60)

    def renew(self) -> None:
        """Stop and start everything, without jobs and without what was known of nodes."""
        self.down()
        for name in ("state", "spool"):
            shutil.rmtree(self.folder / name)
        self.up()

    def down(self) -> None:
        """Cancel the jobs and stop every process of this cluster."""
        if self._pid("slurmctld"):
            self.client("scancel", "--full", f"--user={getpass.getuser()}", check=False)
            with suppress(SlurmError, subprocess.TimeoutExpired):  # what is left is ended below
                self.wait(lambda: not self.jobs(), "jobs are gone", 10)
        for name in ("slurmctld", *(f"slurmd-{node}" for node in NODES), "munged"):
            self.stop(name)
        for pid in self._processes(lambda words: f"SLURM_CONF={self.configuration}" in words):
            if _words(pid, "cmdline")[:1] and "slurmstepd" in _words(pid, "cmdline")[0]:
                _kill(pid)

    def start_authentication(self) -> None:
        socket_file = self.folder / "munge.socket"
        self._start(
            "munged",
            "munged",
            "--foreground",
            "--force",
            f"--key-file={self.folder}/munge.key",
            f"--socket={socket_file}",
            f"--pid-file={self.folder}/munged.pid",
            f"--log-file={self.folder}/log/munged.log",
            f"--seed-file={self.folder}/munge.seed",
        )
        self.wait(socket_file.exists, "munged listens", 10)

    def start_controller(self) -> None:
        self._start("slurmctld", "slurmctld", "-D", "-f", str(self.configuration))

    def start_node(self, node: str) -> None:
        self._start(f"slurmd-{node}", "slurmd", "-D", "-N", node, "-f", str(self.configuration))

    def stop(self, name: str, how: signal.Signals = signal.SIGTERM) -> None:
        """End a daemon (munged, slurmctld, slurmd-NODE) and wait until it is gone."""
        pid = self._pid(name)
        if pid is None:
            return
        os.kill(pid, how)
        try:
            self.wait(lambda: self._pid(name) is None, f"{name} ends", 8)
        except SlurmError:
            _kill(pid)
        (self.folder / "pids" / name).unlink(missing_ok=True)

    def kill_node(self, node: str) -> None:
        """Crash a node: its slurmd and every process of its jobs die at once."""
        steps = self.client("squeue", "--noheader", f"--nodelist={node}", "--format=%A").split()
        self.stop(f"slurmd-{node}", signal.SIGKILL)

        def on_node(words: list[str]) -> bool:
            return f"SLURMD_NODENAME={node}" in words and self._is_ours(words)

        victims = self._processes(on_node)
        for pid in self._processes(lambda words: self._is_ours(words)):
            command = " ".join(_words(pid, "cmdline"))
            if "slurmstepd" in command and any(f"[{step}." in command for step in steps):
                victims.append(pid)
        for pid in victims:
            _kill(pid)

    def client(self, *command: str, check: bool = True, timeout: float = CLIENT_S) -> str:
        """What one of SLURM's client commands prints."""
        done = subprocess.run(
            command,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        if check and done.returncode:
            raise SlurmError(f"{' '.join(command)}: {done.stderr.strip()}")
        return done.stdout

    def jobs(self, states: str = "pending,running,completing") -> list[tuple[str, str, str]]:
        """(id, name, state) of jobs in any of these states, `all` for all."""
        lines = self.client(
            "squeue", "--noheader", f"--states={states}", "--format=%i|%j|%T"
        ).splitlines()
        return [(i, name, state) for i, name, state in (line.split("|") for line in lines)]

    def processes_of(self, job: str) -> dict[int, str]:
        """Command lines of a job's processes, by their ids; those of SLURM itself are left out."""
        pids = self._processes(
            lambda words: f"SLURM_JOB_ID={job}" in words and self._is_ours(words)
        )
        commands = {pid: " ".join(_words(pid, "cmdline")) for pid in pids}
        own = ("slurmstepd", "srun ")
        return {
            pid: c
            for pid, c in commands.items()
            if not c.startswith(own) and "slurm_script" not in c
        }

    def wait(self, condition: Callable[[], bool], what: str, seconds: float) -> None:
        """Wait until a condition holds; raises SlurmError when it takes too long."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise SlurmError(f"waited {seconds} s in vain until {what}\n{self._logs()}")
            time.sleep(0.1)

    def _configure(self) -> None:
        key = self.folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(128))
        ports = _free_ports(1 + len(NODES))
        nodes, devices = [], []
        for node, port in zip(NODES, ports[1:], strict=True):
            offered = ""
            if count := self.gpus[node]:
                for index in range(count):
                    (self.folder / "dev" / f"{node}-gpu{index}").symlink_to("/dev/null")
                files = f"{self.folder}/dev/{node}-gpu[0-{count - 1}]"
                devices.append(f"NodeName={node} Name=gpu File={files}")
                offered = f" Gres=gpu:{count}"
            nodes.append(
                f"NodeName={node} NodeHostname={socket.gethostname()} NodeAddr=127.0.0.1 "
                f"Port={port} CPUs=16 RealMemory=64000{offered} State=UNKNOWN"
            )
        (self.folder / "gres.conf").write_text("\n".join(devices) + "\n")
        self.configuration.write_text(
            CONFIGURATION.format(
                host=socket.gethostname(),
                port=ports[0],
                user=getpass.getuser(),
                folder=self.folder,
                nodes="\n".join(nodes),
                all_nodes=",".join(NODES),
                gpu_nodes=",".join(NODES[:2]),
            )
        )
        for name in CLIENTS:
            if found := shutil.which(name):
                wrapper = self.folder / "bin" / name
                wrapper.write_text(
                    f'#!/bin/sh\nSLURM_CONF={self.configuration} exec {found} "$@"\n'
                )
                wrapper.chmod(0o755)

    def _start(self, name: str, *command: str) -> None:
        if self._pid(name):
            return
        program = shutil.which(command[0], path=SEARCHED)
        if program is None:
            raise SlurmError(f"{command[0]}: not installed")
        with (self.folder / "log" / f"{name}.out").open("ab") as log:
            daemon = subprocess.Popen(
                [program, *command[1:]],
                env={**_without_slurm(), **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.daemons[name] = daemon
        (self.folder / "pids" / name).write_text(str(daemon.pid))

    def _pid(self, name: str) -> int | None:
        """The process of a daemon that is alive, and ours: its command names our folder."""
        file = self.folder / "pids" / name
        if not file.exists():
            return None
        if name in self.daemons:
            self.daemons[name].poll()
        pid = int(file.read_text())
        return pid if any(str(self.folder) in word for word in _words(pid, "cmdline")) else None

    def answers(self) -> bool:
        return bool(self.client("sinfo", "--noheader", check=False))

    def _is_idle(self) -> bool:
        if self._pid("slurmctld") is None:
            raise SlurmError(f"slurmctld ended\n{self._logs()}")
        states = self.client("sinfo", "--noheader", "--Node", "--format=%N %t", check=False)
        return {line.split()[1] for line in states.splitlines()} == {"idle"}

    def _is_ours(self, environment: list[str]) -> bool:
        return any(word.startswith(str(self.folder / "bin")) for word in _path(environment)) or (
            f"SLURM_CONF={self.configuration}" in environment
        )

    def _processes(self, wanted: Callable[[list[str]], bool]) -> list[int]:
        """Processes whose environment is wanted."""
        pids = [int(path.name) for path in Path("/proc").glob("[0-9]*")]
        return [pid for pid in pids if wanted(_words(pid, "environ"))]

    def _logs(self) -> str:
        files = sorted((self.folder / "log").iterdir())
        tails = [(f.name, f.read_text(errors="replace")[-1500:]) for f in files]
        return "\n".join(f"--- {name}\n{tail}" for name, tail in tails if tail)


def _words(pid: int, what: str) -> list[str]:
    """The command line or environment of a process; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/{what}").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []


def _path(environment: list[str]) -> list[str]:
    return [w.removeprefix("PATH=") for w in environment if w.startswith("PATH=")]


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _without_slurm() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith("SLURM")}


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def main(arguments: list[str]) -> None:
    match arguments:
        case ["up", folder]:
            cluster = PrivateSlurm(Path(folder))
            cluster.up()
            for name, value in cluster.environment.items():
                print(f"export {name}='{value}'")
        case ["down", folder]:
            PrivateSlurm(Path(folder)).down()
        case ["kill", folder, node] if node in NODES:
            PrivateSlurm(Path(folder)).kill_node(node)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
