"""README and documentation show results of one and the same study."""

from __future__ import annotations

import csv
import importlib.util
import json
import re
import shutil
import sys
from collections import Counter
from html import unescape
from types import ModuleType

import pandas as pd
import pytest

from helpers.places import DOCS, REPOSITORY
from kdpipe.results import verdicts, words
from kdpipe.results.columns import TABLES
from kdpipe.study.schema import load

FOLDER = DOCS / "results" / "digits"
PUBLISHED = sorted(path.parent for path in (DOCS / "results").glob("*/run.json"))
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    with (FOLDER / "transfer.csv").open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def page_maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_verdicts", DOCS / "verdicts.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["docs/index.md", "docs/results/digits/verdicts.md"])
def test_the_picture_is_the_one_that_is_kept_in_step(page):
    path = REPOSITORY / page
    (shown,) = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", path.read_text(encoding="utf-8"))
    assert (path.parent / shown).resolve() == FOLDER / "transfer.svg"
    assert (FOLDER / "transfer.svg").read_text(encoding="utf-8").startswith("<?xml")


def test_the_readme_shows_one_picture_of_kept_results():
    (shown,) = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README)
    path = REPOSITORY / shown
    assert path.parent == FOLDER or path.parent.parent in PUBLISHED
    assert path.read_text(encoding="utf-8").startswith("<?xml")


def test_shares_in_the_readme_are_those_of_the_page_that_stands_beside_them():
    """In each paragraph, and in each row of a table, that links one page of results."""
    seen = 0
    for part in re.split(r"\n\n|\n(?=\|)", README):
        pages = set(re.findall(r"\]\((docs/results/[\w-]+/verdicts\.md)\)", part))
        shares = re.findall(r"(?<![\w.])\d+(?:\.\d+)? %", part)
        if len(pages) == 1 and shares:
            page = (REPOSITORY / pages.pop()).read_text(encoding="utf-8").replace("\xa0", " ")
            for share in shares:
                assert re.search(rf"(?<![\w.]){re.escape(share)}", page), f"{share} in {part}"
            seen += 1
    assert seen


def test_the_readme_counts_the_verdicts_of_the_default_study(rows):
    ((n, of, verdict),) = re.findall(r"(\d+) of (\d+) claims are (\w+)", README)
    claims = [row for row in rows if row["primary"] == "True" and row["role"] == "claim"]
    assert int(of) == len(claims)
    assert int(n) == sum(row["verdict"] == verdict for row in claims)
    (properties,) = re.findall(r"which of (\d+) properties", README)
    assert int(properties) == len({row["probe"] for row in claims})


def test_the_audit_in_the_readme_is_the_one_that_was_kept():
    """The command, and the sentences that it printed."""
    kept = (REPOSITORY / "benchmarks/results/audit_digits.txt").read_text(encoding="utf-8")
    (command,) = re.findall(r"^kdpipe audit .*?(?=^```$)", README, re.MULTILINE | re.DOTALL)
    assert command in kept
    quoted = "\n".join(re.findall(r"^> (.*)$", README, re.MULTILINE)).replace("\\\n", "\n")
    assert len(quoted) > 200
    assert " ".join(quoted.split()) in " ".join(kept.split())


def test_the_table_has_the_columns_of_the_contract():
    with (FOLDER / "transfer.csv").open(encoding="utf-8") as stream:
        assert next(csv.reader(stream)) == TABLES["transfer"].names


def test_the_table_is_of_the_default_study_as_it_is(rows):
    """Every pair, method and probe of config.yaml, and none that it no longer has."""
    study = load(REPOSITORY / "config.yaml")
    wanted = {
        (name, method, study.probes[instance].name)
        for name, pair in study.pairs.items()
        for method in pair.methods
        for instance in pair.probes
    }
    assert {(row["pair"], row["method"], row["probe"]) for row in rows} == wanted, (
        "config.yaml has changed: run `make docs-results`"
    )
    for name, pair in study.pairs.items():
        seeds = {row["n_seeds_dist"] for row in rows if row["pair"] == name}
        assert max(map(int, seeds)) == len(pair.seeds), name


def test_the_picture_shows_the_numbers_of_the_table():
    """Share and interval of every claim, as often as they occur."""
    drawn = (FOLDER / "transfer.svg").read_text(encoding="utf-8")
    texts = Counter(
        unescape(text).strip() for text in re.findall(r"<text[^>]*>(.*?)</text>", drawn)
    )
    claims = verdicts.primary_claims(pd.read_csv(FOLDER / "transfer.csv"))
    with_gap = claims[claims["gap_closed"].notna()]
    wanted = Counter(
        words.share_interval(low, high)
        for low, high in zip(with_gap["closed_low"], with_gap["closed_high"], strict=True)
    )
    assert len(with_gap) > 10
    for text, times in wanted.items():
        assert texts[text] >= times, f"{text} is not in the picture: run `make docs-results`"
    shares = {words.share(value) for value in with_gap["gap_closed"]}
    assert shares <= {text.lstrip("▼† ") for text in texts}


def test_the_page_is_in_step(page_maker):
    text = (FOLDER / "verdicts.md").read_text(encoding="utf-8")
    made = page_maker.page(pd.read_csv(FOLDER / "transfer.csv"))
    assert text == made, "docs/results/digits/verdicts.md is old: run `python docs/verdicts.py`"


def test_the_page_counts_the_verdicts_of_the_table(rows):
    text = (FOLDER / "verdicts.md").read_text(encoding="utf-8")
    found = re.search(r"^Of (\d+) claims \(.*?\): (.*)\.$", text, re.MULTILINE)
    assert found is not None
    said = {verdict: int(n) for n, verdict in re.findall(r"(\d+) ([a-z ]+)", found[2])}
    claims = [row for row in rows if row["primary"] == "True" and row["role"] == "claim"]
    counted = Counter(row["verdict"] for row in claims)
    assert int(found[1]) == len(claims) == sum(said.values())
    assert said == {verdict: counted[verdict] for verdict in said}
    assert len(
        re.findall(
            r"^\| .* (?:inconclusive|transferred|opposite|no gap|not judged) \|$", text, re.M
        )
    ) == (len(claims))


@pytest.mark.parametrize(
    "path", [REPOSITORY / "README.md", *sorted(DOCS.rglob("*.md"))], ids=lambda p: p.stem
)
def test_counts_of_claims_are_those_of_the_table(path, rows):
    """Wherever a page says `Of 37 claims`, it is as many as there are."""
    claims = [row for row in rows if row["primary"] == "True" and row["role"] == "claim"]
    for number in re.findall(r"\b[Oo]f (?:the )?(\d+) claims", path.read_text(encoding="utf-8")):
        assert int(number) == len(claims)


@pytest.mark.parametrize("folder", PUBLISHED, ids=lambda p: p.name)
def test_kept_results_are_in_step(folder, monkeypatch):
    """The page is what its tables say, and those are of the study as it is."""
    monkeypatch.syspath_prepend(str(DOCS))
    published = importlib.import_module("published")
    study = load(REPOSITORY / "studies" / f"{folder.name}.yaml")
    text = (folder / "verdicts.md").read_text(encoding="utf-8")
    assert text == published.page(study, folder), f"run `python docs/published.py {folder.name}`"
    transfer = pd.read_csv(folder / "transfer.csv")
    wanted = {(p, m) for p, pair in study.pairs.items() for m in pair.methods}
    assert set(zip(transfer["pair"], transfer["method"], strict=True)) == wanted
    for shown in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text):
        assert (folder / shown).is_file()


def test_a_run_of_another_machine_is_kept_with_what_it_says(tmp_path, monkeypatch):
    """Nothing of this machine gets on the page of a study that ran elsewhere."""
    monkeypatch.syspath_prepend(str(DOCS))
    published = importlib.import_module("published")
    kept, results = DOCS / "results/mnist-quick", tmp_path / "made"
    shutil.copytree(kept, results / "tables", ignore=shutil.ignore_patterns("figures"))
    shutil.copytree(kept / "figures", results / "figures")
    run = {
        "command": "far away",
        "wall": "a minute",
        "seconds": {"train": 90.0},
        "machine": "another processor",
        "versions": {"torch": "9.8.7"},
        "afterwards": "tables made again",
    }
    (tmp_path / "run.json").write_text(json.dumps(run))
    monkeypatch.setattr(published, "HERE", tmp_path)
    study = str(REPOSITORY / "studies/mnist-quick.yaml")
    given = ["--results", str(results), "--run", str(tmp_path / "run.json")]
    monkeypatch.setattr(sys, "argv", ["published.py", study, *given])
    published.main()
    folder = tmp_path / "results/mnist-quick"
    assert json.loads((folder / "run.json").read_text()) == run
    text = (folder / "verdicts.md").read_text(encoding="utf-8")
    for row in (
        "| command | `far away` |",
        "| wall clock | a minute |",
        "| minutes of the jobs, by stage | train 1.5 |",
        "| processor | another processor |",
        "| versions | torch 9.8.7 |",
        "| afterwards | tables made again |",
    ):
        assert row in text.splitlines()


def test_make_docs_results_writes_all_three():
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    recipe = makefile.partition("\ndocs-results:")[2].partition("\n\n")[0]
    for word in ("figures/transfer.svg", "tables/transfer.csv", "docs/verdicts.py"):
        assert word in recipe
