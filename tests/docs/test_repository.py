"""Citation, licence, change log and README agree with the repository."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
import tomllib
from typing import Any

import pytest
import yaml

import kdpipe
from helpers.places import DOCS, REPOSITORY, TESTS
from kdpipe.cli import app
from kdpipe.distill import objectives
from kdpipe.probes import probes

# Citation File Format 1.2.0: the keys that are used here, of each kind of entry.
FILE = {
    "abstract", "authors", "cff-version", "date-released", "doi", "identifiers", "keywords",
    "license", "message", "references", "repository-code", "title", "type", "url", "version",
}  # fmt: skip
REFERENCE = {"authors", "conference", "doi", "identifiers", "title", "type", "url", "year"}
PERSON = {"affiliation", "family-names", "given-names", "orcid"}
IDENTIFIER = {"description", "type", "value"}
IDENTIFIER_TYPES = {"doi", "url", "swh", "other"}


@pytest.fixture(scope="module")
def citation() -> dict[str, Any]:
    return yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_citation_has_the_keys_of_its_format(citation):
    assert set(citation) <= FILE
    assert set(citation) >= {"authors", "cff-version", "message", "title"}
    assert citation["cff-version"] == "1.2.0"
    assert citation["type"] == "software"
    for reference in citation["references"]:
        assert set(reference) <= REFERENCE
        assert set(reference) >= {"authors", "title", "type"}
        assert isinstance(reference["year"], int)
        assert set(reference["conference"]) == {"name"}
        for author in reference["authors"]:
            assert set(author) <= PERSON
        for identifier in reference["identifiers"]:
            assert set(identifier) <= IDENTIFIER
            assert identifier["type"] in IDENTIFIER_TYPES
            if identifier["type"] == "doi":
                assert re.fullmatch(r"10\.\d{4,9}/\S+", identifier["value"])
    for author in citation["authors"]:
        assert set(author) == {"name"}


def test_version_and_licence_agree(citation, project):
    assert citation["version"] == kdpipe.__version__
    assert citation["license"] == project["license"] == "MIT"
    licence = (REPOSITORY / "LICENSE").read_text(encoding="utf-8")
    assert licence.startswith("MIT License")
    assert "THE SOFTWARE IS PROVIDED" in licence.upper()
    assert f"## {kdpipe.__version__}" in (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")


def test_lists_of_plug_ins_are_in_step():
    lists = runpy.run_path(str(DOCS / "lists.py"))
    pages = {n: (REPOSITORY / n).read_text(encoding="utf-8") for n in lists["PAGES"]}
    for name, text in pages.items():
        assert lists["in_step"](text) == text, f"{name} is old: run `make reference`"
    for name in lists["LISTS"]:
        assert sum(f"<!-- {name}: " in text for text in pages.values()) == 1, name
    for name in (*objectives.names(), *probes.names()):
        # Independent students are trained on labels; nobody names them as a method.
        assert f"`{name}`" in pages["README.md"] or name == "labels", name


@pytest.mark.parametrize(
    "path",
    [*REPOSITORY.glob("*.md"), *sorted(DOCS.rglob("*.md"))],
    ids=lambda path: str(path.relative_to(REPOSITORY)),
)
def test_links_lead_somewhere(path):
    """Also in README and CONTRIBUTING, which are no pages of the documentation."""
    text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if not re.match(r"[a-z]+:", target):
            assert (path.parent / target).exists(), target


def test_commands_that_pages_name_exist():
    """`kdpipe WORD` and `make WORD`, wherever a page names one as code."""
    known = {c.name or c.callback.__name__ for c in app.registered_commands if c.callback}
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    for path in [*REPOSITORY.glob("*.md"), *DOCS.rglob("*.md")]:
        code = re.findall(r"`[^`\n]+`|^ {4}.*$", path.read_text(encoding="utf-8"), re.MULTILINE)
        for text in code:
            for tool, word in re.findall(r"(?:^[` ]*)(kdpipe|make) ([a-z-]+)", text):
                assert word in (known if tool == "kdpipe" else targets), f"{path.name}: {text}"


def test_tests_that_pages_name_exist():
    """`folder/test_file.py::test_name`, the folder from its end; names may end in `*`."""
    files = {str(path): path for path in sorted(TESTS.rglob("test_*.py"))}
    for page in [*REPOSITORY.glob("*.md"), *DOCS.rglob("*.md")]:
        text = page.read_text(encoding="utf-8")
        for place, name in re.findall(r"((?:\w+/)*test_\w+\.py)(?:::(\w+\*?))?", text):
            found = [path for full, path in files.items() if full.endswith(f"/{place}")]
            assert found, f"{page.name}: there is no {place}"
            start = f"def {name.removesuffix('*')}" + ("" if name.endswith("*") else "(")
            known = any(start in path.read_text(encoding="utf-8") for path in found)
            assert known or not name, f"{page.name}: {place} has no {name}"


def test_the_documentation_is_built_without_a_warning(tmp_path):
    """As `make docs` does it."""
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    (command,) = re.findall(r"^\t(sphinx-build .*) docs build/docs$", makefile, re.MULTILINE)
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *command.split()[1:], "docs", str(tmp_path / "pages")],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    for page in ("index", "tutorial", "reference", "reproduction", "extend/objective"):
        assert (tmp_path / "pages" / f"{page}.html").is_file()
