"""Claims of simulated GPUs: names in a variable, and files that stand for devices."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kdpipe.base import machine
from kdpipe.base.errors import KdpipeError, PassingError
from kdpipe.run import devices
from kdpipe.study.compute import ComputeWish
from kdpipe.training.compute import Compute

HOLD = """
import sys
from kdpipe.run.devices import prepare
from kdpipe.training.compute import Compute
import os
compute = prepare(Compute(device="cuda"))
prepare(Compute(device="cuda"))  # a second stage in the same process
print(os.environ["CUDA_VISIBLE_DEVICES"], flush=True)
sys.stdin.read()
"""


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """Two devices, claims in a folder of this test, no patience, and a process without a claim."""
    for name in machine.BINDINGS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(devices.FOLDER, str(tmp_path / "claims"))
    monkeypatch.setenv(devices.PATIENCE, "0")
    monkeypatch.setenv(machine.VISIBLE, "0,1")
    devices.release()
    yield dict(os.environ)
    devices.release()


@pytest.fixture
def hold() -> Iterator[Callable[[dict[str, str]], tuple[subprocess.Popen[str], str]]]:
    """Start jobs that hold a device until they are killed; the process and the device."""
    started = []

    def start(environment: dict[str, str]) -> tuple[subprocess.Popen[str], str]:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        device = next(line for line in lines if not line.startswith(("This job", "Too few")))
        return process, device.strip()

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_two_jobs_get_different_devices_and_a_killed_one_frees_its_own(environment, hold) -> None:
    first, one = hold(environment)
    _, other = hold(environment)
    assert {one, other} == {"0", "1"}
    with pytest.raises(PassingError, match=r"Other jobs hold the GPUs .*\(0, 1\)"):
        devices.claim()
    first.kill()
    first.wait()
    assert devices.claim() == one


def test_a_training_of_several_processes_claims_all_its_devices_or_none(
    environment, hold, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(machine.VISIBLE, "0,1,2")
    _, one = hold(environment)
    assert one == "0"
    with pytest.raises(PassingError, match=r"planned for 4 GPUs, but 3 is visible"):
        devices.claim(4)
    with pytest.raises(PassingError, match="Other jobs hold"):
        devices.claim(3)
    assert devices.claim(2) == "1,2"  # the refused claim let go of them


def test_torchrun_places_its_processes_itself(
    environment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RANK", "0")
    compute = Compute(device="cuda", processes=2)
    assert devices.prepare(compute) == compute
    assert not (tmp_path / "claims").exists()


def test_only_visible_devices_are_claimed(environment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(machine.VISIBLE, "GPU-5f3a,GPU-77")
    assert devices.claim() == "GPU-5f3a"
    for hidden in ("", "-1", "-1,0", "NoDevFiles"):
        monkeypatch.setenv(machine.VISIBLE, hidden)
        assert machine.visible() == {}
    monkeypatch.setenv(machine.VISIBLE, "3,-1,0")
    assert list(machine.visible()) == ["3"]


def test_slurm_says_which_device_number_0_is(environment, hold) -> None:
    """Two jobs whose cgroups show one device each, both as 0."""
    job = {**environment, machine.VISIBLE: "0"}
    _, one = hold({**job, "SLURM_JOB_GPUS": "2"})
    _, other = hold({**job, "SLURM_JOB_GPUS": "3"})
    assert one == other == "0"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(machine.VISIBLE, "0")
        patch.setenv("SLURM_JOB_GPUS", "9")
        patch.setenv("SLURM_STEP_GPUS", "2")  # the step's word counts
        with pytest.raises(PassingError, match="Other jobs hold"):
            devices.claim()


def test_slurms_binding_counts_where_cuda_has_none(
    environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(machine.VISIBLE)
    monkeypatch.setenv("SLURM_STEP_GPUS", "4,5")
    assert machine.visible() == {"4": "4", "5": "5"}


def test_without_a_device_only_a_study_that_allows_it_uses_the_cpu(
    environment, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(machine.VISIBLE, "")
    with pytest.raises(PassingError, match=r"none is visible here \(CUDA_VISIBLE_DEVICES=\)"):
        devices.prepare(Compute(device="cuda"))
    prepared = devices.prepare(Compute(device="cuda", cpu_fallback=True))
    assert prepared.device == "cpu"
    assert "Computing on the CPU, as compute.cpu_fallback allows." in capsys.readouterr().out


def test_a_job_for_the_cpu_claims_nothing(environment, tmp_path: Path) -> None:
    assert devices.prepare(Compute(device="cpu")) == Compute(device="cpu")
    assert not (tmp_path / "claims").exists()


def test_a_folder_that_takes_no_claim(
    environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(devices.FOLDER, str(tmp_path / "file" / "claims"))
    with pytest.raises(PassingError, match=f"name another one in {devices.FOLDER}"):
        devices.claim()
    monkeypatch.setenv(devices.PATIENCE, "soon")
    with pytest.raises(KdpipeError, match="KDPIPE_GPU_SECONDS=soon: give a number of seconds"):
        devices.claim()


def test_a_job_that_wants_a_gpu_gets_it_before_its_stage_starts(
    environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kdpipe.run import stage as jobs

    class Slice:
        compute = Compute(device="cuda", cpu_fallback=True)

        def model_copy(self, update: dict[str, Compute]) -> dict[str, Compute]:
            return update

    assert jobs._on_this_machine(Slice())["compute"].device == "cuda"
    assert os.environ[machine.VISIBLE] == "0"


def test_a_study_in_one_process_claims_more_only_where_a_job_needs_more(
    environment, hold, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A probe on one GPU, a training on two, a probe again: no job waits for its own process."""
    monkeypatch.setenv(machine.VISIBLE, "0,1,2")
    seen = []
    for processes in (1, 2, 1, 2, 3):
        devices.prepare(Compute(device="cuda", processes=processes))
        seen.append(os.environ[machine.VISIBLE])
    # The device that CUDA started with stays the first one.
    assert seen == ["0", "0,1", "0", "0,1", "0,1,2"]
    with pytest.raises(PassingError, match="planned for 4 GPUs, but 3 is visible"):
        devices.claim(4)
    devices.release()
    monkeypatch.setenv(machine.VISIBLE, "0,1")
    process, _ = hold(dict(os.environ))
    devices.claim(1)
    with pytest.raises(PassingError, match="Other jobs hold"):
        devices.claim(2)
    process.kill()
    process.wait()
    assert devices.claim(2) == "1,0"


def test_cuda_counts_from_0_whatever_a_container_calls_its_device(
    environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(machine.VISIBLE)
    monkeypatch.setattr(machine, "_installed", lambda: ["3", "5"])
    assert machine.visible() == {"0": "3", "1": "5"}


@pytest.mark.parametrize(("variable", "device"), [(None, "cuda"), ("0", "cuda"), ("", "cpu")])
def test_a_hidden_gpu_is_none_when_a_study_is_planned(
    environment, monkeypatch: pytest.MonkeyPatch, variable: str | None, device: str
) -> None:
    monkeypatch.setattr(machine, "_installed", lambda: ["0"])
    monkeypatch.delenv(machine.VISIBLE)
    if variable is not None:
        monkeypatch.setenv(machine.VISIBLE, variable)
    assert ComputeWish().resolve(frozenset()).device == device
