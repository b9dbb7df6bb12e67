"""Every figure draws a full study and an incomplete one, twice with the same bytes."""

from __future__ import annotations

import itertools
import subprocess
import sys

import pandas as pd
import pytest
from matplotlib.patches import Rectangle

from helpers import synthetic_study
from helpers.places import REPOSITORY
from kdpipe.base.errors import KdpipeError
from kdpipe.base.paths import ModelRef
from kdpipe.figures.methods import MANY, Methods, in_order
from kdpipe.figures.shared import style
from kdpipe.figures.shared.find import figure_names, find_figure
from kdpipe.probes import probes
from kdpipe.results import verdicts, words
from kdpipe.results.settings import InstanceSettings, PairSettings
from kdpipe.results.tables import Tables
from kdpipe.stages.base import Call
from kdpipe.stages.figures import FiguresSettings, run

NAMES = figure_names(probes.names(), ["paper", "answer_methods"])  # not those of many methods
KNOWN = ["teacher", "teacher2", "ind", "kl", "hint", "crd", "soft_label"]
# Those that cannot do without record files are tested on their own.
OF_TABLES = ["cka", *(name for name in NAMES if not find_figure(name).reads_records)]

# A pair whose records of CKA may be read.
RECORDED = PairSettings(
    name="main",
    teacher=ModelRef(model="big"),
    student="small",
    ind_seeds=[3],
    methods={"kl": [1]},
    instances=[
        InstanceSettings(name="features", probe="cka", family="x", relational=True, min_gap=0.02)
    ],
)


def made(**options: object) -> Tables:
    histories = {n: synthetic_study.history(k) for k, n in enumerate(synthetic_study.NETWORKS)}
    frames = synthetic_study.tables(**options)  # type: ignore[arg-type]
    images = {f"models/small/seed{seed}": 4 for seed in synthetic_study.SEEDS}
    for method in set(frames["measurements"]["method"]):
        images |= {f"students/main/{method}/seed{seed}": 9 for seed in synthetic_study.SEEDS}
    return Tables(
        **frames,
        histories=histories,
        training_images=images,
        answer_methods={"main": ["kl", "soft_label"]},
        pairs=synthetic_study.pairs(),
    )


def texts(canvas: object) -> list[str]:
    from matplotlib.text import Text

    return [t.get_text() for t in canvas.findobj(Text) if t.get_text()]  # type: ignore[attr-defined]


def test_every_property_has_a_figure_with_words():
    assert set(probes.names()) == {p for name in NAMES for p in find_figure(name).probes}
    for name in NAMES:
        shown = find_figure(name)
        assert shown.title, name
        assert shown.caption.endswith("."), name


@pytest.mark.parametrize("name", OF_TABLES)
def test_draws_on_a_full_study(name):
    with style.context():
        figure, tables = find_figure(name), made()
        assert figure.missing(tables) is None
        assert texts(figure.draw(tables))


@pytest.mark.parametrize("name", OF_TABLES)
def test_draws_an_audit_of_single_networks(name):
    tables = made(scope="networks", methods=("my_student",))
    tables.answer_methods = {}
    with style.context():
        figure = find_figure(name)
        # Nothing was trained, and no method has its teacher's answers alone.
        assert (figure.missing(tables) is None) == (name not in ("gain", "soft_label"))
        if figure.missing(tables) is None:
            assert figure.draw(tables)


def test_recovery_is_drawn_over_the_images_that_a_student_was_trained_on():
    with style.context():
        canvas = find_figure("why").draw(made(methods=("kl",)))
    (ax,) = canvas.axes
    independent, distilled = (line.lines[0] for line in ax.containers)
    assert independent.get_xdata() == pytest.approx([4], rel=0.02)
    assert distilled.get_xdata() == pytest.approx([9], rel=0.02)
    values = made(methods=("kl",)).of(("weights",)).query("method == 'ind'")["value"]
    assert independent.get_ydata() == pytest.approx([values.median()])
    nobody = made()
    nobody.training_images = {}
    assert "not known on how many images" in str(find_figure("why").missing(nobody))


def test_the_images_behind_a_property_are_those_of_its_values():
    tables = made()
    tables.measurements.loc[tables.measurements["probe"] == "cka", "n"] = 100
    assert tables.images_behind("main", "cka") == 100
    assert tables.images_behind("main", "accuracy") == 899
    assert tables.images_behind("main", "boundary") is None
    with style.context():
        assert any("100 " in text for text in texts(find_figure("cka").draw(tables)))


def test_layers_stand_from_input_to_output_also_where_networks_share_names(monkeypatch):
    """A student may call its last layer as the teacher does, and others as nobody does."""
    layers = {"teacher_layers": ["block1", "fc"], "layers": ["stem", "stage1", "fc"]}
    both = list(itertools.product(*layers.values()))
    rows = pd.DataFrame(
        {
            "pair": "main",
            "method": "kl",
            "seed": 1,
            "probe": "cka",
            "metric": "cka_unbiased",
            # As a table sorts them: by the names.
            "condition": sorted(f"teacher_layer={t};student_layer={s}" for t, s in both),
            "value": 0.5,
            "n": 90,
            "unit": "image set",
        }
    )
    tables = made()
    tables.measurements, tables.recorded = rows, [RECORDED]
    notes = {**layers, "images": {"grey": 90}}
    monkeypatch.setattr(Tables, "records", lambda *_: (pd.DataFrame(), {"notes": notes}))
    with style.context():
        ax = find_figure("cka").draw(tables).axes[0]
        assert [t.get_text() for t in ax.get_xticklabels()] == layers["layers"]
        assert [t.get_text() for t in ax.get_yticklabels()] == layers["teacher_layers"]


def test_what_n_counts_is_said_of_every_comparison():
    tables = made(probes=("boundary", "calibration", "accuracy", "weights"), methods=("kl",))
    of = tables.transfer["probe"]
    tables.transfer["n_units"] = tables.transfer["n_units"].astype(float)
    tables.transfer.loc[of == "weights", "n_units"] = float("nan")
    tables.transfer.loc[of == "accuracy", "n_units"] = 1.0
    said = {r["probe"]: words.units(r["n_units"], r["unit"]) for r in
            tables.counted().to_dict("records")}  # fmt: skip
    assert said == {
        "boundary": "n = 50 triplets",
        "calibration": "n = 899 images",
        "accuracy": "n = 1 images",
        "weights": "one value a network",
    }


def test_the_strength_of_an_attack_stands_below_the_network_that_was_attacked():
    tables = made(probes=("adversarial",), methods=("kl",))
    rates = tables.measurements.query("condition == 'attacker=teacher' and method == 'ind'")
    strength = rates.assign(metric="epsilon", value=0.0834)
    tables.measurements = pd.concat([tables.measurements, strength])
    with style.context():
        ax = find_figure("adversarial").draw(tables).axes[0]
    labels = [label.get_text() for label in ax.get_xticklabels()]
    assert labels == ["teacher\nε = 0.083", "foreign"]


def test_a_teacher_that_only_others_are_compared_with_stands_with_its_pair():
    tables = made(probes=("localization",), methods=("kl",))
    tables.measurements = tables.measurements.query("method != 'teacher2'")
    with style.context():
        found = texts(find_figure("training").draw(tables))
    assert "Teacher" in found
    assert "wide" not in found


def test_says_why_there_is_nothing_to_draw(tmp_path):
    tables = synthetic_study.tables(probes=("accuracy",))
    tables["paper"] = tables["paper"].head(0)
    root = synthetic_study.write(tmp_path / "study", tables)
    run(
        FiguresSettings(study="s", figures=["colour", "paper", "training"]),
        Call(root, tmp_path / "out"),
    )
    for name, words_ in (
        ("colour", "did not measure colour"),
        ("paper", "No cell of the paper"),
        ("training", "No network of this study was trained"),
    ):
        assert words_ in (tmp_path / "out" / f"{name}.svg").read_text()


def test_draws_without_any_claim_or_control(tmp_path):
    tables = synthetic_study.tables()
    for name in ("transfer", "controls", "paper"):
        tables[name] = tables[name].head(0)
    root = synthetic_study.write(tmp_path / "study", tables)
    run(FiguresSettings(study="s", figures=NAMES), Call(root, tmp_path / "out"))
    assert len([*(tmp_path / "out").iterdir()]) == 2 * len(NAMES)


def test_same_input_same_bytes(tmp_path):
    root = synthetic_study.write(tmp_path / "study")
    names = ["transfer", "colour", "cka"]
    for folder in ("a", "b"):
        run(FiguresSettings(study="s", figures=names), Call(root, tmp_path / folder))
    written = {f"{name}.{kind}" for name in names for kind in ("svg", "png")}
    assert {path.name for path in (tmp_path / "a").iterdir()} == written
    for name in written:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(KdpipeError, match=r"measurements\.parquet is missing"):
        run(FiguresSettings(study="s", figures=["colour"]), Call(tmp_path, tmp_path / "out"))


def cells_of(verdict: str, inside: bool = False) -> tuple[list[str], list[Rectangle]]:
    """Texts and boxes of a transfer figure whose every claim ended in ``verdict``."""
    tables = made(probes=("colour",), methods=("kl",))
    claim = tables.transfer["primary"] & (tables.transfer["role"] == "claim")
    tables.transfer = tables.transfer[claim].assign(verdict=verdict)
    tables.controls["inside"] = inside
    with style.context():
        canvas = find_figure("transfer").draw(tables)
    return texts(canvas), canvas.findobj(Rectangle)


def test_transfer_marks_every_verdict():
    # The legend shows each mark once; a claim adds a second one.
    plain = cells_of("not transferred")
    assert sum("▼" in t for t in cells_of("opposite")[0]) == 2
    assert sum(t == "no gap" for t in cells_of("no gap")[0]) == 3  # cell, sample, its label
    assert sum(t.startswith("†") for t in cells_of("transferred", inside=True)[0]) == 3

    def hatched(boxes: list[Rectangle]) -> int:
        return sum(b.get_hatch() is not None for b in boxes)

    assert hatched(cells_of("inconclusive")[1]) == hatched(plain[1]) + 1
    assert len(cells_of("transferred")[1]) == len(plain[1]) + 1  # its frame


def test_transfer_keeps_controls_and_families_apart():
    with style.context():
        shown = texts(find_figure("transfer").draw(made()))
    unary, relational = (shown.index(words.KINDS[r]) for r in (False, True))
    control = next(i for i, t in enumerate(shown) if t.startswith("Controls"))
    assert unary < shown.index("Shape bias") < relational < shown.index("Localisation") < control
    assert "foreign attack" in shown[control:]
    assert any("colour_control" in t for t in shown[control:])
    assert not any("colour_control" in t for t in shown[:control])


def test_a_missing_method_leaves_its_cell_blank():
    tables = made(probes=("colour", "crop"))
    gone = (tables.transfer["probe"] == "crop") & (tables.transfer["method"] == "crd")
    tables.transfer = tables.transfer[~gone]
    with style.context():
        assert find_figure("transfer").draw(tables)


def test_a_plug_in_property_is_placed_by_its_teacher_value():
    row = pd.Series({"probe": "my_probe", "teacher": 0.5})
    assert not verdicts.is_relational(row)
    assert verdicts.is_relational(pd.Series({"probe": "my_probe", "teacher": float("nan")}))


def test_unknown_methods_keep_their_colour():
    assert style.look("my_student") == style.look("my_student")
    assert style.look("my_student")[0] not in {style.look(m)[0] for m in KNOWN}


def test_the_stage_is_cheap_to_import():
    code = "import sys, kdpipe.stages.figures; print({'matplotlib', 'pandas'} & set(sys.modules))"
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY
    )
    assert out.stdout.strip() == "set()", out.stderr


def test_band_shows_how_far_independent_seeds_are_apart():
    tables = made()
    rows = tables.of(("localization",)).query("metric == 'cam_similarity'")
    controls = tables.control("main", "localization", "cam_similarity")
    metric = words.metric_words("localization", "cam_similarity")
    with style.context():
        ax = style.Canvas().subplots()
        assert style.control_band(ax, rows, controls, metric)
    (band,) = ax.collections
    low, high = band.get_paths()[0].vertices[:, 1].min(), band.get_paths()[0].vertices[:, 1].max()
    middle = rows[rows["method"] == "ind"]["value"].mean()
    reach = controls["control_high"].iloc[0]
    assert low == pytest.approx(middle - reach)
    assert high == pytest.approx(middle + reach)
    unknown = controls.assign(control_high=float("nan"))
    assert not style.control_band(ax, rows, unknown, metric)


def test_the_map_of_methods_begins_with_who_hands_on_most():
    rows = {"a": (0.1, "inconclusive"), "b": (0.9, "transferred"), "c": (-0.5, "opposite"),
            "d": (0.3, "inconclusive")}  # fmt: skip
    part = pd.DataFrame(
        [{"method": m, "gap_closed": closed, "finding": f} for m, (closed, f) in rows.items()]
    )
    assert in_order(part) == ["b", "d", "a", "c"]


def test_a_study_of_many_methods_has_their_map():
    few, many = (["kl", "hint"], [f"m{k}" for k in range(MANY)])
    assert "methods" not in figure_names(["accuracy"], [])
    assert "methods" in figure_names(["accuracy"], ["many_methods"])
    with style.context():
        for methods in (few, many):
            tables = made()
            rows = tables.transfer[tables.transfer["method"] == "kl"]
            tables.transfer = pd.concat([rows.assign(method=m) for m in methods])
            tables.controls = tables.controls.iloc[:0]
            assert (Methods().missing(tables) is None) == (methods is many)
        drawn = texts(Methods().draw(tables))
    assert set(many) <= set(drawn)
