"""``kdpipe power`` and ``kdpipe aa`` on made-up records of a study, and what seeds cost."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from helpers.small_study import small
from kdpipe import cli
from kdpipe.base.plugin import STUDY_FILE
from kdpipe.plan.plan import Plan
from kdpipe.plan.plan_results import tables_settings
from kdpipe.probes.shared.records import Records, Statistic, write_records
from kdpipe.run.manifest import keep_study
from kdpipe.stages.base import Call
from kdpipe.stages.tables import run
from kdpipe.study.schema import Study, parse
from kdpipe.workflow.more_seeds import seconds, with_seeds

LEVEL = {"teacher": 0.9, "teacher2": 0.8, "ind": 0.4, "kl": 0.6, "hint": 0.41}


def study(seeds: int) -> dict:
    made = small()
    made["probes"].pop("adversarial")
    made["probes"].pop("accuracy_grey")
    made["pairs"]["one"]["probes"] = ["accuracy", "consensus"]
    made["models"]["small"]["seeds"] = list(range(seeds))
    made["pairs"]["one"]["seeds"] = list(range(seeds))
    return made


def finished(here: Path, seeds: int) -> Path:
    """Results of a study whose students differ much from seed to seed."""
    plan = Plan(parse(study(seeds)))
    root = here / "results" / "small"
    tables = tables_settings(plan.study)
    for pair in tables.pairs:
        for instance in pair.instances:
            target = "one" if instance.relational else "teacher"
            statistic = Statistic(condition="", metric="value", primary=True, target=target)
            for method, networks in pair.measured(instance).items():
                for seed, ref in networks.items():
                    rng = np.random.default_rng([seed, len(method)])
                    level = LEVEL[method] + 0.15 * rng.standard_normal() * (method in ("ind", "kl"))
                    records = Records()
                    records.add(statistic, np.arange(300) < 300 * np.clip(level, 0.05, 0.95))
                    write_records(root / pair.record_file(ref, instance), records, {})
    run(tables, Call(root, root / "tables"))
    keep_study(plan, root)
    (here / "study.yaml").write_text(yaml.safe_dump(study(seeds), sort_keys=False))
    return root


def call(monkeypatch, capsys, *words: str) -> tuple[str, str, int]:
    monkeypatch.setattr("sys.argv", ["kdpipe", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = capsys.readouterr()
    return said.out, said.err, ended.value.code


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    here = tmp_path_factory.mktemp("power")
    finished(here, 4)
    return here


@pytest.fixture(autouse=True)
def _inside(here, monkeypatch):
    monkeypatch.chdir(here)


def test_the_study_and_its_results_say_the_same(monkeypatch, capsys):
    out, _, code = call(monkeypatch, capsys, "power", "study.yaml")
    assert code == 0
    assert "Open claims" in out
    assert re.search(r"seem, \d+ seeds a side would decide", out.splitlines()[-1])
    assert call(monkeypatch, capsys, "power", "results/small")[0] == out


def test_json_is_the_table(monkeypatch, capsys):
    told = json.loads(call(monkeypatch, capsys, "power", "study.yaml", "--json")[0])
    claims, advice = told["claims"], told["advice"]
    assert {c["method"] for c in claims} <= {"kl", "hint"}
    assert advice["claims"] == len(claims) > 0
    assert advice["seconds"] is None  # nothing ran under Snakemake
    decided = [c for c in claims if c["seeds_as_seen"] and c["seeds_as_seen"] <= advice["seeds"]]
    assert len(decided) == advice["decided"] > 0
    fewer = call(monkeypatch, capsys, "power", "study.yaml", "--json", "--at-most", "5")[0]
    assert {c["at_most"] for c in json.loads(fewer)["claims"]} == {5}


def test_an_aa_test(monkeypatch, capsys):
    out, _, code = call(monkeypatch, capsys, "aa", "study.yaml")
    assert code == 0
    assert "Without any distillation the rule says" in out
    told = json.loads(call(monkeypatch, capsys, "aa", "results/small", "--json")[0])
    everything = told["counts"][-1]
    assert everything["name"] == "all"
    assert everything["judged"] == 6 * everything["claims"]
    assert everything["low"] <= everything["false"] <= everything["high"]


def test_an_aa_test_of_pairs_with_and_without_looks(monkeypatch, capsys, tmp_path):
    root = str(finished(tmp_path, 6))
    once = json.loads(call(monkeypatch, capsys, "aa", root, "--json", "--splits", "20")[0])
    # Two methods and two properties in 20 ways; the other pair has one seed.
    assert (once["paired"][-1]["claims"], once["paired"][-1]["judged"]) == (4, 80)
    assert once["paired"][-1]["trials"] == 36
    out = call(monkeypatch, capsys, "aa", root, "--looks", "2,6", "--splits", "20")[0]
    assert "looked at with 2, 6 seeds" in out
    assert "36 ways to give signs" in out


def test_looks_of_an_aa_test_are_numbers_that_rise(monkeypatch, capsys):
    for words, wrong in (("4,x", "'4,x' is no list of numbers"), ("8,4", "rising numbers")):
        _, said, code = call(monkeypatch, capsys, "aa", "study.yaml", "--looks", words)
        assert code == 1
        assert wrong in said


def test_an_aa_test_needs_two_students_a_side(monkeypatch, capsys, tmp_path):
    root = finished(tmp_path, 3)
    _, said, code = call(monkeypatch, capsys, "aa", str(root))
    assert code == 1
    assert "has 4 independent students" in said


@pytest.mark.parametrize("command", ["power", "aa"])
def test_a_study_without_results_is_to_run_first(monkeypatch, capsys, tmp_path, command):
    words = [command, "study.yaml", "--results", str(tmp_path)]
    _, said, code = call(monkeypatch, capsys, *words)
    assert code == 1
    assert "run the study first, with at least 3 seeds a side" in said


def made(seeds: int) -> Study:
    return parse(study(seeds))


def test_both_sides_get_the_same_seeds():
    longer = with_seeds(made(3), ["one"], 6)
    assert longer.models["small"].seeds == [0, 1, 2, 3, 4, 5]
    assert longer.pairs["one"].seeds == [0, 1, 2, 3, 4, 5]
    assert longer.pairs["two"].seeds == [0]
    assert longer.models["big"].seeds == [0, 1]


def test_sides_that_differ_take_the_seeds_of_the_other_first():
    """So that they can be paired."""
    raw = study(3)
    raw["pairs"]["one"]["seeds"] = [7]
    longer = with_seeds(parse(raw), ["one"], 4)
    assert longer.pairs["one"].seeds == [7, 0, 1, 2]
    assert longer.models["small"].seeds == [0, 1, 2, 7]


def test_a_seed_that_is_a_teacher_is_left_out():
    """Seed 9 of the student's model teaches in pair two."""
    longer = with_seeds(made(3), ["two"], 11)
    assert longer.pairs["two"].seeds == [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11]
    assert 9 not in longer.models["small"].seeds
    parse(longer.model_dump(mode="json", context=STUDY_FILE))


def test_enough_seeds_stay_as_they_are():
    assert with_seeds(made(3), ["one"], 3) == made(3)


def test_further_seeds_take_as_long_as_those_before(tmp_path):
    """Two more seeds of a pair with two methods: 2 trainings on labels, 4 distillations, their
    probes, and once more what looks at all networks."""
    plan = Plan(made(3))
    assert seconds(plan, tmp_path, ["one"], 5) is None
    took = {"train": 100.0, "distil": 10.0, "gate": 1.0, "probe": 0.1, "tables": 1000.0}
    for job in plan.jobs.values():
        if job.stage in took:
            path = tmp_path / "benchmarks" / f"{job.target}.tsv"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"s\th:m:s\n{took[job.stage]}\t0:00:00\n")
    # Unary probes and those beside the teacher are jobs of their own.
    probes = 6 * 2
    gates = 3  # small, and each method of the pair
    want = 2 * 100 + 4 * 10 + gates + probes * 0.1 + 1000
    assert seconds(plan, tmp_path, ["one"], 5) == pytest.approx(want)
    assert seconds(plan, tmp_path, ["one"], 3) == 0
