"""A package with plug-ins, as pip would install it, for as long as a test runs."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from kdpipe.data.augment import augmentations
from kdpipe.data.class_maps import class_maps
from kdpipe.data.domains import domains
from kdpipe.data.sources import sources
from kdpipe.distill import objectives
from kdpipe.figures import figures
from kdpipe.models import builders
from kdpipe.plan import digest
from kdpipe.probes import probes

REGISTRIES = {
    f"kdpipe.{registry.kind}": registry
    for registry in (
        *(objectives, probes, sources, builders),
        *(domains, augmentations, class_maps, figures),
    )
}
"""By the group of entry points that adds to each."""


@contextmanager
def installed(
    site: Path, name: str, code: Mapping[str, str], groups: Mapping[str, Mapping[str, str]]
) -> Iterator[str]:
    """Package ``name`` in the folder ``site``, which is on the path meanwhile; yields the name.

    ``code``: text of each of its modules; ``groups``: its entry points, as in a pyproject.toml.
    """
    folder, info = site / name, site / f"{name}-0.1.dist-info"
    folder.mkdir(parents=True)
    info.mkdir()
    (folder / "__init__.py").touch()
    for module, text in code.items():
        (folder / f"{module}.py").write_text(text)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1\n")
    lines = []
    for group, entries in groups.items():
        lines += [f"[{group}]", *(f"{plug_in} = {module}" for plug_in, module in entries.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    sys.path.insert(0, str(site))
    forget_code()
    try:
        yield name
    finally:
        sys.path.remove(str(site))
        for module in [m for m in sys.modules if m.partition(".")[0] == name]:
            del sys.modules[module]
        for group, entries in groups.items():
            for plug_in in entries:
                REGISTRIES[group]._found.pop(plug_in, None)
        forget_code()


def forget_code() -> None:
    """Digests are kept for a process, in which code does not change elsewhere."""
    for function in vars(digest).values():
        if hasattr(function, "cache_clear"):
            function.cache_clear()
