"""Past findings of the fuzzer and of reading the code: inputs that caused a traceback, a hang, an
error of several lines, or invalid numbers."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from safetensors.torch import save_file

from helpers.fuzz.of_commands import inputs
from helpers.fuzz.of_data import made_subset, put
from helpers.fuzz.of_images import plain_picture
from helpers.fuzz.of_weights import good_state, network_ref
from helpers.fuzz.verdict import sentence_flaw
from helpers.places import REPOSITORY
from kdpipe.audit.networks import Told, entry
from kdpipe.base.errors import KdpipeError, some_of
from kdpipe.models import builders
from kdpipe.models.base import build
from kdpipe.models.shared.form import pick
from kdpipe.models.weights.find import Found, _channels, find, load_into
from kdpipe.models.weights.options import Weights
from kdpipe.models.weights.state_dicts import read_parts
from kdpipe.plan.check_data import check_data
from kdpipe.plan.plan import Plan
from kdpipe.stages.shared.from_weights import check_outputs
from kdpipe.study.includes import MOST_VALUES, values
from kdpipe.study.schema import load, parse


def refused(match: str, call: Any, *arguments: Any, **options: Any) -> None:
    with pytest.raises(KdpipeError, match=match) as caught:
        call(*arguments, **options)
    assert sentence_flaw(str(caught.value)) is None


# Study files


def test_include_of_a_name_that_no_file_can_have(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text('include: "a\\0b"\n')
    refused("include: give a file or a list", load, tmp_path / "study.yaml")


def test_include_of_what_contains_itself(tmp_path: Path) -> None:
    """Both files have the same endless mapping, which were to be laid over each other."""
    (tmp_path / "part.yaml").write_text("a: &a {b: *a}\n")
    (tmp_path / "study.yaml").write_text("include: part.yaml\na: &a {b: *a}\n")
    refused("aliases .* contain themselves", load, tmp_path / "study.yaml")


def test_include_of_mappings_that_stand_for_billions(tmp_path: Path) -> None:
    lines = ["a0: &a0 {x: 1, y: 2}"]
    lines += [f"a{k}: &a{k} {{x: *a{k - 1}, y: *a{k - 1}}}" for k in range(1, 60)]
    (tmp_path / "part.yaml").write_text("\n".join(lines))
    (tmp_path / "study.yaml").write_text("\n".join(["include: part.yaml", *lines]))
    refused("stand for more than", load, tmp_path / "study.yaml")


def test_values_are_counted_with_aliases_written_out() -> None:
    one = [1, {"a": 2}]
    assert values([one, one, (3,)], {}) == 13
    assert values({}, {}) == 1
    one.append(one)
    assert values([one], {}) > MOST_VALUES


def test_a_word_of_thousands_of_letters_is_not_quoted_whole() -> None:
    refused("x…x", parse, {"study": "fine", "pairs": {"x" * 5000: {"y" * 5000: 1}}})


def test_hundreds_of_complaints_are_counted_and_not_listed() -> None:
    study = {"study": "fine", "pairs": {f"pair{k}": {"unknown" * 10: 1} for k in range(500)}}
    with pytest.raises(KdpipeError, match=r"; and \d{3,} more\.?$") as caught:
        parse(study)
    assert len(str(caught.value)) < 2000


TINY = yaml.safe_load((REPOSITORY / "tests" / "workflow" / "tiny.yaml").read_text())


def test_conditions_of_a_pair_that_are_no_mapping() -> None:
    study = copy.deepcopy(TINY) | {"paper_conditions": {"a": "b"}}
    study["pairs"]["answers"]["paper_conditions"] = "x"
    refused("paper_conditions", parse, study)


@pytest.mark.parametrize("replacement", ["\\9", "\\g<x>"])
def test_a_group_that_is_not_there(replacement: str) -> None:
    study = copy.deepcopy(TINY)
    study["models"]["big"]["weights"] = {"path": "x.pt", "key_map": {"conv": replacement}}
    refused("key_map: .* cannot take the place of 'conv'", parse, study)


# Data sets


def shard(folder: Path, labels: Any, names: Any = None, **columns: Any) -> None:
    (folder / "data" / "hub").mkdir(parents=True, exist_ok=True)
    images = [{"bytes": plain_picture(), "path": "x"}] * len(labels)
    table = pa.table({"image": images, "label": labels, **columns})
    if names is not None:
        feature = {"names": names, "_type": "ClassLabel"}
        info = {"info": {"features": {"label": feature}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(info)})
    pq.write_table(table, folder / "data" / "hub" / "test-0.parquet")


def hub(folder: Path, **options: Any) -> None:
    defaults = {"path": "hub", "files": None, "image": "image", "label": "label", "group": None}
    made_subset(folder, source={"name": "parquet", "options": defaults | options})


@pytest.mark.parametrize("pattern", ["", ".", "a**b", "x" * 3000])
def test_patterns_that_are_none(tmp_path: Path, pattern: str) -> None:
    shard(tmp_path, [0, 1] * 4)
    refused("pattern of files|has no file", hub, tmp_path, files={"test": pattern})


@pytest.mark.parametrize("label", [2**62, 999, 2**63])
def test_label_beyond_its_names(tmp_path: Path, label: int) -> None:
    shard(tmp_path, pa.array([0, 1, label] * 3, pa.uint64()), ["a", "b"])
    refused(f"has label {label}, but its schema names 2 classes", hub, tmp_path)


@pytest.mark.parametrize("names", [3, [], "abc", {"x": 1}])
def test_names_that_are_no_list(tmp_path: Path, names: Any) -> None:
    """The numbers are names then."""
    shard(tmp_path, [4, 7] * 4, names)
    hub(tmp_path)
    about = json.loads((tmp_path / "results" / "subset" / "few" / "subset.json").read_text())
    assert about["classes"] == ["4", "7"]


def test_two_classes_of_one_name(tmp_path: Path) -> None:
    shard(tmp_path, [0, 1] * 4, ["a", "a"])
    refused("names a class twice", hub, tmp_path)


def test_one_column_for_classes_and_groups(tmp_path: Path) -> None:
    shard(tmp_path, ["a", "b"] * 4)
    hub(tmp_path, group="label")
    about = json.loads((tmp_path / "results" / "subset" / "few" / "subset.json").read_text())
    assert about["groups"] == ["a", "b"]


def test_billions_of_rows_in_some_kilobytes(tmp_path: Path) -> None:
    shard(tmp_path, [0])
    path = tmp_path / "data" / "hub" / "test-0.parquet"
    n = 10**6
    one = pa.DictionaryArray.from_arrays(pa.array([0] * n, pa.int8()), pa.array([b"x"]))
    pq.write_table(pa.table({"image": one, "label": pa.array([0] * n)}), path)
    assert path.stat().st_size < 10**4
    refused(r"it claims 1000000 images in \d+ bytes", hub, tmp_path)


def test_a_column_without_a_name(tmp_path: Path) -> None:
    shard(tmp_path, [0, 1] * 4)
    refused("has no column ''; it has image, label", hub, tmp_path, label="")


def folders(folder: Path, *names: str) -> None:
    for name in names:
        for i in range(5):
            put(folder / "data" / "set" / name / f"{i}.png", plain_picture())


SET = {"name": "image_folder", "options": {"path": "set"}}


def test_a_folder_of_two_lines_is_quoted_in_one(tmp_path: Path) -> None:
    folders(tmp_path, "train/a\nb", "test/c")
    refused(r"'a\\nb' is in one of them only", made_subset, tmp_path, source=SET)


def test_escape_codes_of_a_terminal_are_written_out(tmp_path: Path) -> None:
    folders(tmp_path, "train/\x1b[2J", "test/c")
    refused(r"'\\x1b\[2J' is in one of them only", made_subset, tmp_path, source=SET)


def test_a_folder_whose_name_is_no_text(tmp_path: Path) -> None:
    folders(tmp_path, "cat", "dog\udcff")
    refused(r"'dog\\udcff' is no text in UTF-8; rename it", made_subset, tmp_path, source=SET)


def test_images_that_no_memory_holds_are_noticed_by_a_check(tmp_path: Path) -> None:
    study = inputs(tmp_path)
    study["data"]["sets"]["few"]["size"] = 8 * 10**6
    good, bad = check_data(Plan(parse(study)), None)
    assert good == []
    assert "there is not enough memory" in bad[0]


# Checkpoints


@pytest.mark.parametrize("size", ["large", [8], {}])
def test_a_folder_of_kdpipe_whose_size_is_none(tmp_path: Path, size: Any) -> None:
    about = {"network": {"name": "mlp", "options": {}}, "classes": ["a"], "input": {"size": size}}
    (tmp_path / "model.json").write_text(json.dumps(about))
    refused("its model.json is not one of kdpipe", entry, "teacher", str(tmp_path), Told())


def test_a_state_dict_that_contains_itself(tmp_path: Path) -> None:
    state: dict[str, Any] = {"w": torch.ones(1)}
    state["model"] = state
    torch.save(state, tmp_path / "x.pt")
    refused("within each other without end", read_parts, tmp_path / "x.pt")


def test_a_header_of_thousands_of_letters_is_not_quoted_whole(tmp_path: Path) -> None:
    text = json.dumps({"w": "x" * 5000}).encode()
    (tmp_path / "x.safetensors").write_bytes(len(text).to_bytes(8, "little") + text)
    refused("cannot be read as safetensors", read_parts, tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    "odd",
    [
        lambda t: t.to_sparse(),
        lambda t: t.to(torch.complex64),
        lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8),
        lambda t: torch.empty(t.shape, device="meta"),
    ],
)
def test_tensors_without_plain_values(tmp_path: Path, odd: Any) -> None:
    torch.save({"w": odd(torch.ones(2, 2))}, tmp_path / "x.pt")
    body = torch.nn.Module()
    body.w = torch.nn.Parameter(torch.ones(2, 2))

    def read_and_loaded() -> None:
        found = Found("x.pt", read_parts(tmp_path / "x.pt"), [0.5] * 3, [0.2] * 3)
        load_into(body, found, {}, "the network")

    refused("'w' is no plain tensor|cannot be read", read_and_loaded)


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("std", torch.zeros(3)),
        ("std", torch.full((3,), float("nan"))),
        ("mean", torch.zeros(0)),
        ("mean", torch.zeros(2, 3)),
        ("std", torch.tensor([1.0, -1.0, 1.0])),
    ],
)
def test_a_normalisation_that_is_none(tmp_path: Path, name: str, tensor: Any) -> None:
    state = {f"body.{k}": v for k, v in good_state().items()}
    state |= {"mean": torch.full((3,), 0.5), "std": torch.full((3,), 0.2), name: tensor}
    save_file(state, tmp_path / "x.safetensors")
    cls = builders.get("mlp")
    builder = cls(cls.Options())
    refused(f"its '{name}' is no norm", find, Weights(path="x.safetensors"), builder, tmp_path)


def loaded(tmp_path: Path, state: dict[str, Any]) -> Any:
    torch.save(state, tmp_path / "x.pt")
    cls = builders.get("mlp")
    weights = Weights(path="x.pt", mean=[0.5] * 3, std=[0.2] * 3)
    found = find(weights, cls(cls.Options()), tmp_path)
    network = build(network_ref(), 3, found.mean, found.std, seed=0)
    load_into(network.body, found, {}, "the network")
    return network


def test_weights_so_large_that_logits_are_no_numbers(tmp_path: Path) -> None:
    state = {name: torch.full_like(tensor, 3e38) for name, tensor in good_state().items()}
    network = loaded(tmp_path, state)
    refused(
        "logits that are no numbers",
        check_outputs,
        network,
        ["a", "b", "c"],
        torch.zeros(2, 3, 8, 8),
        "models/x",
        None,
    )


def test_statistics_of_batches_that_are_no_numbers(tmp_path: Path) -> None:
    body = torch.nn.BatchNorm2d(2)
    state = body.state_dict()
    state["running_var"] = torch.full((2,), float("nan"))
    torch.save(state, tmp_path / "x.pt")
    cls = builders.get("mlp")
    weights = Weights(path="x.pt", mean=[0.5] * 3, std=[0.2] * 3)
    found = find(weights, cls(cls.Options()), tmp_path)
    refused("'running_var' holds NaN or infinite values", load_into, body, found, {}, "it")


def test_a_network_that_stops_giving_logits_ends_in_a_sentence():
    with pytest.raises(KdpipeError, match=r"^The network should give 3 logits .* \(27,\); .*\.$"):
        pick(torch.zeros(27), 3, 9)


def test_a_sparse_normalisation_is_none(tmp_path):
    with pytest.raises(KdpipeError, match="its 'mean' is no normalisation"):
        _channels(torch.ones(3).to_sparse(), "mean", tmp_path)


def test_a_list_of_very_long_names_is_cut():
    short = f"{'x' * 80}…{'x' * 80}"
    assert some_of(["x" * 2000] * 12) == ", ".join([short] * 9) + " and 3 more"
    assert some_of(["a", "b"]) == "a, b"


def test_half_a_character_in_a_study():
    raw = yaml.safe_load((REPOSITORY / "config.yaml").read_text())
    raw["probes"]["accuracy"]["domains"] = ["\ud83d"]
    with pytest.raises(KdpipeError, match=r"'.ud83d' is half a character; write"):
        parse(raw)
