"""A real Slurm of one node on this machine: installed, started, and removed completely.

All of it is found again by its folder, because one process of pytest starts it, others use it, and
another one stops it.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

SETTINGS = Path("/etc/slurm")
PACKAGES = ("slurm-wlm", "munge")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scancel", "squeue", "scontrol")
DAEMONS = ("slurmd", "slurmctld")

# The plug-in's job step forgets SLURM_CONF, so that the files have to lie in /etc/slurm.
CONFIGURATION = """\
ClusterName=kdpipe
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# A requeued job waits for as long, two minutes by default.
AuthInfo=cred_expire=20
CryptoType=crypto/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
SchedulerType=sched/backfill
# A job that has waited is looked at once a minute by default.
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
SlurmdTimeout=20
# The states of all jobs are asked for when a test is over.
MinJobAge=3600
KillWait=8
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} Gres=gpu:1 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


class NoSlurmError(Exception):
    """Slurm cannot be installed or started here; the text says why."""


def install() -> None:
    """Install Slurm and MUNGE with apt-get unless they are here. Raises NoSlurmError."""
    if os.geteuid() != 0:
        raise NoSlurmError("Starting munged and slurmd needs root; run 'make test-slurm' as root.")
    if all(map(shutil.which, PROGRAMS)):
        return
    if shutil.which("apt-get") is None:
        raise NoSlurmError(
            "Slurm is not installed and there is no apt-get here; install Slurm and MUNGE by hand "
            "or run 'make test-slurm' on Debian or Ubuntu."
        )
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for words in (
        ["update", "-qq"],
        ["install", "-y", "-qq", "--no-install-recommends", *PACKAGES],
    ):
        done = subprocess.run(
            ["apt-get", *words], env=environment, capture_output=True, text=True, timeout=300
        )
        if done.returncode:
            raise NoSlurmError(f"apt-get {words[0]} failed: {done.stderr.strip()[-500:]}")


@dataclass(frozen=True)
class Cluster:
    """One node with a GPU that is none (/dev/zero), under a controller on loopback."""

    folder: Path
    cpus: int = 8
    """More than there are, perhaps: in the tests most jobs wait most of the time."""

    @property
    def host(self) -> str:
        return socket.gethostname().partition(".")[0]

    @property
    def _kept(self) -> Path:
        return self.folder / "etc-slurm"

    @property
    def _ours(self) -> Path:
        """The programs to stop, one a line; the file is there once something was begun."""
        return self.folder / "started"

    def start(self) -> None:
        """Set everything up. Raises NoSlurmError; stop() is needed after that as well."""
        for program in DAEMONS:
            if pids(program):
                raise NoSlurmError(f"{program} runs here already; this machine is in use.")
        for name in ("", "state", "spool"):
            (self.folder / name).mkdir()
        self._ours.write_text("\n".join(DAEMONS))
        if SETTINGS.is_dir():
            shutil.copytree(SETTINGS, self._kept, symlinks=True)
        SETTINGS.mkdir(exist_ok=True)
        text = CONFIGURATION.format(
            host=self.host,
            folder=self.folder,
            ports=(16817, 16818),
            cpus=self.cpus,
            memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
        )
        (SETTINGS / "slurm.conf").write_text(text)
        (SETTINGS / "gres.conf").write_text(f"NodeName={self.host} Name=gpu File=/dev/zero\n")
        if not pids("munged"):
            self._ours.write_text("\n".join((*DAEMONS, "munged")))
            for path in ("/run/munge", "/var/log/munge", "/var/lib/munge"):
                Path(path).mkdir(parents=True, exist_ok=True)
                shutil.chown(path, "munge", "munge")
            self._begin("runuser", "-u", "munge", "--", "munged")
            wait_for(lambda: quiet("munge", "-n").returncode == 0, "munged", 20)
        self._begin("slurmctld")
        wait_for(lambda: "UP" in quiet("scontrol", "ping").stdout, "slurmctld", 30)
        self.start_node()

    def start_node(self) -> None:
        if not pids("slurmd"):
            self._begin("slurmd")
        wait_for(lambda: self._state() in ("idle", "mixed", "allocated"), "the node", 60)

    @staticmethod
    def _state() -> str:
        """Of the node, as the controller sees it; a star means that it does not answer."""
        return quiet("sinfo", "-h", "-o", "%T").stdout.strip()

    def _begin(self, *words: str) -> None:
        """Start a program that leaves for the background by itself."""
        with (self.folder / f"{words[-1]}.out").open("ab") as out:
            done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        if done.returncode:
            raise NoSlurmError(f"{words[-1]} does not start: {Path(out.name).read_text()[-500:]}")

    def lose_node(self) -> None:
        """kill -9 of the node's daemon and of the processes that watch over its steps.

        What the steps run is left behind, as where a daemon dies and its node does not. Returns
        when the controller has given the node up, as it would after minutes on a cluster.
        """
        for name in ("slurmd", "slurmstepd"):
            for pid in pids(name):
                send(pid, signal.SIGKILL)
        wait_for(lambda: not pids("slurmd") + pids("slurmstepd"), "the end of slurmd", 10)
        wait_for(lambda: self._state().startswith("down"), "the controller to notice", 120)

    @staticmethod
    def shorten(number: str, minutes: int) -> None:
        """Let a job end so many minutes from now or up to one earlier, but after one at least."""
        said = quiet("squeue", "-h", "-j", number, "-O", "TimeUsed:20").stdout.strip()
        used = sum(60**k * int(part) for k, part in enumerate(reversed(said.split(":"))))
        limit = f"TimeLimit={max(1, used // 60 + minutes)}"
        done = quiet("scontrol", "update", f"JobId={number}", limit)
        assert done.returncode == 0, done.stderr

    def jobs(self) -> list[dict[str, str]]:
        """The jobs that Slurm knows: id, state, comment (rule or group)."""
        lines = quiet("squeue", "-h", "-t", "all", "-o", "%i|%T|%k").stdout.splitlines()
        return [dict(zip(("id", "state", "comment"), x.split("|", 2), strict=True)) for x in lines]

    def about(self, number: str) -> str:
        """What Slurm says of a job, and what it has written of late."""
        said = quiet("scontrol", "show", "job", number).stdout
        logs = [self.folder / f"{name}.log" for name in DAEMONS]
        return "\n".join([said, *(log.read_text()[-3000:] for log in logs if log.exists())])

    def stop(self) -> None:
        """End what start() started and put /etc/slurm back."""
        if not self._ours.exists():
            return
        if pids("slurmctld"):
            quiet("scancel", "--user=root")
            with suppress(NoSlurmError):
                wait_for(lambda: not quiet("squeue", "-h").stdout, "the jobs to end", 20)
        for name in self._ours.read_text().split():
            end(name)
        end("slurmstepd")
        if SETTINGS.is_dir():
            shutil.rmtree(SETTINGS)
        if self._kept.is_dir():
            shutil.copytree(self._kept, SETTINGS, symlinks=True)
        shutil.rmtree(self.folder)


def quiet(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, timeout=60)


def pids(name: str) -> list[int]:
    """The processes of a program."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            about = (folder / "stat").read_text()
        except OSError:
            continue
        inside, _, rest = about.partition("(")[2].rpartition(")")
        if inside == name and rest.split()[0] != "Z":
            found.append(int(folder.name))
    return found


def send(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def end(name: str) -> None:
    """End the processes of a program, if need be by force."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in pids(name):
            send(pid, number)
        with suppress(NoSlurmError):
            wait_for(lambda: not pids(name), f"the end of {name}", 15)


def wait_for(condition: Callable[[], object], what: str, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise NoSlurmError(f"waited {seconds:.0f} s for {what}")
        time.sleep(0.2)
