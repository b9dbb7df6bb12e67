"""Plug-ins by name: built-in files, or entry points of an installed package.

A built-in plug-in called ``kl`` of the registry over ``kdpipe.distill`` lives in the file
``kdpipe/distill/kl.py``; it is imported only when a study names it. A package adds its own by
an entry point in the group ``kdpipe.<registry>`` whose value is the module that registers it.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Callable
from functools import cache
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from kdpipe.base.errors import KdpipeError

T = TypeVar("T")


class Registry(Generic[T]):
    """Classes of one kind, found by the name a study uses."""

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self.package = package
        self._found: dict[str, type[T]] = {}

    def register(self, name: str) -> Callable[[type[T]], type[T]]:
        """Class decorator: make the class known under ``name``."""

        def keep(cls: type[T]) -> type[T]:
            cls.name = name  # type: ignore[attr-defined]
            self._found[name] = cls
            return cls

        return keep

    def module_of(self, name: str) -> str:
        """The module that defines plug-in ``name``, without importing it.

        Raises KdpipeError, listing the known names, when there is none.
        """
        if name in self._builtin():
            return f"{self.package}.{name}"
        if name in self._offered():
            return self._offered()[name]
        if name in self._found:  # registered by a notebook or a test, in no file of a package
            return self._found[name].__module__
        raise KdpipeError(
            f"There is no {self.kind[:-1]} called '{name}'; known are: {', '.join(self.names())}."
        )

    def get(self, name: str) -> type[T]:
        """The class registered as ``name``; imports its module on first use.

        Raises KdpipeError where there is none, or where it lacks something that it imports.
        """
        if name not in self._found:
            try:
                importlib.import_module(self.module_of(name))
            except ImportError as error:
                raise KdpipeError(
                    f"The {self.kind[:-1]} '{name}' cannot be loaded ({error}); install what "
                    f"{self.module_of(name)} imports, or uninstall its package."
                ) from error
        if name not in self._found:
            raise KdpipeError(
                f"Module {self.module_of(name)} does not register a {self.kind[:-1]} "
                f"called '{name}'; name the plug-in like its file."
            )
        return self._found[name]

    def names(self) -> list[str]:
        """Every name that can be asked for, sorted."""
        return sorted(self._builtin() | set(self._offered()))

    def __contains__(self, name: str) -> bool:
        """Whether ``name`` can be asked for."""
        return name in self._found or name in self._builtin() or name in self._offered()

    def _offered(self) -> dict[str, str]:
        return _entry_points(f"kdpipe.{self.kind}", tuple(sys.path))

    def _builtin(self) -> set[str]:
        """Files of the package but ``base``; its folders hold what several plug-ins share."""
        package = importlib.import_module(self.package)
        modules = pkgutil.iter_modules(package.__path__)
        return {m.name for m in modules if not m.ispkg and m.name != "base"}


@cache
def _entry_points(group: str, path: tuple[str, ...]) -> dict[str, str]:
    """Modules that installed packages offer in ``group``, by name; ``path``: where they are."""
    return {entry.name: entry.module for entry in reversed(list(entry_points(group=group)))}
