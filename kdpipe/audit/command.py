"""``kdpipe audit``: what does a student share with its teacher that others do not?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from kdpipe.audit.compose import Wanted

from kdpipe.base.errors import KdpipeError

NETWORKS, IMAGES, GATE, RUN = "Networks", "Images and properties", "As a gate", "Running"


def _option(text: str, panel: str, *names: str) -> Any:
    return typer.Option(*names, help=text, rich_help_panel=panel)


NORMALISE = (
    "How its images are normalised: imagenet, cifar10, cifar100, mnist, half, none, or means and "
    "deviations as 0.5,0.5,0.5/0.2,0.2,0.2."
)
SIZE = "Pixels of a side that it was trained on; images are brought to it."
CLASSES = (
    "What its outputs stand for, in their order: a file of one name a line, names with commas, "
    "imagenet, or the classes of the data sorted as numbers (2 before 10) or as text; without it "
    "those in the order of the data."
)


BGR = "Channels in the order blue, green, red, as OpenCV reads them."
ENTRY = (
    "Where its tensors lie in the checkpoint, where several fit: a key or a prefix, with dots, as "
    "model.student."
)
KEY_MAP = (
    "PATTERN=REPLACEMENT, a regular expression in the names of tensors and what takes its place; a "
    "PATTERN alone leaves tensors out. Several are applied in turn."
)
EXPECT = (
    "Share of the images that it is known to have right, as 0.76: one that is clearly below ends "
    "the audit before anything is measured."
)


def audit(
    student: Annotated[
        list[str],
        _option(
            "As --teacher; METHOD=… names how it was distilled. Several are welcome.", NETWORKS
        ),
    ],
    data: Annotated[
        Path,
        _option("A folder of images (CLASS/NAME.jpg), of Parquet files, or one of those.", IMAGES),
    ],
    teacher: Annotated[
        str | None,
        _option(
            "A folder of transformers (Hugging Face), timm or kdpipe; NETWORK@CHECKPOINT, as "
            "torchvision/resnet18@best.pth or package.module:factory,width=2@best.pth; "
            "package.module:factory, where it gives a network with its weights; a checkpoint of "
            "timm's train.py; or a TorchScript or torch.export file.",
            NETWORKS,
        ),
    ] = None,
    candidate: Annotated[
        list[str] | None,
        _option(
            "In place of --teacher: a network that may have taught the student. Give two or more, "
            "and the audit says which one did, or that none stands out. Options of --teacher-… are "
            "about them.",
            NETWORKS,
        ),
    ] = None,
    baseline: Annotated[
        list[str] | None,
        _option(
            "A student that had no teacher, as --teacher. Without one, nothing can be said of what "
            "was inherited; three or more show how far such students are apart.",
            NETWORKS,
        ),
    ] = None,
    normalise: Annotated[str | None, _option("Of all networks. " + NORMALISE, NETWORKS)] = None,
    teacher_normalise: Annotated[str | None, _option("Of the teacher.", NETWORKS)] = None,
    student_normalise: Annotated[str | None, _option("Of the students.", NETWORKS)] = None,
    baseline_normalise: Annotated[str | None, _option("Of the baselines.", NETWORKS)] = None,
    teacher_size: Annotated[int | None, _option("Teacher. " + SIZE, NETWORKS)] = None,
    student_size: Annotated[int | None, _option("Students.", NETWORKS)] = None,
    baseline_size: Annotated[int | None, _option("Baselines.", NETWORKS)] = None,
    classes: Annotated[str | None, _option("Of all networks. " + CLASSES, NETWORKS)] = None,
    teacher_classes: Annotated[str | None, _option("Of the teacher.", NETWORKS)] = None,
    student_classes: Annotated[str | None, _option("Of the students.", NETWORKS)] = None,
    baseline_classes: Annotated[str | None, _option("Of the baselines.", NETWORKS)] = None,
    class_map: Annotated[
        Path | None,
        _option(
            "A YAML file of class of the data: [classes of a network], where names differ.",
            NETWORKS,
        ),
    ] = None,
    bgr: Annotated[bool, _option("All networks. " + BGR, NETWORKS, "--bgr")] = False,
    teacher_bgr: Annotated[bool, _option("The teacher.", NETWORKS, "--teacher-bgr")] = False,
    student_bgr: Annotated[bool, _option("The students.", NETWORKS, "--student-bgr")] = False,
    baseline_bgr: Annotated[bool, _option("The baselines.", NETWORKS, "--baseline-bgr")] = False,
    expect_accuracy: Annotated[float | None, _option("Each network. " + EXPECT, NETWORKS)] = None,
    teacher_expect_accuracy: Annotated[float | None, _option("The teacher.", NETWORKS)] = None,
    student_expect_accuracy: Annotated[float | None, _option("The students.", NETWORKS)] = None,
    baseline_expect_accuracy: Annotated[float | None, _option("The baselines.", NETWORKS)] = None,
    entry: Annotated[str | None, _option("Each network. " + ENTRY, NETWORKS)] = None,
    teacher_entry: Annotated[str | None, _option("The teacher.", NETWORKS)] = None,
    student_entry: Annotated[str | None, _option("The students.", NETWORKS)] = None,
    baseline_entry: Annotated[str | None, _option("The baselines.", NETWORKS)] = None,
    key_map: Annotated[list[str] | None, _option("All networks. " + KEY_MAP, NETWORKS)] = None,
    teacher_key_map: Annotated[list[str] | None, _option("The teacher.", NETWORKS)] = None,
    student_key_map: Annotated[list[str] | None, _option("The students.", NETWORKS)] = None,
    baseline_key_map: Annotated[list[str] | None, _option("The baselines.", NETWORKS)] = None,
    ema: Annotated[
        bool | None,
        _option("Which weights of a checkpoint that holds averaged ones as well.", NETWORKS),
    ] = None,
    trust_code: Annotated[
        bool,
        _option(
            "Load networks that are code: TorchScript, torch.export, factories. It runs with all "
            "that you may do.",
            NETWORKS,
            "--trust-code",
        ),
    ] = False,
    size: Annotated[
        int | None, _option("Pixels of a side that images are brought to.", IMAGES)
    ] = None,
    fit: Annotated[
        Literal["crop", "stretch"] | None,
        _option(
            "How an image becomes a square: its middle, or all of it, stretched; without it as the "
            "networks' files say, else crop.",
            IMAGES,
        ),
    ] = None,
    resize: Annotated[
        int | None,
        _option(
            "Pixels that the shorter side is brought to before the middle of --size is cut out, as "
            "256 for --size 224.",
            IMAGES,
        ),
    ] = None,
    unseen: Annotated[
        Path | None,
        _option("Images of a domain that the student never saw, as --data: consensus.", IMAGES),
    ] = None,
    image_column: Annotated[str, _option("Of Parquet files.", IMAGES)] = "image",
    label_column: Annotated[str, _option("Of Parquet files.", IMAGES)] = "label",
    group: Annotated[
        str | None, _option("Column of Parquet files: accuracy by group.", IMAGES)
    ] = None,
    probes: Annotated[str, _option("Only these properties, with commas.", IMAGES)] = "",
    without: Annotated[str, _option("All but these properties, with commas.", IMAGES)] = "",
    limit: Annotated[int | None, _option("Images per property, at most.", IMAGES)] = None,
    expect: Annotated[
        list[str] | None,
        _option(
            "PROBE[.METRIC]<=NUMBER (or >=, <, >) of the student, as flips.negative_flips<=0.02; "
            "may be repeated. Exit code 0: all are met; 1: one is not; 2: it cannot be told.",
            GATE,
        ),
    ] = None,
    junit: Annotated[
        Path | None, _option("Write the expectations as JUnit XML to this file.", GATE)
    ] = None,
    summary: Annotated[
        Path | None,
        _option("Add a summary in Markdown to this file, as to $GITHUB_STEP_SUMMARY.", GATE),
    ] = None,
    name: Annotated[
        str | None,
        _option(
            "Of the folder of results; without it audit, or audit2, … while another runs.", RUN
        ),
    ] = None,
    results: Annotated[Path, _option("Where results/<name> goes.", RUN)] = Path("results"),
    study_file: Annotated[
        Path | None, _option("Write the audit as a study file and run nothing.", RUN)
    ] = None,
    device: Annotated[Literal["auto", "cpu", "cuda"], _option("Where it runs.", RUN)] = "auto",
    threads: Annotated[int, _option("Threads of torch.", RUN)] = 1,
    latency: Annotated[
        bool,
        _option(
            "Time each network on the CPU, one image at a time, for report and cards.",
            RUN,
            "--latency",
        ),
    ] = False,
) -> None:
    """Measure what a student shares with its teacher; nothing is trained.

    The networks are there already. Every property is measured on all of them, and the report says
    what the student shares with its teacher beyond what the baselines share.
    """
    from kdpipe.audit import perform
    from kdpipe.audit.compose import Wanted, compose
    from kdpipe.audit.images import Columns, Square
    from kdpipe.audit.networks import Told
    from kdpipe.audit.options import in_options
    from kdpipe.audit.wishes import wishes

    own: dict[str, dict[str, Any]] = {
        "teacher": {
            "normalise": teacher_normalise or normalise,
            "size": teacher_size,
            "classes": teacher_classes or classes,
            "bgr": teacher_bgr or bgr,
            "entry": teacher_entry or entry,
            "key_map": teacher_key_map or key_map or (),
            "expect_accuracy": teacher_expect_accuracy or expect_accuracy,
        },
        "student": {
            "normalise": student_normalise or normalise,
            "size": student_size,
            "classes": student_classes or classes,
            "bgr": student_bgr or bgr,
            "entry": student_entry or entry,
            "key_map": student_key_map or key_map or (),
            "expect_accuracy": student_expect_accuracy or expect_accuracy,
        },
        "baseline": {
            "normalise": baseline_normalise or normalise,
            "size": baseline_size,
            "classes": baseline_classes or classes,
            "bgr": baseline_bgr or bgr,
            "entry": baseline_entry or entry,
            "key_map": baseline_key_map or key_map or (),
            "expect_accuracy": baseline_expect_accuracy or expect_accuracy,
        },
    }
    with in_options():
        if (teacher is None) == (not candidate):
            raise KdpipeError(
                "--teacher is the network that taught the student, and --candidate, twice or more, "
                "one that may have; give one of the two options."
            )
        wanted = Wanted(
            teacher=teacher or "",
            students=student,
            baselines=baseline or [],
            data=data,
            told={role: Told(**how, ema=ema, trust_code=trust_code) for role, how in own.items()},
            name=name or perform.NAME,
            columns=Columns(image_column, label_column, group),
            unseen=unseen,
            square=Square(size, fit, resize),
            probes=_words(probes),
            without=_words(without),
            limit=limit,
            class_map=_class_map(class_map),
            compute={"device": device, "threads": threads},
        )
        if candidate:
            _refuse_with_candidates(
                {
                    "--unseen": unseen,
                    "--group": group,
                    "--probes": probes,
                    "--without": without,
                    "--expect": expect,
                    "--junit": junit,
                    "--summary": summary,
                    "--study-file": study_file,
                    "--latency": latency,
                }
            )
            _find(wanted, candidate, results, name)
            return
        study, left_out = compose(wanted)
        expected = wishes(expect or [], list(study["probes"]), left_out, junit, summary)
        if expect:
            study["expect"] = list(expect)
        if study_file is not None:
            if junit or summary:
                raise KdpipeError(
                    "--junit and --summary are of an audit that runs, and --study-file writes a "
                    "study and runs nothing; run that, then give them to 'kdpipe verdict'."
                )
            perform.write(study, study_file)
            return
        names = perform.folders(name, perform.NAME)
        if code := perform.run(study, left_out, results, names, expected, timed=latency):
            raise typer.Exit(code)


def _refuse_with_candidates(given: dict[str, Any]) -> None:
    if refused := [option for option, value in given.items() if value]:
        raise KdpipeError(
            f"{refused[0]} is about properties that a student shares with a teacher that is known, "
            f"and --candidate looks for the teacher; leave one of them out."
        )


def _find(wanted: Wanted, candidates: Sequence[str], results: Path, name: str | None) -> None:
    from kdpipe.audit.candidates import NAME, find, sought
    from kdpipe.audit.perform import folders

    names = folders(name, NAME)
    code = find(sought(wanted, candidates), results, names, wanted.limit)
    if code:
        raise typer.Exit(code)


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _class_map(path: Path | None) -> dict[str, Any] | None:
    if path is None:
        return None
    from kdpipe.study.includes import read_yaml

    found = read_yaml(path)
    if not isinstance(found, dict) or not all(isinstance(v, list) for v in found.values()):
        raise KdpipeError(f"{path}: a class map has lines such as 'car: [automobile, taxi]'.")
    return {str(key): value for key, value in found.items()}
