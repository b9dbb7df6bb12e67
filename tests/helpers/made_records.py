"""Record files of one pair with values that can be checked by hand, without any network."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kdpipe.base.paths import ModelRef
from kdpipe.probes.shared.records import Records, Statistic, write_records
from kdpipe.results.settings import InstanceSettings, PairSettings, TablesSettings

N = 40
ACCURACY = Statistic(condition="domain=colour", metric="accuracy", primary=True)
CONSENSUS = Statistic(condition="", metric="consensus", primary=True, target="one")
CAM = Statistic(
    condition="", metric="cam_similarity", primary=True, target="one", win_rate="cam_win_rate"
)
FOOLED = Statistic(condition="attack=own", metric="fooling_rate", primary=True)
FOREIGN = Statistic(condition="attack=foreign", metric="fooling_rate", role="control")
ECE = Statistic(condition="", metric="ece", primary=True)

PAIR = PairSettings(
    name="pair",
    teacher=ModelRef(model="big"),
    second_teacher=ModelRef(model="big", seed=1),
    student="small",
    ind_seeds=[0, 1, 2],
    methods={"kl": [0, 1, 2], "hint": [0, 1, 2]},
    instances=[
        InstanceSettings(
            name="acc", probe="accuracy", family="predictions", relational=False, min_gap=0.02
        ),
        InstanceSettings(
            name="same", probe="consensus", family="predictions", relational=True, min_gap=0.02
        ),
        InstanceSettings(
            name="cam", probe="localization", family="attribution", relational=True, min_gap=0.02
        ),
        InstanceSettings(
            name="fool",
            probe="adversarial",
            family="attack",
            relational=True,
            on_teacher=True,
            min_gap=0.02,
        ),
        InstanceSettings(
            name="ece", probe="calibration", family="predictions", relational=False, min_gap=0.02
        ),
    ],
)
LEVELS = {"teacher": 0.9, "ind": 0.4, "kl": 0.7, "hint": 0.4}


def first(share: float, n: int = N) -> np.ndarray:
    """``n`` binary outcomes of which the first ``share`` are 1."""
    return np.arange(n) < round(share * n)


def records(instance: str, method: str, seed: int) -> Records:
    """What a network of ``method`` does: its level, 0.05 higher with each seed."""
    share = LEVELS[method] + 0.05 * seed * (method != "teacher")
    r = Records()
    if instance == "acc":
        r.add(ACCURACY, first(share))
    elif instance == "same":
        r.add(CONSENSUS, first(0.95 if method == "teacher" else share))
    elif instance == "cam":
        r.add(CAM, np.full(N, 0.99 if method == "teacher" else share))
    elif instance == "fool":
        # The last five images did not fool the teacher and count for nobody.
        outcomes = np.where(np.arange(N) < 35, first(share), np.nan)
        r.add(FOOLED, outcomes)
        r.add(FOREIGN, outcomes)
    else:
        rng = np.random.default_rng(seed)
        r.add_set(ECE, share / 10, share / 10 + rng.normal(0, 0.001, 50), n=N)
    return r


def write_study(root: Path, pair: PairSettings) -> TablesSettings:
    for instance in pair.instances:

        def write(ref, method, seed, instance=instance):
            about = {"probe": instance.probe, "subject": ref.path}
            path = root / pair.record_file(ref, instance)
            write_records(path, records(instance.name, method, seed), about)

        if not instance.relational or instance.on_teacher:
            write(pair.teacher, "teacher", 0)
        if instance.relational and pair.second_teacher:
            write(pair.second_teacher, "teacher", 1)
        for ref in pair.independents():
            write(ref, "ind", ref.seed)
        for method in pair.methods:
            for student in pair.students(method):
                write(student, method, student.seed)
    return TablesSettings(study="test", pairs=[pair])
