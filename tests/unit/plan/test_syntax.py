"""Edits of texts and module places trigger no rerun; edits of behaviour beside them do."""

from __future__ import annotations

import re
import shutil
from functools import cache
from pathlib import Path

import pytest

from helpers.places import REPOSITORY
from kdpipe.plan import digest
from kdpipe.plan.plan import Plan
from kdpipe.study.schema import load

TRAINED = {"train", "distil", "teacher_outputs"}
# What they share with others, such as the base of all probes, they run as well.
BESIDE = {"gate", "tables", "figures", "report"}

# --- what is edited: file, what it says, what it says then

LOOP = "training/loop.py"
Edit = tuple[str, str, str]

WORDS: dict[str, Edit] = {
    "the text of an error": (LOOP, "loss became {loss} in", "loss turned into {loss} in"),
    "a value in the text of an error": (LOOP, "(now {recipe.lr})", "(it is {recipe.lr:.3g})"),
    "a text that an error holds": (LOOP, '"no epoch finished"', '"nothing was finished"'),
    "a text that is printed": (LOOP, '"epoch {len(done', '"the epoch {len(done'),
    "a printed line": (LOOP, "and {done.steps} steps of", "and, of it, {done.steps} steps of"),
    "a printed line of a probe": ("stages/probe.py", "} records", "} rows of records"),
    "a line that is printed besides": (
        "stages/probe.py",
        '        print(f"{name}: {len',
        '        print("Measured.", flush=True)\n        print(f"{name}: {len',
    ),
    "the text of a validator": ("training/recipe.py", "needs milestones, a", "wants them, a"),
    "the description of an option": ("training/recipe.py", '"Learning rate."', '"The rate."'),
    "a description in two parts": (
        "training/recipe.py",
        '"Whether biases and the vectors of normalisation layers decay too."',
        '"Whether biases decay, " "and vectors of normalisation layers."',
    ),
    "the description of a probe's option": ("probes/colour.py", "In turns of", "As turns of"),
    "the meaning of a column": ("training/artefact.py", '"Learning rate of', '"The rate of'),
    "the unit of a column": (
        "data/store.py",
        'INTEGER, "", "Number of the row',
        'INTEGER, "rows", "Row',
    ),
    "the description of a table": (
        "probes/shared/records.py",
        '"One row per outcome',
        '"A row an outcome',
    ),
    "the text of a failed assertion": ("probes/base.py", "probe runs with a", "probe has a"),
    "a docstring": ("distill/kl.py", '"""γ·CE + α·τ²·KL (', '"""CE and KL ('),
    "the layout": (
        "distill/kl.py",
        "o = self.options",
        "o = (\n            self.options\n        )",
    ),
    "the version": ("__init__.py", '"0.1.0"', '"9.9.9"'),
}

# What a probe and an objective say of themselves: shown again, and nothing else.
SHOWN: dict[str, Edit] = {
    "the title of a probe": ("probes/colour.py", '"Colour invariance"', '"Colours"'),
    "what is compared": ("probes/colour.py", '"same answer after', '"equal answer after'),
    "how a property is measured": ("probes/colour.py", '"Each test image and', '"A test image and'),
    "the label of a metric": ("probes/calibration.py", '"Calibration error"', '"Error"'),
    "the unit of a metric": ("probes/calibration.py", '"Calibration error"', '"Error", "nats"'),
    "a value that means something": ("probes/calibration.py", "level=0.0", "level=0.1"),
    "a metric that several probes share": ("probes/shared/agreement.py", '"Agreement"', '"Same"'),
    "the axis of a figure": ("probes/colour.py", '"Strength of the colour', '"Size of the colour'),
    "the caption of a figure": ("probes/colour.py", '"Each test image is', '"A test image is'),
    "the order of properties": ("probes/colour.py", "place = 20", "place = 21"),
    "the title of an objective": ("distill/kl.py", '"KL"', '"Kullback-Leibler"'),
}

BEHAVIOUR: dict[str, tuple[Edit, set[str]]] = {
    "a constant": (
        ("probes/base.py", "BATCH = 256", "BATCH = 255"),
        {"calibrate", "prepare", "probe"},
    ),
    "an operator": ((LOOP, "done.steps += 1", "done.steps -= 1"), TRAINED),
    "when an error is raised": ((LOOP, "if not np.isfinite(loss)", "if np.isnan(loss)"), TRAINED),
    "the name of a column": ((LOOP, 'f"train_{name}"', 'f"training_{name}"'), TRAINED),
    "a column of the records": (
        ("probes/shared/records.py", 'Column("metric"', 'Column("statistic"'),
        {"calibrate", "prepare", "probe"},
    ),
    "the type of a column": (
        ("training/artefact.py", 'Column("lr", NUMBER', 'Column("lr", TEXT'),
        {*TRAINED, "calibrate", "prepare", "probe"},
    ),
    "the kind of an error": ((LOOP, "raise KdpipeError(", "raise ValueError("), TRAINED),
    "a default": (("training/recipe.py", "Field(1.0, gt=0, d", "Field(2.0, gt=0, d"), TRAINED),
    "a bound": (("training/recipe.py", "Field(1.0, gt=0, d", "Field(1.0, ge=0, d"), TRAINED),
    "the name of an option": (
        ("probes/colour.py", "    hue: float", "    hues: float"),
        {"probe"},
    ),
    "a text that is a condition": (
        ("probes/shared/agreement.py", "{where};image={", "{where};id={"),
        {"probe"},
    ),
    "an attribute beside the title": (
        ("probes/colour.py", 'strength_key = "strength"', 'strength_key = "force"'),
        {"probe"},
    ),
    "a factor": (("distill/shared/softened.py", "own**2 *", "own *"), {"distil"}),
    "a call in a printed line": (
        ("stages/probe.py", "{len(records)} records", "{records.shrink()} records"),
        {"probe"},
    ),
    "the module that a name comes from": (
        (
            "probes/colour.py",
            "from kdpipe.probes.shared.agreement",
            "from kdpipe.probes.shared.gaps",
        ),
        {"probe"},
    ),
    "an attribute that is computed": (
        ("probes/colour.py", "place = 20", "metrics = made()"),
        {"probe"},
    ),
    "the title of a figure": (
        ("figures/cams.py", '"Grad-CAM maps"', '"Maps"'),
        {"report"},
    ),
    "the words of the report": (
        ("report/sentences.py", '"Distilled students', '"The distilled students'),
        {"report"},
    ),
}

# Old and new place of a module.
MOVES = {
    "a module of the training": (LOOP, "training/steps.py"),
    "a module that is used by its name": ("base/parallel.py", "base/several.py"),
    "a module into another package": ("base/seeding.py", "data/seeding.py"),
    "a module that holds a base class": ("base/options.py", "base/settings.py"),
    "shared code of probes": ("probes/shared/agreement.py", "probes/shared/alike.py"),
}


class Copy:
    """kdpipe in a folder of its own, and the digests of a plan's jobs there."""

    def __init__(self, folder: Path, jobs, places: list[int]) -> None:
        self.folder = folder
        self.jobs = jobs
        self.places = places
        shutil.copytree(
            REPOSITORY / "kdpipe", folder / "kdpipe", ignore=shutil.ignore_patterns("__pycache__")
        )
        self.before = self.codes()

    def codes(self):
        digest.code_digest.cache_clear()
        return {stage: digest.code_digest(modules) for stage, modules in self.jobs.items()}

    def touched(self) -> set[str]:
        """The stages whose code is another one now; each of a probe by its own name."""
        return {stage for stage, code in self.codes().items() if code != self.before[stage]}

    def edit(self, file: str, old: str, new: str) -> None:
        path = self.folder / "kdpipe" / file
        text = path.read_text()
        assert old in text, f"kdpipe/{file} no longer holds {old!r}"
        path.write_text(text.replace(old, new, 1))

    def move(self, old: str, new: str) -> int:
        """Move a module and change what imports it. Returns the number of those files."""
        package = self.folder / "kdpipe"
        (package / old).rename(package / new)
        digest._location.cache_clear()
        self.places[0] += 1
        before, after = _dotted(old), _dotted(new)
        count = 0
        for path in package.rglob("*.py"):
            text = path.read_text()
            moved = _with_imports_moved(text, before, after)
            count += moved != text
            path.write_text(moved)
        return count


def _dotted(file: str) -> str:
    return "kdpipe." + file.removesuffix(".py").replace("/", ".")


def _with_imports_moved(text: str, old: str, new: str) -> str:
    """A file after a module's move, its import lines sorted anew as a formatter does."""
    (home, _, name), (new_home, _, new_name) = old.rpartition("."), new.rpartition(".")
    text = re.sub(rf"\b{re.escape(old)}\b", new, text)
    line = re.compile(rf"^( *)from {re.escape(home)} import ([\w, ]*\b{name}\b[\w, ]*)$", re.M)
    found = line.search(text)
    if found is None:
        return text
    others = [n for n in found[2].split(", ") if n != name]
    lines = [f"{found[1]}from {new_home} import {new_name}"]
    lines += [f"{found[1]}from {home} import {', '.join(others)}"] if others else []
    text = text[: found.start()] + "\n".join(lines) + text[found.end() :]
    return re.sub(rf"(?<![\w.\"']){name}\.(?=[A-Za-z])", f"{new_name}.", text)


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    """A copy of kdpipe in which every stage of a study with one probe is looked at."""
    plan = Plan(load(REPOSITORY / "config.yaml"))
    jobs = {job.stage: job.modules for job in plan.jobs.values()}
    jobs["probe"] = ("kdpipe.probes.colour", "kdpipe.stages.probe")
    jobs["distil"] = (*jobs["distil"], "kdpipe.distill.kl")
    folder = tmp_path_factory.mktemp("copied")

    @cache
    def location(name: str) -> Path | None:
        path = folder.joinpath(*name.split("."))
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        return path if path.is_file() else None

    read = digest.module.__wrapped__
    known, places = {}, [0]

    def module(name: str) -> digest.Module:
        """Parse a file again where it changed, or where files moved about it."""
        key = (name, location(name).read_text(), places[0])
        if key not in known:
            known[key] = read(name)
        return known[key]

    patch = pytest.MonkeyPatch()
    patch.setattr(digest, "_location", location)
    patch.setattr(digest, "module", module)
    yield Copy(folder, jobs, places)
    patch.undo()
    digest.code_digest.cache_clear()


@pytest.fixture
def source(copied):
    """The copy as it was, for a test that edits it."""
    digest._location.cache_clear()
    copied.places[0] = 0
    yield copied
    shutil.rmtree(copied.folder / "kdpipe")
    shutil.copytree(
        REPOSITORY / "kdpipe",
        copied.folder / "kdpipe",
        ignore=shutil.ignore_patterns("__pycache__"),
    )


def test_words_are_no_reason_to_run(source):
    for edit in WORDS.values():
        source.edit(*edit)
    assert source.touched() == set(), "one of them counts; try them one by one"


@pytest.mark.parametrize("case", SHOWN)
def test_what_is_said_of_a_property_is_shown_again_and_measured_by_nobody(source, case):
    source.edit(*SHOWN[case])
    assert source.touched() == {"figures", "report"}


@pytest.mark.parametrize("case", BEHAVIOUR)
def test_behaviour_beside_the_words_is(source, case):
    edit, expected = BEHAVIOUR[case]
    source.edit(*edit)
    touched = source.touched()
    assert touched - BESIDE == expected - BESIDE
    assert expected <= touched


def test_names_and_places_of_modules_are_no_reason_to_run(source):
    for case, (old, new) in MOVES.items():
        assert source.move(old, new) > 0, case
        assert source.touched() == set(), case


def test_a_module_with_the_old_name_of_another_is_that_other_one(source):
    """Two modules exchange their names, and nobody who imports them is told."""
    package = source.folder / "kdpipe" / "probes" / "shared"
    (package / "agreement.py").rename(package / "aside")
    (package / "gaps.py").rename(package / "agreement.py")
    (package / "aside").rename(package / "gaps.py")
    assert "probe" in source.touched()
