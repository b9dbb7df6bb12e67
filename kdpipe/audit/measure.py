"""``kdpipe.measure``: an audit of modules in memory, on the images of a DataLoader."""

from __future__ import annotations

import contextlib
import io
import random
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import nn

from kdpipe.audit.compose import METHOD, Wanted, compose
from kdpipe.audit.held import holding, word
from kdpipe.audit.images import Square
from kdpipe.audit.loaded import Images, class_names
from kdpipe.audit.measured import Measured
from kdpipe.audit.networks import Told, normalisation
from kdpipe.audit.options import in_options
from kdpipe.audit.outputs import outputs
from kdpipe.base.errors import KdpipeError, StoppedError
from kdpipe.plan.plan import Plan
from kdpipe.run.inprocess import run_all
from kdpipe.run.lock import hold_run
from kdpipe.study.schema import parse

STUDY = "measured"
"""Name of the study, and of its folder."""
Networks = nn.Module | Sequence[nn.Module]
Scaling = str | tuple[Any, Any]
ROLES = ("teacher", "student", "baseline")
NO_NAME = "=@/:,"
"""Letters that no method may be called with, because the command line cannot."""
# What the command line calls an option, and what it is here.
ARGUMENTS = (
    (r"--data\b", "loader"),
    (r"--(?:(?:teacher|student|baseline)-)?size\b", "the size of the loader's images"),
    (
        r"--(?:(?:teacher|student|baseline)-)?(normalise|classes|probes|without|limit|device|"
        r"expect)\b",
        r"\1=",
    ),
    (r"--(teacher|student|baseline)\b(?!-)", r"the \1"),
)


@dataclass(frozen=True)
class Member:
    """One of the networks. ``name``: as the caller has it, ``method``: of a student."""

    role: str
    name: str
    module: nn.Module
    method: str = ""

    @property
    def words(self) -> str:
        """For messages."""
        return self.role + (f" '{self.name}'" if self.name != self.role else "")


def measure(
    teacher: nn.Module,
    student: Networks | Mapping[str, Networks],
    baseline: Networks | Mapping[str, nn.Module] | None = None,
    *,
    loader: Any,
    probes: Sequence[str] = (),
    without: Sequence[str] = (),
    normalise: Scaling | Mapping[str, Scaling] | None = None,
    normalised: Scaling | None = None,
    classes: Sequence[str] | None = None,
    limit: int | None = None,
    expect: Sequence[str] = (),
    device: Literal["auto", "cpu", "cuda"] = "auto",
    threads: int = 1,
    out: str | Path | None = None,
    verbose: bool = False,
) -> Measured:
    """Measure what a student shares with its teacher that a baseline does not share.

    The same as ``kdpipe audit``, for modules in memory: the same properties, numbers and verdicts.
    Nothing is trained. The modules are copied and keep their mode, device, hooks and gradients;
    threads and random streams of this process are left as they were.

    ``teacher``: maps images (n, channels, side, side) to logits (n, classes), as all networks do.
    ``student``: a distilled network; several as a list (seeds of one method) or as a dict from the
    name of a method to its networks. ``baseline``: a student that had no teacher; several as a
    list or a dict by name. Without one, nothing can be said of what was inherited.

    ``loader``: a DataLoader of batches (images, labels), or two arrays or tensors, images
    (n, channels, side, side) and labels (n,), whole numbers from 0. It is gone through once;
    images are kept with 8 bits a channel, as in a file. ``normalised``: how its transform has
    normalised them: a name (``imagenet``, ``cifar10``, ``cifar100``, ``mnist``, ``half``,
    ``none``), or means and deviations of the channels, of images in [0, 1]. ``normalise``, in its
    place, for images in [0, 1] or of bytes: how the networks want them normalised; a dict gives
    ``teacher``, ``student`` and ``baseline`` their own. ``classes``: names of the outputs, in
    their order; without it those of the loader's data set, or numbers.

    ``probes``, ``without``: only these properties, or all but these. ``limit``: images for each
    property, at most. ``expect``: expectations such as ``flips.negative_flips<=0.02``, which
    ``expectations`` and ``exit_code`` of the result judge. ``device``: ``auto`` is a GPU where
    there is one. ``threads``: of torch; they are part of the numbers. ``out``: a folder for all
    results, temporary without it. ``verbose``: print the progress.

    Raises KdpipeError, in one sentence, for networks or images that cannot be measured.
    """
    members = _members(teacher, student, baseline)
    told, scale = _scales(normalise, normalised)
    for option, names in (("probes", probes), ("without", without), ("expect", expect)):
        if isinstance(names, str):
            raise KdpipeError(f"{option} is a list; write {option}=['{names}'].")
    with ExitStack() as until_done, _in_arguments(), _as_it_was():
        if not verbose:
            until_done.enter_context(contextlib.redirect_stdout(io.StringIO()))
        images = Images(loader, scale)
        found = {m.words: outputs(m.words, m.module, images.first, told[m.role]) for m in members}
        names = _names(classes, loader, found)
        base = Path(tempfile.mkdtemp(prefix="kdpipe-")) if out is None else Path(out)
        with ExitStack() as if_failed:
            if out is None:
                if_failed.callback(shutil.rmtree, base, ignore_errors=True)
            root = until_done.enter_context(hold_run(base / STUDY))
            shutil.rmtree(root / "images", ignore_errors=True)
            images.write(root / "images", names)
            wanted = Wanted(
                **_words(members, images.side),
                data=root / "images",
                told=_told(told, names, root / "images"),
                name=STUDY,
                square=Square(images.side),
                probes=probes,
                without=without,
                limit=limit,
                compute={"device": device, "threads": threads},
            )
            until_done.enter_context(holding({key: m.module for key, m in _keyed(members)}))
            study, left_out = compose(wanted)
            if expect:
                study["expect"] = list(expect)
            plan = Plan(parse(study, "The measurement"))
            run_all(plan, base)
            if_failed.pop_all()
    by_key = dict(_keyed(members))
    networks = {
        f"models/{name}/seed0": by_key[about["network"]["key"]].name
        for name, about in study["models"].items()
    }
    return Measured(plan, root, left_out, networks, temporary=out is None)


def _members(teacher: Any, student: Any, baseline: Any) -> list[Member]:
    """Every network once: the teacher, then students by method, then baselines."""
    members = [Member("teacher", "teacher", teacher)]
    for method, given in (student if isinstance(student, Mapping) else {METHOD: student}).items():
        if not isinstance(method, str) or not method.strip() or set(method) & set(NO_NAME):
            raise KdpipeError(
                f"student: '{method}' is no name of a method; take words without {NO_NAME}."
            )
        modules = _listed("student", given)
        for k, module in enumerate(modules, 1):
            plain = method if method != METHOD else "student"
            name = plain if len(modules) == 1 else f"{plain} {k}"
            members.append(Member("student", name, module, method.strip()))
    if isinstance(baseline, Mapping):
        members += [Member("baseline", str(name), module) for name, module in baseline.items()]
    elif baseline is not None:
        modules = _listed("baseline", baseline)
        names = (
            ["baseline"]
            if len(modules) == 1
            else [f"baseline {k + 1}" for k in range(len(modules))]
        )
        members += [Member("baseline", n, m) for n, m in zip(names, modules, strict=True)]
    seen: dict[int, Member] = {}
    for member in members:
        if not isinstance(member.module, nn.Module):
            raise KdpipeError(
                f"{member.words} is a {type(member.module).__name__}; give a torch.nn.Module."
            )
        if member.role != "teacher" and id(member.module) in seen:
            other = seen[id(member.module)].words
            raise KdpipeError(
                f"{member.words} is the same module as {other}; it would count as two networks."
            )
        if member.role != "teacher":
            seen[id(member.module)] = member
    return members


def _listed(role: str, given: Any) -> list[Any]:
    modules = list(given) if isinstance(given, list | tuple) else [given]
    if not modules:
        raise KdpipeError(f"{role} is an empty list; give a network, or leave it out.")
    return modules


def _keyed(members: Sequence[Member]) -> list[tuple[str, Member]]:
    """The members by the word that stands for them in the study."""
    return [(f"network{k}", member) for k, member in enumerate(members)]


def _words(members: Sequence[Member], side: int) -> dict[str, Any]:
    """The networks as the command line would name them."""
    by_role: dict[str, list[str]] = {role: [] for role in ROLES}
    for key, member in _keyed(members):
        named = f"{member.method}=" if member.method not in ("", METHOD) else ""
        by_role[member.role].append(named + word(key, side))
    return {
        "teacher": by_role["teacher"][0],
        "students": by_role["student"],
        "baselines": by_role["baseline"],
    }


def _told(scales: Mapping[str, str], names: Sequence[str], folder: Path) -> dict[str, Told]:
    """What is known of the networks of each role."""
    listed = folder / "classes.txt"  # a file, because a name may have a comma
    listed.write_text("\n".join(names) + "\n", encoding="utf-8")
    return {role: Told(normalise=scales[role], classes=str(listed)) for role in ROLES}


def _scales(normalise: Any, normalised: Any) -> tuple[dict[str, str], Any]:
    """How each role wants its images normalised, in the words of the command line, and how those
    of the loader are: mean and deviation, or None."""
    if (normalise is None) == (normalised is None):
        raise KdpipeError(
            "Give one of normalised= (how the loader's transform has normalised the images) and "
            "normalise= (how the networks want images in [0, 1] normalised; 'none' if they do it "
            "themselves)."
        )
    if normalised is not None:
        return dict.fromkeys(ROLES, _scale(normalised)), normalisation(_scale(normalised))
    if not isinstance(normalise, Mapping):
        return dict.fromkeys(ROLES, _scale(normalise)), None
    if odd := set(normalise) ^ set(ROLES):
        raise KdpipeError(f"normalise: a dict has the keys {', '.join(ROLES)}, not '{min(odd)}'.")
    return {role: _scale(normalise[role]) for role in ROLES}, None


def _scale(given: Any) -> str:
    """``0.5,0.5,0.5/0.2,0.2,0.2`` for means and deviations; a name as it is."""
    if isinstance(given, str):
        return given
    try:
        parts = [[float(value) for value in np.atleast_1d(np.asarray(part))] for part in given]
    except (TypeError, ValueError):
        parts = []
    if len(parts) != 2:
        raise KdpipeError(
            f"'{given}' is no normalisation; give a name, or (mean, std) of the channels."
        )
    return "/".join(",".join(map(repr, part)) for part in parts)


def _names(given: Sequence[str] | None, loader: Any, found: Mapping[str, int]) -> list[str]:
    """Names of the classes. ``found``: outputs of each network."""
    (first, n), *others = found.items()
    for name, own in others:
        if own != n:
            raise KdpipeError(
                f"{first} has {n} outputs and {name} has {own}; for networks of different classes "
                f"use 'kdpipe audit', which is told the classes of each."
            )
    if given is not None:
        if len(given) != n:
            raise KdpipeError(
                f"classes: there are {len(given)} names, but the networks have {n} outputs."
            )
        return class_names(given)
    data = getattr(loader, "dataset", None)
    while data is not None and not hasattr(data, "classes"):
        data = getattr(data, "dataset", None)  # a part of another data set
    known = getattr(data, "classes", None)
    usable = isinstance(known, list | tuple) and len(known) == n
    return class_names(list(known)) if usable and known else [str(k) for k in range(n)]


@contextmanager
def _in_arguments() -> Iterator[None]:
    """Let a KdpipeError that is raised inside speak of arguments, not of options."""
    try:
        with in_options():
            yield
    except StoppedError:
        raise
    except KdpipeError as error:
        text = str(error)
        for option, argument in ARGUMENTS:
            text = re.sub(option, argument, text)
        raise type(error)(text) from None


@contextmanager
def _as_it_was() -> Iterator[None]:
    """Give the process its threads, random streams and settings of torch back."""
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    warns = torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark = torch.backends.cudnn.benchmark
    of_python, of_numpy = random.getstate(), np.random.get_state()
    try:
        with threadpool_limits(None), torch.random.fork_rng():
            yield
    finally:
        torch.set_num_threads(threads)
        if torch.are_deterministic_algorithms_enabled() != deterministic:
            torch.use_deterministic_algorithms(deterministic, warn_only=warns)
        torch.backends.cudnn.benchmark = benchmark
        random.setstate(of_python)
        np.random.set_state(of_numpy)
