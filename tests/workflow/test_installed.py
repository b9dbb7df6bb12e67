"""kdpipe as a wheel, in folders that know nothing of the clone: a project, a guest, an audit.

The commands and the Snakefile are those of ``docs/install.md``, and of the audit those of
``docs/audit.md``.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from helpers.pages import blocks
from helpers.places import REPOSITORY
from helpers.workspace import job_stats

pytestmark = pytest.mark.workflow

_, WHERE, PROJECT, ELSEWHERE = blocks("install.md", "bash")
(GUEST,) = blocks("install.md", "text")
*_, WHEEL, AUDIT, _ = blocks("audit.md", "bash")
MAKE, *_ = blocks("audit.md", "python")
CONDA = """#!/bin/bash
# Answers what Snakemake asks of conda. The Python of an environment notes its calls.
case "$*" in
  "info --json") echo "{\\"conda_prefix\\": \\"$FAKE\\", \\"platform\\": \\"linux-64\\"}" ;;
  --version) echo "conda 25.1.0" ;;
  config*) echo '{"get": {"channel_priority": "strict"}}' ;;
  clean*) ;;
  "env create"*)
    prefix="${@: -1}"
    mkdir -p "$prefix/bin"
    {
      echo '#!/bin/sh'
      echo "echo \\"\\$PYTHONPATH\\" >> '$FAKE/calls'"
      echo "exec '$REAL' \\"\\$@\\""
    } > "$prefix/bin/python"
    chmod +x "$prefix/bin/python" ;;
  *) exit 1 ;;
esac
"""

Typed = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages with kdpipe alone, from a wheel; all others are those of the tests."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)]
    subprocess.run([*pip, *build, str(REPOSITORY)], check=True, timeout=300)
    (wheel,) = folder.glob("kdpipe-*.whl")
    place = ["install", "--no-deps", "--no-index", "--target", str(folder / "site")]
    subprocess.run([*pip, *place, str(wheel)], check=True, timeout=300)
    return folder / "site"


@pytest.fixture(scope="module")
def typed(site: Path) -> Typed:
    """Run a line of shell in a folder, with the installed kdpipe."""

    def run(folder: Path, line: str, **more: str) -> subprocess.CompletedProcess[str]:
        path = [str(site / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]
        own = {"PYTHONPATH": str(site), "PATH": os.pathsep.join(path), **more}
        inherited = {k: v for k, v in os.environ.items() if k != "KDPIPE_DATA"}
        done = subprocess.run(
            ["bash", "-e", "-c", line],
            cwd=folder,
            env=inherited | own,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, f"{line}:\n{done.stdout}"
        return done

    return run


@pytest.fixture(scope="module")
def project(typed: Typed, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A new project after a run on one student a side, and what the commands printed."""
    folder = tmp_path_factory.mktemp("empty")
    *before, run = PROJECT.splitlines()
    said = typed(folder, "\n".join(before)).stdout
    shrink(folder / "myproject" / "study.yaml")
    return folder / "myproject", said + typed(folder / "myproject", run).stdout


def shrink(path: Path) -> None:
    """The study that ``kdpipe init`` writes, with few networks, images, epochs and probes."""
    study = yaml.safe_load(path.read_text())
    study["data"]["sets"]["digits"]["per_class"] = 20
    study["training"]["epochs"] = 1
    study["models"]["student"]["seeds"] = study["pairs"]["main"]["seeds"] = [0]
    study["pairs"]["main"]["probes"] = ["accuracy"]
    path.write_text(yaml.safe_dump(study, sort_keys=False))


@pytest.fixture
def folder(project: tuple[Path, str], tmp_path: Path) -> Path:
    """A folder with that study alone."""
    (tmp_path / "here").mkdir()
    shutil.copy(project[0] / "study.yaml", tmp_path / "here")
    return tmp_path / "here"


def test_a_new_project_runs(project: tuple[Path, str]) -> None:
    folder, said = project
    assert "study 'first' is valid" in said
    assert "Report: results/first/report.html" in said
    assert (folder / "results" / "first" / "report.html").is_file()
    assert "Exception" not in said


def test_a_clone_would_run_nothing_of_it(project: tuple[Path, str]) -> None:
    """An installed kdpipe and a clone know a job by the same digests."""
    clone = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    words = [sys.executable, "-m", "kdpipe", "why", "study.yaml"]
    done = subprocess.run(
        words, cwd=project[0], env=clone, capture_output=True, text=True, check=True
    )
    assert re.match(r"0 of \d+ jobs would run\.\n", done.stdout), done.stdout


def test_an_audit_of_hugging_face_folders_from_an_empty_folder(
    site: Path, tmp_path: Path, typed: Typed
) -> None:
    """Of two properties, because all of them take half a minute."""
    build, _, extra = WHEEL.splitlines()
    assert build.startswith("pip wheel --no-deps ")
    assert extra == "pip install 'kdpipe[hf]'"
    (about,) = site.glob("kdpipe-*.dist-info")
    assert "Provides-Extra: hf\n" in (about / "METADATA").read_text(encoding="utf-8")

    (tmp_path / "make.py").write_text(MAKE)
    said = typed(tmp_path, f"{AUDIT.strip()} --probes accuracy,fidelity").stdout
    last = json.loads(said.splitlines()[-1])
    assert (last["exit"], last["left_out"]) == (0, {})
    assert last["measured"] == ["accuracy", "fidelity"]
    assert last["report"] == "results/audit/report.html"
    page = (tmp_path / last["report"]).read_text(encoding="utf-8")
    assert "cannot be concluded that the student inherited anything" in page
    assert "Measured: Accuracy (" in said


def test_results_go_elsewhere(project: tuple[Path, str], typed: Typed) -> None:
    done = typed(project[0], f"{ELSEWHERE.strip()} -p")
    assert job_stats(done.stdout)["train"] == 2
    assert set(re.findall(r"--root (\S+)", done.stdout)) == {"elsewhere/first"}


def test_studies_come_with_the_package(site: Path, tmp_path: Path, typed: Typed) -> None:
    assert "study 'withheld-digits' is valid" in typed(tmp_path, WHERE).stdout
    inside = typed(tmp_path, "kdpipe where").stdout.strip()
    assert Path(inside).is_relative_to(site)
    for study in (REPOSITORY / "studies").rglob("*.yaml"):
        copy = Path(inside, study.relative_to(REPOSITORY))
        assert copy.read_bytes() == study.read_bytes()


def test_a_guest_of_another_workflow(project: tuple[Path, str], folder: Path, typed: Typed) -> None:
    """To save time, with the networks of the project and what was measured of them."""
    root = folder / "distillation" / "results" / "first"
    shutil.copytree(project[0] / "results" / "first", root)
    for name in ("tables", "figures", ".code"):
        shutil.rmtree(root / name)
    for name in ("report.html", "study.yaml"):
        (root / name).unlink()
    (folder / "Snakefile").write_text(GUEST)
    said = typed(folder, "snakemake --cores 2").stdout
    assert "localrules directive specifies rules" not in said
    assert "Rule: distillation_tables" in said
    assert (folder / "summary.txt").read_text().startswith("pair,method,probe,condition\n")
    assert {path.name for path in folder.iterdir() if path.name[0] != "."} == {
        *("Snakefile", "study.yaml", "summary.txt", "distillation")
    }
    assert [path.name for path in (folder / "distillation").iterdir()] == ["results"]
    # The handlers of kdpipe ran: it noted its code and the study. The report was not asked for.
    assert (root / "study.yaml").is_file()
    assert any((root / ".code").iterdir())
    assert not (root / "report.html").exists()
    # Its own targets are there, under the name of the module; what was made is up to date.
    stats = job_stats(typed(folder, "snakemake --cores 1 -n distillation_all").stdout)
    assert set(stats) == {"distillation_all", "distillation_figures", "distillation_report"}
    would = typed(folder, "kdpipe why study.yaml --results distillation/results").stdout
    assert re.match(r"2 of \d+ jobs would run\.\n", would), would


PLACES = {
    "plain": ("", "results"),
    "prefixed": ("prefix: 'other'", "other/results"),
    "replaced": ("replace_prefix: {'results': 'another'}", "another"),
    "pathvar": ("pathvars: results='named'", "named"),
    "configured": ("", "deep/er"),
}
"""Lines of a module, and the folder of its results."""


def test_studies_beside_each_other_and_their_places(folder: Path, typed: Typed) -> None:
    """Where jobs write and where the outer workflow finds it are the same place."""
    text = "from kdpipe.base.project import place\n\nrule all:\n    input:\n"
    text += "".join(
        f"        '{root}/{name}/subset/digits/subset.json',\n"
        for name, (_, root) in PLACES.items()
    )
    for name, (line, _) in PLACES.items():
        config = {"include": "study.yaml", "study": name}
        if name == "configured":
            config["results_root"] = "deep/er/"
        text += f"\nmodule {name}:\n    snakefile: place('Snakefile')\n    config: {config}\n"
        text += f"    {line}\n" if line else ""
        text += f"\nuse rule * from {name} as {name}_*\n"
    (folder / "Snakefile").write_text(text)
    said = typed(folder, "snakemake --cores 1 -n -p").stdout
    expected = {f"{root}/{name}" for name, (_, root) in PLACES.items()}
    assert set(re.findall(r"--root (\S+)", said)) == expected
    assert set(re.findall(r"> (\S+)/logs/\S+\.log 2>&1", said)) == expected
    assert job_stats(said) == {f"{name}_pick_subset": 1 for name in PLACES}


def test_a_module_without_a_study_is_refused(folder: Path, typed: Typed) -> None:
    """Rather than run the default study of kdpipe."""
    lines = '    config:\n        {"include": "study.yaml"}\n'
    assert lines in GUEST
    (folder / "Snakefile").write_text(GUEST.replace(lines, ""))
    said = typed(folder, "! snakemake --cores 1 -n").stdout
    assert "There is no study; " in said


def test_jobs_with_a_conda_environment_find_kdpipe_alone(
    folder: Path, tmp_path: Path, typed: Typed
) -> None:
    """With a stand-in for conda: its Python runs the job, and finds no package of another one."""
    fake = tmp_path / "conda"
    (fake / "bin").mkdir(parents=True)
    (fake / "bin" / "conda").write_text(CONDA)
    (fake / "bin" / "activate").write_text('export PATH="$1/bin:$PATH"\n')
    (fake / "bin" / "conda").chmod(0o755)
    line = 'export PATH="$FAKE/bin:$PATH"; kdpipe snakemake study.yaml subset -c1 --sdm conda'
    typed(folder, line, FAKE=str(fake), REAL=sys.executable)
    assert (folder / "results" / "first" / "subset" / "digits" / "subset.json").is_file()
    assert (fake / "calls").read_text() == f"{folder}/.snakemake/kdpipe\n"
    (spec,) = (folder / ".snakemake" / "conda").glob("*.yaml")
    assert spec.read_bytes() == (REPOSITORY / "envs" / "kdpipe.yaml").read_bytes()
