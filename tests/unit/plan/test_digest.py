"""The digest of a job's code changes with the code that the job runs, and with nothing else."""

from __future__ import annotations

import importlib
import sys
import textwrap
from dataclasses import replace

import pytest

from helpers.places import REPOSITORY
from kdpipe.plan import digest
from kdpipe.plan.plan import Plan
from kdpipe.stages.base import Stage
from kdpipe.stages.order import STAGES
from kdpipe.study.schema import load

FILES = {
    "__init__.py": "",
    "stage.py": '''
        """A stage."""
        from toypackage.middle import helper

        TABLE = "table.csv"

        def run(x):
            """Run."""
            return helper(x)
    ''',
    "middle.py": """
        from . import deep
        from .tools import text as words

        def helper(x):
            import toypackage.lazy
            return deep.FACTOR * x
    """,
    "deep.py": '''
        FACTOR = 2

        class Thing:
            """A thing."""

            size: int = 1
            """Its size."""
    ''',
    "lazy.py": "VALUE = 1\n",
    "tools/__init__.py": "",
    "tools/text.py": "def shout(s):\n    return s.upper()\n",
    "unrelated.py": "from toypackage import deep\n",
    "table.csv": "a,b\n",
    "other.csv": "a,b\n",
}


def forget():
    """Forget what the digests remember, and what Python knows of the files."""
    for function in (
        digest.code_digest,
        digest.module,
        digest._location,
    ):
        function.cache_clear()
    importlib.invalidate_caches()


@pytest.fixture
def package(tmp_path, monkeypatch):
    folder = tmp_path / "toypackage"
    for name, text in FILES.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text))
    monkeypatch.syspath_prepend(str(tmp_path))
    forget()
    yield folder
    forget()
    for name in [n for n in sys.modules if n.partition(".")[0] == "toypackage"]:
        del sys.modules[name]


def now():
    forget()
    return digest.code_digest(("toypackage.stage",))


def edit(package, name, old, new):
    file = package / name
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def test_the_closure_is_what_is_imported_directly_or_not(package):
    found = digest.closure(["toypackage.stage"])
    assert {n for n in found if "." in n} == {
        "toypackage.stage",
        "toypackage.middle",
        "toypackage.deep",
        "toypackage.lazy",
        "toypackage.tools",
        "toypackage.tools.text",
    }
    assert digest.closure(["toypackage.deep"]) == {"toypackage.deep"}


def test_nothing_is_imported_to_find_out(package):
    (package / "deep.py").write_text("raise RuntimeError('imported')\n")
    assert now()
    assert "toypackage.deep" not in sys.modules


SAME = {
    "comment": ("deep.py", "FACTOR = 2", "FACTOR = 2  # twice"),
    "blank lines": ("deep.py", "FACTOR = 2", "\n\nFACTOR = 2\n\n"),
    "spacing": ("deep.py", "FACTOR = 2", "FACTOR=2"),
    "brackets": ("middle.py", "return deep.FACTOR * x", "return (\n        deep.FACTOR * x\n    )"),
    "quotes": ("stage.py", '"table.csv"', "'table.csv'"),
    "docstring of a module": ("stage.py", '"""A stage."""', '"""The stage."""'),
    "docstring of a function": ("stage.py", '    """Run."""\n', ""),
    "docstring of a class": ("deep.py", '"""A thing."""', '"""Another thing."""'),
    "docstring of an attribute": ("deep.py", '"""Its size."""', '"""How large it is."""'),
    "unrelated module": ("unrelated.py", "import deep", "import lazy"),
    "data file of nobody": ("other.csv", "a,b", "a,c"),
}

OTHER = {
    "value in a deep module": ("deep.py", "FACTOR = 2", "FACTOR = 3"),
    "name of an attribute": ("deep.py", "size: int", "width: int"),
    "module imported inside a function": ("lazy.py", "VALUE = 1", "VALUE = 2"),
    "module of a subpackage": ("tools/text.py", "upper", "lower"),
    "operator": ("middle.py", "FACTOR * x", "FACTOR + x"),
    "stage itself": ("stage.py", "return helper(x)", "return helper(-x)"),
    "data file that the stage names": ("table.csv", "a,b", "a,c"),
}


@pytest.mark.parametrize("case", SAME)
def test_what_does_not_run_does_not_count(package, case):
    before = now()
    edit(package, *SAME[case])
    assert now() == before


def test_a_docstring_in_an_empty_module_does_not_count(package):
    before = now()
    (package / "tools" / "__init__.py").write_text('"""Tools."""\n')
    assert now() == before


@pytest.mark.parametrize("case", OTHER)
def test_what_runs_counts(package, case):
    before = now()
    edit(package, *OTHER[case])
    assert now() != before


def test_a_new_module_counts_once_it_is_imported(package):
    before = now()
    (package / "extra.py").write_text("X = 1\n")
    assert now() == before
    edit(package, "deep.py", "FACTOR = 2", "from toypackage.extra import X\nFACTOR = 2")
    imported = now()
    assert imported != before
    edit(package, "extra.py", "X = 1", "X = 2")
    assert now() != imported


def test_the_order_of_the_modules_does_not_matter(package):
    one = digest.code_digest(("toypackage.stage", "toypackage.unrelated"))
    assert one == digest.code_digest(("toypackage.unrelated", "toypackage.stage"))
    assert one != digest.code_digest(("toypackage.stage",))


# --- kdpipe's own stages -----------------------------------------------------------------------


def test_a_new_stage_repeats_no_other():
    assert digest.module("kdpipe.stages").empty
    for stage in STAGES:
        assert "kdpipe.stages.order" not in digest.closure([f"kdpipe.stages.{stage}"])


def test_every_stage_is_listed_and_keeps_the_contract():
    files = {f.stem for f in (REPOSITORY / "kdpipe" / "stages").glob("*.py")}
    assert files - {"__init__", "base", "order"} == set(STAGES)
    for stage in STAGES:
        assert isinstance(importlib.import_module(f"kdpipe.stages.{stage}").STAGE, Stage)


def closure_of(job):
    return digest.closure(job.modules)


def plugins(found, package):
    """Plug-ins of a package within a closure; not its shared code."""
    last = {n.removeprefix(f"{package}.") for n in found if n.startswith(f"{package}.")}
    return {n for n in last if n not in ("base", "shared") and not n.startswith("shared.")}


@pytest.fixture(scope="module")
def plan():
    return Plan(load(REPOSITORY / "config.yaml"))


@pytest.mark.parametrize("stage", list(STAGES))
def test_no_stage_runs_the_study_or_the_plan(stage):
    found = digest.closure([f"kdpipe.stages.{stage}"])
    assert f"kdpipe.stages.{stage}" in found
    assert not found & {
        *(
            "kdpipe.study.schema",
            "kdpipe.study.entries",
            "kdpipe.plan.plan",
            "kdpipe.plan.plan_results",
            "kdpipe.study.compute",
        ),
        *("kdpipe.cli", "kdpipe.workflow.snakefile", "kdpipe.run.inprocess", "kdpipe.plan.digest"),
    }


def test_a_job_runs_none_but_its_own_plugins(plan):
    """The digests of the whole default study, each against the plug-ins its settings name."""
    for job in plan.jobs.values():
        found = closure_of(job)
        assert not found & {"kdpipe.study.schema", "kdpipe.study.entries", "kdpipe.plan.plan"}, (
            job.target
        )
        if job.stage == "probe":
            named = {i.probe.name for i in job.settings.instances}
            assert plugins(found, "kdpipe.probes") == named, job.target
            assert plugins(found, "kdpipe.distill") == set(), job.target
        if job.stage in ("train", "distil", "teacher_outputs", "subset"):
            assert not {n for n in found if n.startswith("kdpipe.probes")}, job.target
        if job.stage == "distil":
            wanted = {job.settings.objective.name}
            assert wanted <= plugins(found, "kdpipe.distill") <= {*wanted, "kl", "labels"}
        if job.stage == "train":
            assert plugins(found, "kdpipe.distill") == {"labels"}
            augmented = {a.name for a in job.settings.augment}
            assert plugins(found, "kdpipe.data.augment") == augmented, job.target
        if job.stage == "subset":
            rendered = {d.name for d in job.settings.domains.values()}
            assert plugins(found, "kdpipe.data.domains") == rendered, job.target


def test_edited_probe_changes_the_digests_of_its_jobs_only(plan, monkeypatch):
    """As if ``shift.py`` were edited: its digest alone is another one."""
    before = {t: job.code for t, job in plan.jobs.items()}
    real = digest.module
    edited = replace(real("kdpipe.probes.shift"), digest="edited")
    digest.code_digest.cache_clear()
    monkeypatch.setattr(
        digest, "module", lambda m: edited if m == "kdpipe.probes.shift" else real(m)
    )
    after = {t: job.code for t, job in plan.jobs.items()}
    digest.code_digest.cache_clear()
    touched = {t for t in before if before[t] != after[t]}
    measured = {
        job.target
        for job in plan.by_stage("probe")
        if any(i.probe.name == "shift" for i in job.settings.instances)
    }
    assert measured
    assert touched == {*measured, "figures", "report.html"}  # which are in words of the probe
