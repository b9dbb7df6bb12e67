"""What kdpipe is installed by, beside a wheel: conda, containers, and the workflow catalogue."""

from __future__ import annotations

import itertools
import re
import shlex
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from spython.main.parse.parsers import DockerParser, SingularityParser

from helpers.pages import blocks
from helpers.places import REPOSITORY

ENVS = REPOSITORY / "envs"
# https://docs.docker.com/reference/dockerfile/
INSTRUCTIONS = {
    *("ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL"),
    *("ONBUILD", "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"),
}
# https://apptainer.org/docs/user/main/definition_files.html
SECTIONS = {
    *("app", "environment", "files", "help", "labels", "post", "pre", "runscript", "setup"),
    *("startscript", "test", "arguments"),
}


def pins(name: str) -> dict[str, str]:
    """Package to line, of a file of pins."""
    lines = (ENVS / name).read_text(encoding="utf-8").splitlines()
    found = [line for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(Requirement(line).name): line for line in found}


def needed(names: set[str]) -> set[str]:
    """What the installed packages ``names`` need here, directly or not."""
    found: set[tuple[str, str]] = set()
    waiting = [(name, "") for name in names]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in found:
            continue
        found.add((name, extra))
        try:
            requires = metadata.requires(name) or []
        except metadata.PackageNotFoundError:  # of another build, as CUDA for torch without it
            continue
        for one in map(Requirement, requires):
            if one.marker is None or one.marker.evaluate({"extra": extra}):
                wanted = canonicalize_name(one.name)
                waiting += [(wanted, ""), *((wanted, e) for e in one.extras)]
    return {name for name, _ in found}


def test_conda_gets_the_pins_of_the_virtual_environment() -> None:
    """Written out: Snakemake copies the file, so that names of other files would lead nowhere."""
    spec = yaml.safe_load((ENVS / "kdpipe.yaml").read_text())
    (listed,) = [part["pip"] for part in spec["dependencies"] if isinstance(part, dict)]
    direct, others = pins("requirements.txt"), pins("constraints.txt")
    transitive = needed(set(direct)) - set(direct)
    expected = {*direct.values(), *(others[name] for name in transitive & set(others))}
    assert len(listed) == len(set(listed))
    assert set(listed) == expected


def test_requirements_of_the_package_are_pinned() -> None:
    """Those of running, and libraries of networks, which tests bring."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    found = pins("requirements.txt") | pins("requirements-dev.txt")
    extras = itertools.chain(*project["optional-dependencies"].values())
    for text in itertools.chain(project["dependencies"], extras):
        wanted = Requirement(text)
        version = Requirement(found[canonicalize_name(wanted.name)]).specifier
        (pinned,) = [clause.version for clause in version]
        assert wanted.specifier.contains(pinned), text


def test_the_line_that_installs_names_what_there_is() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    (words,) = map(shlex.split, blocks("install.md", "bash")[0].splitlines())
    wanted = Requirement(words[2].removeprefix("./"))
    assert words[:2] == ["pip", "install"]
    assert wanted.name == project["name"]
    assert wanted.extras <= set(project["optional-dependencies"])


@pytest.mark.parametrize(("target", "tools"), [("run", False), ("test", True), ("docs", True)])
def test_running_installs_no_tools_of_developers(tmp_path: Path, target: str, tools: bool) -> None:
    """What make would do in a new clone."""
    make = ["make", "-n", target, f"VENV={tmp_path}"]
    done = subprocess.run(make, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert " -r envs/requirements.txt" in done.stdout
    assert (" -r envs/requirements-dev.txt" in done.stdout) == tools


def test_the_package_for_cpus_meets_the_pin_and_is_preferred() -> None:
    """What docs/install.md says of a second index."""
    for name in ("torch", "torchvision"):
        pin = Requirement(pins("requirements.txt")[name])
        (version,) = [clause.version for clause in pin.specifier]
        assert pin.specifier.contains(f"{version}+cpu")
        assert Version(f"{version}+cpu") > Version(version)
    page = (REPOSITORY / "docs" / "install.md").read_text()
    assert f"`{pins('requirements.txt')['torch']}`" in page


def sources() -> set[str]:
    """What a wheel is built from."""
    data = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    project, wheel = data["project"], data["tool"]["hatch"]["build"]["targets"]["wheel"]
    files = {"pyproject.toml", project["readme"], *project["license-files"]}
    return {*files, *wheel["packages"], *wheel["force-include"]}


@pytest.fixture(scope="module")
def docker() -> list[tuple[str, str]]:
    """Instruction and rest of each logical line."""
    text = (REPOSITORY / "Dockerfile").read_text()
    lines = re.sub(r"^#.*\n", "", text, flags=re.M).replace("\\\n", " ").splitlines()
    return [tuple(line.split(maxsplit=1)) for line in lines if line.strip()]  # type: ignore[misc]


def recipe(parser: Any, path: Path) -> Any:
    (found,) = parser(str(path)).parse().values()
    return found


def test_the_dockerfile_is_sound(docker: list[tuple[str, str]]) -> None:
    words = [word for word, _ in docker]
    assert set(words) <= INSTRUCTIONS
    assert words[0] == "FROM"
    rest = dict(docker)
    assert re.fullmatch(r"python:3\.\d+-\S+", rest["FROM"])  # a tag, and no address
    assert rest["USER"] not in ("root", "0")
    for _, line in [part for part in docker if part[0] == "RUN"]:
        subprocess.run(["bash", "-n", "-c", line], check=True)
        assert "apt-get install" not in line or "rm -rf /var/lib/apt/lists" in line
        assert "pip install" not in line or "--no-cache-dir" in line
    # The pins are installed before the code is copied, for the cache of layers.
    code = next(k for k, (word, line) in enumerate(docker) if word == "COPY" and "kdpipe " in line)
    assert any("requirements.txt" in line for word, line in docker[:code] if word == "RUN")
    parsed = recipe(DockerParser, REPOSITORY / "Dockerfile")
    assert parsed.fromHeader == rest["FROM"]
    assert parsed.workdir == rest["WORKDIR"]


def test_images_hold_what_a_wheel_is_built_from(docker: list[tuple[str, str]]) -> None:
    copied = {name for word, line in docker if word == "COPY" for name in line.split()[:-1]}
    for name in copied:
        assert (REPOSITORY / name).exists(), name
    assert copied - {"envs/requirements.txt", "envs/constraints.txt"} == sources()
    parsed = recipe(SingularityParser, ENVS / "kdpipe.def")
    files = dict(line.split() for line in parsed.files)
    assert files == {name: f"/opt/kdpipe/{name}" for name in sources()}


def test_docker_gets_what_it_copies_and_nothing_else() -> None:
    lines = (REPOSITORY / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert {line[1:] for line in rules if line.startswith("!")} == sources()


def test_the_apptainer_definition_is_sound() -> None:
    path = ENVS / "kdpipe.def"
    text = path.read_text()
    names = re.findall(r"^%(\w+)", text, re.MULTILINE)
    assert len(names) == len(set(names))
    assert set(names) <= SECTIONS
    assert {"files", "post", "runscript", "help"} <= set(names)
    parsed = recipe(SingularityParser, path)
    base = re.search(r"^FROM (\S+)", (REPOSITORY / "Dockerfile").read_text(), re.MULTILINE)
    assert base is not None
    assert parsed.fromHeader == base[1]
    subprocess.run(["bash", "-n", "-c", "\n".join(parsed.install)], check=True)
    assert shlex.split(parsed.cmd) == ["exec", "kdpipe", "$@"]


def test_the_catalogue_is_told_how_to_run_it() -> None:
    told = yaml.safe_load((REPOSITORY / ".snakemake-workflow-catalog.yml").read_text())
    assert set(told) == {"usage"}
    usage = told["usage"]
    assert set(usage) == {"mandatory-flags", "software-stack-deployment", "report"}
    assert set(usage["mandatory-flags"]) == {"desc", "flags"}
    rules = "".join(path.read_text() for path in (REPOSITORY / "rules").glob("*.smk"))
    assert usage["software-stack-deployment"] == {
        "conda": "conda:" in rules,
        "apptainer": "container:" in rules,
        "apptainer+conda": False,
    }
    assert usage["report"] == ("report(" in rules)
    assert (REPOSITORY / "config" / "README.md").is_file()


def test_read_the_docs_builds_what_make_docs_builds() -> None:
    """Its keys are those of version 2 of the format, and its pins those of developers."""
    told = yaml.safe_load((REPOSITORY / ".readthedocs.yaml").read_text())
    assert set(told) == {"version", "build", "sphinx"}
    assert told["version"] == 2
    assert (REPOSITORY / told["sphinx"]["configuration"]).is_file()
    assert told["sphinx"]["fail_on_warning"] is True
    (command,) = told["build"]["jobs"]["install"]
    listed = subprocess.run(
        ["bash", "-c", command.replace("pip install", "echo", 1)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    developers = pins("requirements-dev.txt")
    assert listed.stdout.split() == [developers["sphinx"], developers["myst-parser"]]
