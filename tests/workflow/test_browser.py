"""The report of a finished study, opened in Chromium as a reader opens it.

Skipped where there is no browser, unless the environment variable KDPIPE_BROWSER is ``required``.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from helpers.workspace import Workspace

pytestmark = pytest.mark.workflow

NAMES = ("chromium", "chromium-browser", "google-chrome")
WIDTH, HEIGHT = 1280, 800
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@dataclass
class Opened:
    """A page, and what it asked for and complained about."""

    page: Any
    address: str
    figures: int
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


def browser() -> str:
    """The path of a Chromium, or the end of the test."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        sentence = f"no browser: none of {', '.join(NAMES)} is installed"
        if os.environ.get("KDPIPE_BROWSER") == "required":
            pytest.fail(sentence)
        pytest.skip(sentence)
    return path


@pytest.fixture(scope="module")
def opened(finished: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    path = browser()
    from playwright.sync_api import sync_playwright

    # Away from the results, so that a file beside the report could not help it.
    copy = tmp_path_factory.mktemp("alone") / "report.html"
    shutil.copy2(finished.results / "report.html", copy)
    with sync_playwright() as engine:
        context = engine.chromium.launch_persistent_context(
            tmp_path_factory.mktemp("profile"),
            executable_path=path,
            headless=True,
            args=list(FLAGS),
            viewport={"width": WIDTH, "height": HEIGHT},
            offline=True,
        )
        page = context.new_page()
        drawn = len(list((finished.results / "figures").glob("*.svg")))
        found = Opened(page, copy.as_uri(), drawn)
        page.on("request", lambda request: found.requests.append(request.url))
        page.on("console", lambda message: found.complaints.append(message.text))
        page.on("pageerror", lambda error: found.complaints.append(str(error)))
        page.goto(found.address)
        yield found
        context.close()


def test_the_report_asks_for_nothing_and_complains_of_nothing(opened: Opened) -> None:
    opened.page.wait_for_timeout(300)
    outside = [url for url in opened.requests if not url.startswith("data:")]
    assert outside == [opened.address]
    assert opened.complaints == []


def test_the_first_screen_says_what_was_distilled(opened: Opened) -> None:
    for word in ("Distilled:", "Not distilled:", "Undecided:"):
        lead = opened.page.locator("p.lead", has_text=word).first
        box = lead.bounding_box()
        assert box["y"] + box["height"] < HEIGHT, word


def test_details_are_folded_until_a_link_or_a_key_opens_them(opened: Opened) -> None:
    page = opened.page
    figures = page.locator("#colour figure svg")
    assert figures.count()
    assert not figures.first.is_visible()
    assert page.locator("#colour .answer").inner_text().strip()
    page.locator(".overview a", has_text="Colour invariance").first.click()
    figures.first.wait_for(state="visible")
    for _ in range(2):
        page.locator("#colour > details > summary").press("Enter")
        figures.first.wait_for(state="hidden")
        page.locator(".overview a", has_text="Colour invariance").first.click()
        figures.first.wait_for(state="visible")
    page.locator("#colour > details > summary").press("Enter")


def test_the_overview_fits_two_screens(opened: Opened) -> None:
    box = opened.page.locator(".overview").bounding_box()
    assert box["y"] + opened.page.evaluate("scrollY") + box["height"] < 2 * HEIGHT


def test_paper_shows_what_is_folded_and_the_screen_folds_it_again(opened: Opened) -> None:
    page = opened.page
    folded = "document.querySelectorAll('details:not([open])').length"
    before = page.evaluate(folded)
    assert before
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate(folded) == 0
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.evaluate(folded) == before


def test_every_figure_and_picture_is_visible(opened: Opened) -> None:
    page = opened.page
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
    figures = page.locator("figure svg")
    assert figures.count() == opened.figures
    for k in range(figures.count()):
        box = figures.nth(k).bounding_box()
        assert box["width"] > 300, k
        assert box["height"] > 60, k
        assert box["x"] >= 0, k
        assert box["x"] + box["width"] <= WIDTH, k
    shown = page.evaluate("[...document.images].map(i => [i.naturalWidth, i.clientWidth])")
    assert len(shown) >= 12
    assert all(natural > 0 and width > 40 for natural, width in shown)
    assert page.evaluate("document.documentElement.scrollWidth") <= WIDTH
    assert page.evaluate("[...document.querySelectorAll('section')].every(s => s.innerText > '')")


def values(table: Any, column: int) -> list[float]:
    return table.evaluate(
        "(t, k) => [...t.tBodies[0].rows].map(r => r.cells[k].dataset.value)"
        ".filter(v => v !== undefined).map(Number)",
        column,
    )


def test_a_click_on_a_head_sorts_by_value(opened: Opened) -> None:
    opened.page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
    table = opened.page.locator("#colour details.further table.sortable")
    heads = table.locator("th").all_inner_texts()
    column = next(k for k, text in enumerate(heads) if text.startswith("Difference"))
    before = values(table, column)
    assert len(before) >= 2
    head = table.locator("th").nth(column)
    for order in ("ascending", "descending"):
        head.locator("button").click()
        assert head.get_attribute("aria-sort") == order
        assert values(table, column) == sorted(before, reverse=order == "descending")


def test_a_long_table_can_be_searched_and_a_short_one_need_not(opened: Opened) -> None:
    page = opened.page
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
    lengths = page.locator("table.sortable").evaluate_all(
        "all => all.map(t => [t.tBodies[0].rows.length, "
        "t.closest('.table').querySelector('input') !== null])"
    )
    assert any(rows > 8 for rows, _ in lengths)
    assert all((rows > 8) == searchable for rows, searchable in lengths)
    block = page.locator(".table", has=page.locator("input")).first
    rows = block.locator("tbody tr")
    texts = [text.lower() for text in rows.all_inner_texts()]
    # A word that some rows hold and others do not.
    word = next(w for w in " ".join(texts).split() if 0 < sum(w in t for t in texts) < len(texts))
    expected = sum(word in text for text in texts)
    block.locator("input").fill(f" {word.upper()} ")
    visible = block.locator("tbody tr:visible")
    assert visible.count() == expected
    assert all(word in text.lower() for text in visible.all_inner_texts())
    assert block.locator(".search span").inner_text() == f"{expected} of {rows.count()} rows"
    block.locator("input").fill("no row has this")
    assert visible.count() == 0
    block.locator("input").fill("")
    assert visible.count() == rows.count()


def test_snakemakes_own_report_holds_every_figure(finished_copy: Workspace) -> None:
    made = finished_copy.run("--report", "workflow-report.html", cores=1)
    assert made.returncode == 0, made.stdout
    text = (finished_copy.path / "workflow-report.html").read_text()
    for figure in (finished_copy.results / "figures").glob("*.svg"):
        assert figure.name in text
    assert "transfer.csv" in text
