"""The jobs of a study that looks decide about: a function of the study and of what looks found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from helpers.small_study import small, with_value
from kdpipe.base.errors import KdpipeError
from kdpipe.plan.plan import Plan
from kdpipe.plan.plan_results import tables_settings
from kdpipe.plan.reached import reached, taken
from kdpipe.run import inprocess, manifest
from kdpipe.study.decide import everything, next_look
from kdpipe.study.schema import load, parse

KL, HINT, TWO = ("one", "kl"), ("one", "hint"), ("two", "kl")
STATES = [
    [],
    [{KL, HINT, TWO}],
    [{KL}],
    [set()],
    [{KL, TWO}, {KL}],
    [{HINT}, set()],
    [{KL, HINT, TWO}, {KL, HINT, TWO}],
]


def raw(**decide):
    """The small study with looks. Its pair ``two`` has a student model as its teacher."""
    made = small()
    del made["models"]["small"]["seeds"], made["pairs"]["one"]["seeds"]
    made["decide"] = {"at_most": 6, "looks": [2, 3, 6], **decide}
    return made


@pytest.fixture(scope="module")
def study():
    return parse(raw())


@pytest.fixture(scope="module")
def whole(study):
    return Plan(study)


def seeds(plan, pair, method):
    return [r.seed for r in plan.students.values() if (r.pair, r.method) == (pair, method)]


def test_a_study_without_looks_has_the_jobs_it_had():
    plan = Plan(parse(small()))
    assert plan.pending is None
    assert "decide" not in plan.jobs["tables"].settings_json
    assert not plan.by_stage("look")
    assert not any("+" in target for target in plan.jobs)
    assert reached(plan.whole, Path("/nowhere")).jobs.keys() == plan.jobs.keys()


def test_at_first_every_method_has_the_seeds_of_the_first_look(study):
    plan = Plan(study, [])
    for pair, method in (KL, HINT, TWO):
        assert seeds(plan, pair, method) == [0, 1]
    assert [r.seed for r in plan.models.values() if r.model == "small"] == [0, 1, 9]
    assert (plan.pending, [job.target for job in plan.by_stage("look")]) == (1, ["looks/1.json"])


def test_only_who_is_undecided_gets_further_seeds(study):
    plan = Plan(study, [{KL, TWO}, {KL}])
    assert (len(seeds(plan, *KL)), len(seeds(plan, *HINT)), len(seeds(plan, *TWO))) == (6, 2, 3)
    one, two = tables_settings(plan.study).pairs
    assert one.methods == {"kl": [*range(6)], "hint": [0, 1]}
    # Independent students of a pair are those of its distilled ones, whoever has more of the model.
    assert (one.ind_seeds, two.ind_seeds) == ([*range(6)], [*range(3)])
    assert plan.pending is None


@pytest.mark.parametrize(
    "found", STATES, ids=lambda found: f"{len(found)}: {[sorted(look) for look in found]}"
)
def test_jobs_other_than_looks_and_results_are_those_of_the_whole_plan(study, whole, found):
    plan = Plan(study, found)
    assert plan.jobs.keys() <= whole.jobs.keys()
    for target, job in plan.jobs.items():
        if job.stage not in ("look", "tables", "figures", "report"):
            assert job == whole.jobs[target]
    made = {path for job in plan.jobs.values() for path in job.outputs}
    for job in plan.jobs.values():
        assert {*job.inputs, *job.after} <= made, job.target


def test_the_whole_plan_is_the_one_where_nothing_is_decided(study, whole):
    plan = Plan(study, everything(study))
    assert {t: j.settings_json for t, j in plan.jobs.items()} == {
        t: j.settings_json for t, j in whole.jobs.items()
    }


def test_a_look_reads_what_the_looks_before_it_asked_for(study):
    jobs = Plan(study, [{KL}]).jobs
    settings = json.loads(jobs["looks/2.json"].settings_json)
    assert settings["look"] == 2
    assert settings["pairs"][0]["methods"] == {"kl": [0, 1, 2], "hint": [0, 1]}
    assert "looks/1.json" in jobs["looks/2.json"].inputs
    assert jobs["looks/1.json"].settings == Plan(study, []).jobs["looks/1.json"].settings
    assert {"looks/1.json", "looks/2.json"} <= {*jobs["tables"].inputs}


def test_the_gate_looks_at_further_seeds_in_a_folder_of_their_own(study):
    targets = {job.target for job in Plan(study, [{KL}]).by_stage("gate")}
    assert {"gate/students/one/kl", "gate/students/one/kl+2", "gate/models/small+2"} <= targets
    assert "gate/students/one/hint+2" not in targets
    assert not any(target.startswith("gate/models/big+") for target in targets)


def test_a_look_that_finds_all_decided_is_the_last(study):
    assert next_look(study.decide, []) == 1
    assert next_look(study.decide, [{KL}]) == 2
    assert next_look(study.decide, [set()]) is None
    assert next_look(study.decide, [{KL}, {KL}]) is None
    assert next_look(None, []) is None


def test_files_of_looks_are_read_until_one_is_missing(study, tmp_path):
    assert taken(study, tmp_path) == ()
    (tmp_path / "looks").mkdir()
    (tmp_path / "looks/1.json").write_text(json.dumps({"going_on": {"one": ["kl"]}}))
    assert taken(study, tmp_path) == (frozenset({KL}),)
    assert taken(study, tmp_path, last=0) == ()
    assert seeds(reached(study, tmp_path), *KL) == [0, 1, 2]
    asked = []
    taken(study, tmp_path, needed=asked.append)
    assert asked == [1, 2]
    (tmp_path / "looks/1.json").write_text("{}")
    with pytest.raises(KdpipeError, match=r"looks/1\.json cannot be read"):
        taken(study, tmp_path)


def test_a_run_in_one_process_takes_look_after_look(study, tmp_path, monkeypatch):
    said = {"looks/1.json": {"one": ["kl"], "two": ["kl"]}, "looks/2.json": {"two": ["kl"]}}
    ran = []

    def run_job(job, root, data_root=None):
        ran.append(job.target)
        if job.stage == "look":
            (root / "looks").mkdir(parents=True, exist_ok=True)
            (root / job.target).write_text(json.dumps({"going_on": said[job.target]}))

    monkeypatch.setattr(inprocess, "run_job", run_job)
    inprocess.run_all(Plan(study), tmp_path)
    assert len(set(ran)) == len(ran)
    assert set(ran) == set(reached(study, tmp_path / "small").jobs)
    assert ran[-3:] == ["tables", "figures", "report.html"]
    assert ran.index("looks/1.json") < ran.index("students/one/kl/seed2")
    assert ran.index("students/two/kl/seed3") > ran.index("looks/2.json")
    assert "students/one/kl/seed3" not in ran
    assert "students/one/hint/seed2" not in ran


def test_the_study_beside_the_results_reads_as_it_was(study, tmp_path):
    manifest.keep_study(Plan(study, []), tmp_path)
    assert load(tmp_path / "study.yaml") == study


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("pairs", "one", "seeds"), [0, 1], r"pairs\.one\.seeds: decide says which seeds"),
        (("models", "small", "seeds"), [0], r"models\.small\.seeds: decide says which seeds"),
        (("pairs", "one", "baselines"), ["big"], r"pairs\.one\.baselines: with decide"),
        (("pairs", "two", "teacher", "seed"), 5, r"pairs\.two\.teacher: "),
        (("decide", "at_most"), 7, "last look is at 6 seeds"),
    ],
)
def test_what_looks_cannot_decide_about_is_refused(path, value, said):
    with pytest.raises(KdpipeError, match=said):
        parse(with_value(raw(), path, value))


def test_a_student_that_teaches_is_none_that_looks_decide_about():
    made = with_value(
        raw(), ("pairs", "two", "teacher"), {"pair": "one", "method": "kl", "seed": 7}
    )
    for found in STATES:
        plan = Plan(parse(made), found)
        available = {path for job in plan.jobs.values() for path in job.outputs}
        assert {path for job in plan.jobs.values() for path in job.inputs} <= available
    made["pairs"]["two"]["teacher"]["seed"] = 2
    with pytest.raises(
        KdpipeError, match="looks decide whether student 2 is distilled; give it the seed 6"
    ):
        parse(made)


def test_seeds_that_are_the_same_are_no_conflict():
    made = with_value(raw(), ("pairs", "one", "seeds"), [*range(6)])
    assert parse(made) == parse(raw())


def test_an_attacker_is_no_student_that_may_never_be_trained():
    made = raw()
    made["probes"]["adversarial"] = {"foreign": {"model": "small", "seed": 4}}
    with pytest.raises(KdpipeError, match="give it the seed 6 or a higher one"):
        parse(made)
