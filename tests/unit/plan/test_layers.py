"""``kdpipe layers`` shows what every method reads, without data and before anything runs."""

from __future__ import annotations

import yaml
from typer.testing import CliRunner

from kdpipe import cli
from kdpipe.plan.check_networks import Networks, check_networks
from kdpipe.plan.layers import layers_read
from kdpipe.plan.plan import Plan
from kdpipe.study.schema import parse

SET = {"source": "cifar10", "size": 32, "domains": {"o": "original"}}
DATA = {"set": "d", "domains": ["o"]}


def study(methods: dict, **models: str) -> dict:
    networks = {"teacher": "cifar_vgg/vgg13", "student": "cifar_resnet/resnet20"} | models
    return {
        "study": "s",
        "data": {"sets": {"d": SET}},
        "compute": {"device": "cpu", "precision": "fp32"},
        "models": {name: {"network": net, "data": DATA} for name, net in networks.items()},
        "probes": {"accuracy": {}},
        "pairs": {
            "p": {
                "teacher": {"model": "teacher"},
                "student": "student",
                "methods": methods,
                "probes": ["accuracy"],
            }
        },
    }


def rows(raw: dict) -> list[tuple[str, ...]]:
    return [row[1:] for row in layers_read(Networks(Plan(parse(raw)), None))]


def test_a_row_for_each_pair_of_layers() -> None:
    methods = {"kl": {}, "soft_label": {}, "hint": {}, "at": {}, "reviewkd": {}, "fsp": {}}
    stages = [
        ("stage2", "32×16×16", "block2", "128×16×16"),
        ("stage3", "64×8×8", "block3", "256×8×8"),
    ]
    pooled = ("penultimate = flatten", "64", "penultimate = flatten", "512")
    assert rows(study(methods)) == [
        ("kl", "", "", "the logits", ""),
        ("soft_label", "", "", "no teacher", ""),
        ("hint", "hint = stage2", "32×16×16", "hint = block3", "256×8×8"),
        *(("at", *pair) for pair in stages),
        *(("reviewkd", *pair) for pair in (*stages, pooled)),
        ("fsp", "stage1", "16×32×32", "F1 = block1", "64×32×32"),
        *(("fsp", *pair) for pair in stages),
    ]


def test_terms_of_a_sum_choose_their_layers_each() -> None:
    terms = [{"at": {"recipe": "crd_cifar"}}, {"hint": {"layer": "stage2"}}, "kl"]
    assert [row[1::2] for row in rows(study({"both": {"terms": terms}}))] == [
        ("stage2", "block2"),
        ("stage3", "block3"),
        ("stage2", "hint = block3"),
    ]


def test_layers_of_the_published_pairs() -> None:
    """The stages whose outputs the distillation literature compares, without the stem."""
    same = study({"at": {}}, student="cifar_vgg/vgg8")
    assert [row[1::2] for row in rows(same)] == [(f"block{k}",) * 2 for k in range(2, 6)]
    wide = study({"at": {}}, teacher="wrn", student="cifar_resnet/resnet56")
    assert [row[1::2] for row in rows(wide)] == [(f"stage{k}",) * 2 for k in (1, 2, 3)]


def test_named_layers_may_come_twice_and_get_partners() -> None:
    named = {"layers": ["stage2", "stage2"], "teacher_layers": ["block2", "block3"]}
    assert [row[1::2] for row in rows(study({"at": named}))] == [
        ("stage2", "block2"),
        ("stage2", "block3"),
    ]
    (row,) = rows(study({"at": {"teacher_layers": ["block3"]}}))
    assert row[1::2] == ("stage3", "block3")


def test_what_cannot_be_read_is_a_sentence() -> None:
    raw = study({"at": {"layers": ["stage9"]}, "nst": {"layers": ["flatten"]}, "kl": {}})
    said = check_networks(Plan(parse(raw)), None)
    assert [sentence.partition(" (")[0].partition(": ")[0] for sentence in said] == [
        "pairs.p.methods.at on models.student",
        "pairs.p.methods.nst",
    ]
    assert "has no layer 'stage9'" in said[0]
    assert "nst: the student's 'flatten' has shape 64 and the teacher's 'block5' 512×4×4" in said[1]


def test_the_command(tmp_path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(study({"at": {}, "nst": {"layers": ["stage9"]}})))
    done = CliRunner().invoke(cli.app, ["layers", str(path)])
    assert "128×16×16" in done.stdout
    assert "has no layer 'stage9'" in str(done.exception)
