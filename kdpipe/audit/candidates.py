"""``kdpipe audit --candidate``: which of several networks taught a student, or none of them?

The networks are loaded, and looked at by the gate, as in any audit; then all of them are shown the
same images (``seen``), and each student is judged (``results.detective``).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from kdpipe.audit.compose import SET, Wanted, check_once, named, with_images
from kdpipe.audit.networks import entry
from kdpipe.audit.outcome import INCOMPLETE
from kdpipe.audit.seen import see
from kdpipe.base.errors import KdpipeError
from kdpipe.base.paths import ModelRef, subset_dir
from kdpipe.plan.job import Job
from kdpipe.plan.plan import Plan
from kdpipe.results.candidates import Found
from kdpipe.results.detective import judge

NAME = "candidates"
"""Folder of results of such an audit without a name."""
LOADING = ("subset", "train", "gate")
"""Stages of a study that load networks and images and look at them."""


@dataclass(frozen=True)
class Sought:
    """The study that loads the networks, and what people call them by their models' names."""

    study: dict[str, Any]
    names: dict[str, str]

    def of(self, role: str) -> list[str]:
        """Models of a role, such as ``candidate``, in their order."""
        return [model for model in self.names if model.rstrip("0123456789") == role]


def sought(wanted: Wanted, candidates: Sequence[str]) -> Sought:
    """``wanted``: its teacher is not read.

    Raises KdpipeError that names the option of the command line that cannot be met.
    """
    roles = {"candidate": candidates, "student": wanted.students, "baseline": wanted.baselines}
    if len(candidates) < 2:
        raise KdpipeError(
            "--candidate is one of several networks of which one may be the teacher; give at least "
            "two, or give a teacher that is known with --teacher."
        )
    check_once(roles)
    read, names = {}, {}
    called = iter(labels([spec for specs in roles.values() for spec in specs]))
    for role, specs in roles.items():
        for k, spec in enumerate(specs, 1):
            model = f"{role}{k if k > 1 else ''}"
            told = wanted.told["teacher" if role == "candidate" else role]
            read[model] = entry(role, named(spec)[1], told)
            names[model] = next(called)
    models, sets = with_images(wanted, read)
    made = Sought({}, names)
    study = {
        "study": wanted.name,
        "title": "Which of the candidates taught the student?",
        "data": {"sets": sets},
        "compute": {"precision": "fp32", **wanted.compute},
        "models": models,
        # A study has a pair and a property. None of their jobs runs.
        "probes": {"accuracy": {}},
        "pairs": {
            "candidates": {
                "teacher": {"model": "candidate"},
                "given": {"student": made.of("student")},
                "baselines": made.of("baseline"),
                "probes": ["accuracy"],
            }
        },
    }
    return Sought(study, names)


def labels(specs: Sequence[str]) -> list[str]:
    """What people call networks: the name they were given, that of the file, or all of the word;
    each has another."""
    short = [_short(spec) for spec in specs]
    file = [_file(spec) for spec in specs]
    both = [f"{a}: {b}" if a != b else a for a, b in zip(short, file, strict=True)]
    found = []
    for k, spec in enumerate(specs):
        unique = (words[k] for words in (short, both) if words.count(words[k]) == 1)
        found.append(next(unique, spec))
    return found


def _short(spec: str) -> str:
    name, network = named(spec, "")
    return name or _file(network)


def _file(spec: str) -> str:
    path = named(spec)[1].rpartition("@")[2]
    return path if Path(path).is_dir() else Path(path).name


def find(wanted: Sought, results: Path, names: Sequence[str], limit: int | None) -> int:
    """Look for the teachers, under the first of ``names`` whose folder no other audit uses.

    Prints what was found; the exit code. Raises KdpipeError for networks or images that do not
    allow it.
    """
    from kdpipe.audit.options import options_for_keys, printed_in_options
    from kdpipe.audit.perform import held
    from kdpipe.report.candidates import print_found, sentences
    from kdpipe.report.networks import print_table
    from kdpipe.run import manifest
    from kdpipe.run.inprocess import run_job

    def jobs(plan: Plan) -> list[Job]:
        return [job for stage in LOADING for job in plan.by_stage(stage)]

    def targets(plan: Plan) -> list[str]:
        return [*(job.target for job in jobs(plan)), "tables", "figures"]

    with held(wanted.study, results, names, targets) as (plan, root), printed_in_options():
        manifest.keep_study(plan, root)
        for job in jobs(plan):
            print(f"{job.stage}: {job.target}", flush=True)
            run_job(job, root)
        print_table(root, [*plan.models], options_for_keys)
        found = _judged(wanted, plan, root, limit)
        _write(found, plan, root)
        print()
        print_found(found)
        print("", *sentences(found), sep="\n")
        print(f"All of it: {root / 'report.html'}, {root / 'tables'}.")
    code = INCOMPLETE if any(one.reason for one in found.students.values()) else 0
    about = {
        "exit": code,
        "results": str(root),
        "report": str(root / "report.html"),
        "taught": {name: found.teacher_of(name) for name in found.students},
    }
    print(json.dumps(about, ensure_ascii=False), flush=True)
    return code


def _judged(wanted: Sought, plan: Plan, root: Path, limit: int | None) -> Found:
    """Every network shown the same images, and every student judged."""
    from kdpipe.base.chance import broken, levels
    from kdpipe.data.store import Subset
    from kdpipe.probes.base import Bench, ProbeOptions
    from kdpipe.results import gate
    from kdpipe.stages.shared.classes import load_for

    refs = {name: ModelRef(model=name) for name in wanted.names}
    subset = Subset(root / subset_dir(SET))
    class_map = plan.study.data.sets[SET].class_map

    def loaded(name: str) -> Any:
        return load_for(root, refs[name], subset, SET, class_map, plan.compute.device)

    plan.compute.start()
    bench = Bench(subset, loaded("candidate"), plan.compute, subset.classes)
    images = bench.image_set(ProbeOptions(set=SET, domains=[SET], limit=limit), SET)
    shown = ((wanted.names[name], partial(bench.logits, loaded(name))) for name in wanted.names)
    seen = see(shown, images)
    row = {name: k for k, name in enumerate(wanted.names)}
    roles = {role: [row[name] for name in wanted.of(role)] for role in ("candidate", "baseline")}
    known = levels(gate.read(root, refs.values()))
    students = {}
    for name in wanted.of("student"):
        others = (*wanted.of("candidate"), *wanted.of("baseline"))
        at_chance = broken((refs[other].path for other in (name, *others)), known)
        doubt = _doubt(wanted, [at.split("/")[1] for at in at_chance])
        students[wanted.names[name]] = judge(
            seen, roles["candidate"], row[name], roles["baseline"], doubt
        )
    wrong = (seen.answers.argmax(-1) != seen.labels).sum(1)
    return Found(
        candidates=[wanted.names[name] for name in wanted.of("candidate")],
        baselines=[wanted.names[name] for name in wanted.of("baseline")],
        students=students,
        images=len(seen.labels),
        errors=[int(wrong[k]) for k in roles["candidate"]],
    )


def _doubt(wanted: Sought, at_chance: Sequence[str]) -> str | None:
    """Why the test does not hold for these networks, or None."""
    if at_chance:
        return f"{wanted.names[at_chance[0]]} is right no more often than by chance"
    models = wanted.study["models"]
    kinds = {
        json.dumps({k: v for k, v in models[name]["network"].items() if k != "path"}, default=str)
        for name in wanted.of("candidate")
    }
    if len(kinds) > 1 and not wanted.of("baseline"):
        return (
            "the candidates are of several architectures, so that without baselines the student's "
            "own architecture may be why one is nearest"
        )
    return None


def _write(found: Found, plan: Plan, root: Path) -> None:
    """Table, figure and report."""
    from kdpipe.figures.shared import candidates, style
    from kdpipe.report.candidates import page
    from kdpipe.results.candidates import rows
    from kdpipe.results.write import write_table

    write_table("candidates", rows(found), root / "tables")
    with style.context():
        style.save(candidates.draw(found), root / "figures", candidates.NAME)
    page(found, plan.study.title, root, list(plan.models))
