"""Write the report of a study: one HTML file that needs nothing else to be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kdpipe.base.errors import KdpipeError
from kdpipe.base.options import optional
from kdpipe.base.paths import subset_dir
from kdpipe.base.provenance import versions, write_atomically
from kdpipe.data.store import Subset
from kdpipe.figures.shared.find import find_figure
from kdpipe.figures.shared.pictures import first_of
from kdpipe.report import (
    answer,
    audit,
    classes,
    expectations,
    looks,
    networks,
    outlook,
    overview,
    seen,
    sentences,
    values,
)
from kdpipe.report.cite import cite
from kdpipe.report.doubts import doubts
from kdpipe.report.examples import Examples, examples
from kdpipe.report.headline import apart
from kdpipe.report.page import REPORT, inline, render
from kdpipe.report.warnings import warnings
from kdpipe.results import accepted, verdicts, words
from kdpipe.results.expectations import Expectation
from kdpipe.results.judged import judge
from kdpipe.results.settings import Answer, InstanceSettings, Looks, PairSettings
from kdpipe.results.tables import Probed, Tables
from kdpipe.stages.base import Call, Stage


class ReportSettings(Looks):
    """What the report says besides what the tables and figures hold."""

    study: str
    title: str
    figures: list[str]
    summary: dict[str, Any] = {}
    """Free facts to list: sizes, seeds, hyper-parameters; mappings may be nested."""
    networks: list[str] = []
    pairs: list[PairSettings] = []
    """Pairs with those of their probes whose records are read for examples."""
    without_teacher: dict[str, list[str]] = {}
    """By pair: methods that see no teacher, and are controls."""
    answer: Answer | None = optional(description="What the first picture shows.")
    sets: list[str] = []
    """Data sets, whose notes on files that were left out are repeated."""
    expect: list[Expectation] | None = optional(description="What is expected of students.")


def run(settings: ReportSettings, call: Call) -> None:
    """Write the page ``call.out`` from the tables and figures below ``call.root``.

    Raises KdpipeError when a table or a figure of the settings is missing.
    """
    root = call.root
    tables = Tables.load(root, [], settings.pairs)
    expected = expectations.table(judge(settings.pairs, root, settings.expect or []))
    settings = settings.model_copy(update={"pairs": tables.recorded})
    pictures = {name: _picture(root / "figures", name) for name in settings.figures}
    provenance = _provenance(root, settings.networks)
    shared, digests = values.provenance(provenance)
    tables.transfer, tables.decide = tables.counted(), settings.decide
    trained, taken = apart(tables.transfer, audit.given(settings.pairs))
    taught, alone = apart(trained, settings.without_teacher)
    ended = overview.claims(taught, taken, tables.controls)
    claims = outlook.of_taught(tables.power, settings.without_teacher)
    page = render(
        REPORT,
        study=settings.study,
        title=settings.title,
        headline=answer.sentences(tables, settings.pairs, settings.without_teacher),
        heading="What was distilled" if len(trained) else "What the student shares",
        counted=sentences.counted(taught, tables.controls) if len(trained) else None,
        given=sentences.groups(taken, tables.controls, of_given=True),
        given_note=sentences.given_note(taken),
        scope_note=sentences.scope_note(tables.transfer),
        seed_note=sentences.seed_note(tables.transfer),
        look_note=looks.NOTE if settings.decide is not None else None,
        groups=sentences.groups(taught, tables.controls),
        untaught=sentences.groups(alone, tables.controls),
        open_claims=outlook.table(claims) if claims is not None else None,
        controls=sentences.control_lines(tables.transfer),
        answer=_answer(pictures, settings),
        transfer=pictures.get("transfer"),
        across=[p for p in pictures.values() if not p["probes"] and p["name"] not in _PLACED],
        overview=overview.overview(ended, _measured(tables)),
        chapters=_chapters(tables, pictures, settings, root, ended),
        training=pictures.get("training"),
        paper=values.published(tables.paper) if len(tables.paper) else None,
        paper_picture=pictures.get("paper"),
        summary=settings.summary,
        cite=cite(settings.study, settings.title, versions().get("kdpipe", "unknown")),
        shared={key.removeprefix("versions."): value for key, value in shared.items()},
        digests=digests,
        looked_at=networks.table(root, settings.networks),
        expected=expected,
        seen=seen.table(seen.seen(root, settings.pairs)),
        doubts=doubts(tables, settings.pairs, root),
        warnings=[
            *accepted.warnings(root),
            *warnings(tables.transfer, tables.controls, tables.measurements, provenance),
            *_notes(root, settings.sets),
        ],
    )
    write_atomically(call.out, lambda p: p.write_text(page, encoding="utf-8"))


STAGE = Stage(ReportSettings, run)


# Figures that have a place of their own.
_PLACED = ("answer", "transfer", "training", "paper")


def _answer(pictures: dict[str, dict[str, Any]], settings: ReportSettings) -> dict[str, Any] | None:
    """The first picture, in the words of the study."""
    if settings.answer is None:
        return None
    return {**pictures["answer"], "title": settings.title, "caption": settings.answer.says}


def _measured(tables: Tables) -> list[str]:
    return list(tables.measurements["probe"].unique())


def _chapters(
    tables: Tables,
    pictures: dict[str, dict[str, Any]],
    settings: ReportSettings,
    root: Path,
    ended: Any,
) -> list[dict[str, Any]]:
    """Measured properties by chapter, also those that have no figure of their own."""
    sections = {s["id"]: s for s in _sections(tables, pictures, settings, root)}
    return [
        {
            "id": overview.chapter_id(heading),
            "heading": heading,
            "sections": [
                {**sections[probe], "answer": overview.answer(ended, probe)} for probe in names
            ],
        }
        for heading, names in words.chapters(sections).items()
    ]


def _sections(
    tables: Tables, pictures: dict[str, dict[str, Any]], settings: ReportSettings, root: Path
) -> list[dict[str, Any]]:
    """One section a property."""
    sections = []
    for probe in _measured(tables):
        rows = tables.transfer[tables.transfer["probe"] == probe]
        unit = _unit(tables, rows)
        main = rows["primary"] | rows.index.isin(verdicts.controls_of(rows).index)
        label, compared, how = words.property_words(probe)
        sections.append(
            {
                "id": probe,
                "label": label,
                "compared": compared,
                "how": how,
                "settings": _settings(tables, settings, probe),
                "examples": _examples(tables, settings, probe, root),
                "pictures": [p for p in pictures.values() if probe in p["probes"]],
                "main": values.comparison(rows[main], tables.controls, unit),
                "further": values.comparison(rows[~main], tables.controls, unit),
                "controls": sentences.control_lines(rows),
                "classes": classes.lines(tables.classes, probe),
                "seeds_known": bool(
                    tables.controls.loc[tables.controls["probe"] == probe, "inside"].notna().any()
                ),
            }
        )
    return sections


def _unit(tables: Tables, rows: Any) -> str:
    """What a property's main value is a mean of: images, triplets."""
    main = rows[rows["primary"]]
    m = tables.measurements
    same = m["probe"].isin(main["probe"]) & m["metric"].isin(main["metric"])
    units = m.loc[same, "unit"]
    return words.UNITS.get(str(units.iloc[0]), str(units.iloc[0])) if len(units) else ""


def _settings(tables: Tables, settings: ReportSettings, probe: str) -> dict[str, str]:
    """Options of a property by the name of its pair, as words; those that are null are left out."""
    said: dict[str, str] = {}
    for pair in settings.pairs:
        for instance in (i for i in pair.instances if i.probe == probe):
            own = {**_options(tables, pair, instance), "min_gap": instance.min_gap}
            order = sorted(own, key=lambda k: (k not in ("set", "domains", "split"), k))
            told = [
                f"{key.replace('_', ' ')}: {_plain(own[key])}"
                for key in order
                if own[key] not in (None, [])
            ]
            if (images := tables.images_behind(pair.name, probe)) is not None:
                told.append(f"{words.units(images, 'images')} a domain")
            said[pair.name] = "; ".join(filter(None, [said.get(pair.name), *told]))
    return said


def _options(tables: Tables, pair: PairSettings, instance: InstanceSettings) -> dict[str, Any]:
    """What a probe was told, as its records have it."""
    _, about = first_of(tables, Probed(pair, instance), pair.first_method)
    return dict(about.get("options", {}))


def _notes(root: Path, sets: list[str]) -> list[str]:
    """What lies beside the images of each data set and was left out."""
    return [
        f"Data set {name}: {note}"
        for name in sets
        for note in Subset(root / subset_dir(name)).about.get("notes", [])
    ]


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(_plain(part) for part in value.values())
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _examples(tables: Tables, settings: ReportSettings, probe: str, root: Path) -> list[Examples]:
    found = []
    for pair in settings.pairs:
        for instance in pair.instances:
            if instance.probe != probe:
                continue
            name = _options(tables, pair, instance).get("set")
            if name is not None:
                subset = Subset(root / subset_dir(str(name)))
                without = settings.without_teacher.get(pair.name, [])
                made = examples(tables, pair, instance, subset, without)
                found += [made] if made is not None else []
    return found


def _picture(folder: Path, name: str) -> dict[str, Any]:
    from markupsafe import Markup

    path = folder / f"{name}.svg"
    if not path.is_file():
        raise KdpipeError(f"The figure {path} is missing; run the stage 'figures' first.")
    shown = find_figure(name)
    return {
        "name": name,
        "title": shown.title,
        "caption": shown.caption.replace(" %", "\N{NO-BREAK SPACE}%"),
        "probes": shown.probes,
        "svg": Markup(inline(path.read_text(encoding="utf-8"), name)),
    }


def _provenance(root: Path, networks: list[str]) -> dict[str, dict[str, Any]]:
    found = {}
    for network in networks:
        path = root / network / "model.json"
        about = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        if isinstance(about.get("provenance"), dict):
            found[network] = about["provenance"]
    return found
