"""Class maps: how a network with other classes decides on a data set."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Literal

from pydantic import Field

from kdpipe.base.errors import KdpipeError
from kdpipe.base.options import Options
from kdpipe.data.class_maps import class_maps as class_maps


class ClassMapOptions(Options):
    reduce: Literal["mean", "sum"] = Field(
        "mean",
        description="Over the probabilities of the network's classes that make up a class of the "
        "set: mean as in model-vs-human, or sum, which favours classes of many members.",
    )


class ClassMap(ABC):
    """Maps each class of a data set to several classes of a network.

    >>> @class_maps.register("initials")
    ... class Initials(ClassMap):
    ...     "Classes of the network by their first letter."
    ...     def members(self, network_classes):
    ...         found = {}
    ...         for position, name in enumerate(network_classes):
    ...             found.setdefault(name[0], []).append(position)
    ...         return found
    >>> Initials(ClassMapOptions()).rows(["b", "a"], ["ant", "bee", "ape"])
    [[1], [0, 2]]
    """

    name: str
    Options: type[ClassMapOptions] = ClassMapOptions

    def __init__(self, options: Any) -> None:
        self.options = options

    @abstractmethod
    def members(self, network_classes: list[str]) -> dict[str, list[int]]:
        """Class of the set → positions among the network's classes.

        Raises KdpipeError when the network's classes are not those that the map is made for.
        """

    def rows(self, set_classes: list[str], network_classes: list[str]) -> list[list[int]]:
        """Positions of the members of each of ``set_classes``, in that order."""
        known = self.members(network_classes)
        missing = [name for name in set_classes if not known.get(name)]
        if missing:
            raise KdpipeError(
                f"Class map '{self.name}' says nothing of the class '{missing[0]}' of the data "
                f"set; it knows {', '.join(known)}."
            )
        return [known[name] for name in set_classes]
