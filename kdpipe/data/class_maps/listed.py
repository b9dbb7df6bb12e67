"""A class map written in the study: class of the set, and the network's classes it covers."""

from __future__ import annotations

from pydantic import Field

from kdpipe.base.errors import KdpipeError
from kdpipe.data.class_maps.base import ClassMap, ClassMapOptions, class_maps


class ListedOptions(ClassMapOptions):
    classes: dict[str, list[str | int]] = Field(
        min_length=1,
        description="Class of the set to classes of the network, by name or position from 0.",
    )


@class_maps.register("listed")
class Listed(ClassMap):
    """Classes of the set as the study lists them; classes that are not listed never decide."""

    Options = ListedOptions

    def members(self, network_classes: list[str]) -> dict[str, list[int]]:
        position = {name: i for i, name in enumerate(network_classes)}
        found: dict[str, list[int]] = {}
        owner: dict[int, str] = {}
        for name, wanted in self.options.classes.items():
            found[name] = []
            for entry in wanted:
                i = entry if isinstance(entry, int) else position.get(entry, -1)
                if isinstance(entry, str) and network_classes.count(entry) > 1:
                    raise KdpipeError(
                        f"Class map 'listed': the network has two classes '{entry}'; say by its "
                        f"position, counted from 0, which of them belongs to '{name}'."
                    )
                if not 0 <= i < len(network_classes):
                    raise KdpipeError(
                        f"Class map 'listed': the network has no class {entry!r} for '{name}'; it "
                        f"has {len(network_classes)} classes, {network_classes[0]} … "
                        f"{network_classes[-1]}."
                    )
                if owner.setdefault(i, name) != name or i in found[name]:
                    raise KdpipeError(
                        f"Class map 'listed': class {entry!r} of the network is listed twice, "
                        f"under '{owner[i]}' and '{name}'."
                    )
                found[name].append(i)
        return found
