"""The cost of deciding what to rerun: reading a study, planning, digests, and Snakemake's DAG.

    python benchmarks/cache_overhead.py > docs/results/cache_overhead.csv

Measures the default study and a synthetic one of 2,000 networks before any of their jobs has run.
``bare`` is Snakemake alone: the same jobs with the same inputs and outputs in rules without
settings, digests or kdpipe. Times are the least processor seconds of several runs, which other
work on the machine hardly affects; Snakemake's times include the start of its process.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
# What a job of the bare workflow is: a row of a table, found by what it makes.
BARE = """
import json
from pathlib import Path

ROOT = "results/bare"
JOBS = json.loads(Path("jobs.json").read_text())


def inputs(target):
    return lambda w: [f"{ROOT}/{path}" for path in JOBS[target.format(**w)]]


rule all:
    input: [f"{ROOT}/tables.txt"]


wildcard_constraints:
    stage="[a-z_]+",
    name=".+",


rule tables:
    input: inputs("tables.txt")
    output: f"{ROOT}/tables.txt"
    shell: "touch {output}"
"""
RULE = """

rule {stage}:
    input: inputs("{stage}/{{name}}.txt")
    output: f"{{ROOT}}/{stage}/{{{{name}}}}.txt"
    log: f"{{ROOT}}/logs/{stage}/{{{{name}}}}.log"
    benchmark: f"{{ROOT}}/benchmarks/{stage}/{{{{name}}}}.tsv"
    shell: "touch {{output}}"
"""


def synthetic(networks: int) -> dict[str, Any]:
    """The default study with so many seeds of one pair that it has ``networks`` networks."""
    study = yaml.safe_load((REPOSITORY / "config.yaml").read_text())
    name = next(iter(study["pairs"]))
    pair = {**study["pairs"][name], "probes": [study["pairs"][name]["probes"][0]]}
    study["pairs"] = {name: pair}
    study["study"] = "synthetic"
    teacher, student = pair["teacher"]["model"], pair["student"]
    study["models"] = {k: v for k, v in study["models"].items() if k in (teacher, student)}
    study["probes"] = {k: v for k, v in study["probes"].items() if k in pair["probes"]}
    each = networks // (len(pair["methods"]) + 1)
    study["models"][student]["seeds"] = list(range(each))
    pair["seeds"] = list(range(each))
    return study


def cpu_seconds() -> float:
    """Used so far by this process and by those it waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def best(measured: Callable[[], object], times: int) -> float:
    seconds = []
    for _ in range(times):
        start = cpu_seconds()
        measured()
        seconds.append(cpu_seconds() - start)
    return min(seconds)


def dry_run(folder: Path, *words: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "snakemake", "-n", "--quiet", "--cores", "2", *words],
        cwd=folder,
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def bare_workflow(folder: Path, plan: Any) -> None:
    """The same graph of jobs, written down as files of one output each."""
    short = {t: f"{j.stage}/{t.replace('/', '_')}.txt" for t, j in plan.jobs.items()}
    makers = {path: t for t, job in plan.jobs.items() for path in job.outputs}
    table = {
        short[t]: sorted({short[makers[path]] for path in job.inputs})
        for t, job in plan.jobs.items()
        if job.stage not in ("tables", "figures", "report")
    }
    read = {makers[path] for path in plan.jobs["tables"].inputs}
    table["tables.txt"] = sorted(short[target] for target in read)
    (folder / "jobs.json").write_text(json.dumps(table))
    stages = sorted({name.partition("/")[0] for name in table} - {"tables.txt"})
    rules = "".join(RULE.format(stage=stage) for stage in stages)
    (folder / "Snakefile").write_text(BARE + rules)


def measure(raw: dict[str, Any], folder: Path, times: int) -> dict[str, float]:
    from kdpipe.base.provenance import canonical
    from kdpipe.plan import digest
    from kdpipe.plan.plan import Plan
    from kdpipe.study.schema import parse

    def digests() -> None:
        for function in (digest.code_digest, digest.module, digest._location):
            function.cache_clear()
        for job in plan.jobs.values():
            assert job.code

    def settings() -> None:
        for job in plan.jobs.values():
            canonical(job.settings.model_dump(mode="json"))

    study = parse(raw)
    plan = Plan(study)
    found: dict[str, float] = {
        "networks": len(plan.models) + len(plan.students),
        "jobs": len(plan.jobs),
        "read study": best(lambda: parse(raw), times),
        "plan": best(lambda: Plan(study), times),
        "digests": best(digests, times),
        "settings": best(settings, times),
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    bare_workflow(folder, plan)
    found["snakemake -n, bare"] = best(lambda: dry_run(folder), times)
    words = ["--snakefile", str(REPOSITORY / "Snakefile"), "tables"]
    words += ["--configfile", "study.yaml"]
    found["snakemake -n, kdpipe"] = best(lambda: dry_run(folder, *words), times)
    found["ratio"] = found["snakemake -n, kdpipe"] / found["snakemake -n, bare"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", type=int, default=2000)
    parser.add_argument("--times", type=int, default=3)
    options = parser.parse_args()
    default = yaml.safe_load((REPOSITORY / "config.yaml").read_text())
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(["study", "what", "value"])
    for name, raw in (("default", default), ("synthetic", synthetic(options.networks))):
        with tempfile.TemporaryDirectory() as folder:
            for what, value in measure(raw, Path(folder), options.times).items():
                out.writerow([name, what, round(value, 3)])
        sys.stdout.flush()


if __name__ == "__main__":
    main()
