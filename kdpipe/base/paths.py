"""Where every artefact of a study lies, relative to ``results/<study>/``."""

from __future__ import annotations

import hashlib
import os
import string
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import unquote

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from kdpipe.base.options import Options
from kdpipe.base.provenance import canonical

MODEL_FILES = ("model.safetensors", "model.json", "history.parquet")


# Names become folders: nothing that could leave the results folder is a name.
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=60)]


def _as_text(raw: Any) -> Any:
    """A number without quotes in a study file (a domain called 2017) is a name as well."""
    return str(raw) if isinstance(raw, int) and not isinstance(raw, bool) else raw


def _in_one_line(text: str) -> str:
    if text != text.strip() or not text.isprintable():
        raise ValueError(
            f"the name {text!r} has spaces at an end, or characters that cannot be printed"
        )
    return text


Label = Annotated[
    str,
    BeforeValidator(_as_text),
    StringConstraints(min_length=1, max_length=100),
    AfterValidator(_in_one_line),
]
"""What people call a class: any characters in one line."""


def _short(text: str) -> str:
    if len(folder_name(text)) > LONGEST_FOLDER:
        raise ValueError(f"the name '{text}' is too long for a folder; give a shorter one")
    return text


LONGEST_FOLDER = 150
Method = Annotated[Label, AfterValidator(_short)]
"""What people call a way of distilling; it becomes a folder through :func:`folder_name`."""


def folder_name(text: str) -> str:
    """``text`` as a name that every file system, shell and Snakemake take as it is: bytes other
    than letters, digits, ``_`` and ``-`` as ``~2B``."""
    return "".join(
        chr(b) if chr(b) in SAFE else f"~{b:02X}" for b in text.encode("utf-8", "surrogatepass")
    )


SAFE = frozenset(string.ascii_letters + string.digits + "_-")


def from_folder_name(name: str) -> str:
    """Inverse of :func:`folder_name`."""
    return unquote(name.replace("~", "%"))


class ModelRef(Options):
    """One training run of a model of the study: a teacher, a foreign attacker, an independent."""

    model: Name = Field(description="A model of the study (a key under models).")
    seed: int = Field(0, ge=0, description="Which training of it; trained if no other needs it.")

    @property
    def path(self) -> str:
        return f"models/{self.model}/seed{self.seed}"

    @property
    def called(self) -> str:
        """What a table calls it."""
        return self.model

    @property
    def members(self) -> list[NetworkRef]:
        """The networks that it stands for."""
        return [self]

    @property
    def short(self) -> str:
        return f"{self.model}-seed{self.seed}"


class StudentRef(Options):
    """One distilled network: a student of the study, or a teacher that was one."""

    pair: Name = Field(description="A pair of the study (a key under pairs).")
    method: Method = Field(description="One of its methods.")
    seed: int = Field(0, ge=0, description="Which student; distilled if no other needs it.")

    @property
    def path(self) -> str:
        return f"students/{self.pair}/{folder_name(self.method)}/seed{self.seed}"

    @property
    def called(self) -> str:
        """What a table calls it."""
        return f"{self.pair}/{self.method}"

    @property
    def members(self) -> list[NetworkRef]:
        """The networks that it stands for."""
        return [self]

    @property
    def short(self) -> str:
        return f"{self.pair}~{folder_name(self.method)}-seed{self.seed}"


NetworkRef = ModelRef | StudentRef


class MeanRef(Options):
    """Several networks as one teacher: the mean of their probabilities."""

    networks: list[ModelRef | StudentRef] = Field(
        min_length=1, description="The networks; one that is named twice counts twice."
    )

    @property
    def seed(self) -> int:
        """What stands for a seed in tables: there is one such teacher."""
        return 0

    @property
    def called(self) -> str:
        """What a table calls it."""
        return "mean of " + ", ".join(f"{ref.called} {ref.seed}" for ref in self.networks)

    @property
    def members(self) -> list[NetworkRef]:
        """The networks that it stands for."""
        return list(self.networks)

    @property
    def short(self) -> str:
        named = canonical([ref.model_dump() for ref in self.networks])
        return f"~{len(self.networks)}-{hashlib.sha256(named.encode()).hexdigest()[:12]}"

    @property
    def path(self) -> str:
        """Under which its measurements lie; it has no files of its own."""
        return f"means/{self.short[1:]}/seed0"


TeacherRef = ModelRef | StudentRef | MeanRef


def weights_of(ref: TeacherRef, root: Path, role: str) -> dict[str, Path]:
    """Files of a network's weights, by the role that the network plays in a job."""
    files = [root / one.path / "model.safetensors" for one in ref.members]
    return {role: files[0]} if len(files) == 1 else {
        f"{role} {k}": file for k, file in enumerate(files)
    }  # fmt: skip


def expanded(path: str | Path) -> Path:
    """``path`` with ``~`` and variables of the environment (``$HOME``) written out."""
    return Path(os.path.expandvars(os.path.expanduser(path)))


def subset_dir(name: str) -> str:
    return f"subset/{name}"


def teacher_outputs_file(pair: str) -> str:
    return f"teacher_outputs/{pair}.safetensors"


def calibration_file(network: TeacherRef, instance: str) -> str:
    return f"probes/{network.path}/calibration/{instance}.json"


def prepared_file(network: TeacherRef, instance: str, set_name: str, domains: list[str]) -> str:
    """What a probe needs of one teacher or attacker on the images of these domains.

    Where a study leaves set or domains to the student, one teacher may have several such files.
    """
    images = hashlib.sha256(canonical([set_name, domains]).encode()).hexdigest()
    return f"probes/{network.path}/prepared/{instance}-{images[:8]}.safetensors"


def gate_dir(network: NetworkRef) -> str:
    """Folder of what the gate found in all networks of a model, or of a method of a pair."""
    return f"gate/{network.path.rpartition('/')[0]}"


def gate_file(network: NetworkRef) -> str:
    return f"gate/{network.path}.json"


def probe_dir(network: TeacherRef, reference: TeacherRef | None, family: str) -> str:
    """Folder of one probe job: a network, the teacher it is compared with (or none), a family."""
    against = "unary" if reference is None else f"vs-{reference.short}"
    return f"probes/{network.path}/{against}/{family}"


def parse_network(path: str) -> NetworkRef:
    """Inverse of ``NetworkRef.path``."""
    kind, *rest = path.split("/")
    seed = int(rest[-1].removeprefix("seed"))
    if kind == "models":
        return ModelRef(model=rest[0], seed=seed)
    return StudentRef(pair=rest[0], method=from_folder_name(rest[1]), seed=seed)


TableName = Literal["measurements", "transfer", "controls", "paper", "left_out", "power", "classes"]
