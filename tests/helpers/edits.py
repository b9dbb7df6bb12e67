"""Edits of a workspace: of its study, and of the code of kdpipe in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from helpers.workspace import Workspace

Study = dict[str, Any]
MEASURED = {
    "pick_subset": 1,
    "train": 3,
    "teacher_outputs": 1,
    "distil": 4,
    "gate": 4,
    "calibrate": 1,
    "prepare": 2,
    "probe": 18,
}
"""Jobs of the tiny study, by rule, up to the measurements."""
ENDS = {"tables": 1, "figures": 1, "report": 1}
CODE = "\n\ndef added_by_a_test() -> int:\n    return 1\n"
KL = "pairs.answers.methods.kl"
# After a line of the class of the options of a probe.
NEW_OPTION = '    brand_new: int = Field(3, description="Of a test.")\n'


def setting(path: str, value: Any) -> Callable[[Workspace], None]:
    """Put ``value`` at ``key.key.…`` of the study."""

    def edit(workspace: Workspace) -> None:
        def change(study: Study) -> None:
            *above, last = path.split(".")
            place: Any = study
            for key in above:
                place = place[key]
            place[last] = value

        workspace.change_study(change)

    return edit


def appended(file: str, text: str) -> Callable[[Workspace], None]:
    """Add ``text`` at the end of a file of kdpipe, which may be new."""

    def edit(workspace: Workspace) -> None:
        with (workspace.path / "kdpipe" / file).open("a") as stream:
            stream.write(text)

    return edit


def replaced(file: str, old: str, new: str) -> Callable[[Workspace], None]:
    def edit(workspace: Workspace) -> None:
        path = workspace.path / "kdpipe" / file
        text = path.read_text()
        assert old in text, f"kdpipe/{file} no longer holds {old!r}"
        path.write_text(text.replace(old, new, 1))

    return edit


def moved(old: str, new: str) -> Callable[[Workspace], None]:
    """Give a module of kdpipe another name, wherever it is imported."""

    def edit(workspace: Workspace) -> None:
        folder = workspace.path / "kdpipe"
        (folder / f"{old}.py").rename(folder / f"{new}.py")
        before, after = (f"kdpipe.{name.replace('/', '.')} " for name in (old, new))
        for path in folder.rglob("*.py"):
            path.write_text(path.read_text().replace(before, after))

    return edit
