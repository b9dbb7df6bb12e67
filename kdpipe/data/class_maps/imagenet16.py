"""The 16 entry-level categories of Geirhos et al. as classes of ImageNet-1k."""

from __future__ import annotations

from kdpipe.base.errors import KdpipeError
from kdpipe.data.class_maps.base import ClassMap, class_maps
from kdpipe.data.imagenet_names import names, wordnet_ids

USUAL = 0.9
"""Share of the classes known by name that must have their ImageNet number."""

# First and last position of runs of ImageNet-1k classes in the usual order (sorted WordNet ids).
RUNS = {
    "airplane": [(404, 404)],
    "bear": [(294, 297)],
    "bicycle": [(444, 444), (671, 671)],
    "bird": [
        (8, 8),
        (10, 16),
        (18, 20),
        (22, 24),
        (80, 83),
        (87, 96),
        (98, 100),
        (127, 133),
        (135, 145),
    ],
    "boat": [(472, 472), (554, 554), (625, 625), (814, 814), (914, 914)],
    "bottle": [(440, 440), (720, 720), (737, 737), (898, 899), (901, 901), (907, 907)],
    "car": [(436, 436), (511, 511), (817, 817)],
    "cat": [(281, 286)],
    "chair": [(423, 423), (559, 559), (765, 765), (857, 857)],
    "clock": [(409, 409), (530, 530), (892, 892)],
    "dog": [
        (152, 191),
        (193, 203),
        (205, 226),
        (228, 241),
        (243, 250),
        (252, 257),
        (259, 259),
        (261, 263),
        (265, 268),
    ],
    "elephant": [(385, 386)],
    "keyboard": [(508, 508), (878, 878)],
    "knife": [(499, 499)],
    "oven": [(766, 766)],
    "truck": [
        (555, 555),
        (569, 569),
        (656, 656),
        (675, 675),
        (717, 717),
        (734, 734),
        (864, 864),
        (867, 867),
    ],
}


@class_maps.register("imagenet16")
class ImageNet16(ClassMap):
    """1000 → 16 classes (Geirhos et al. 2018, Sec. 2.3; 2019, Sec. 2.4).

    The positions of the members are those that the toolbox model-vs-human uses. 207 of the 1000
    classes belong to one of the 16; the others never decide.
    """

    def members(self, network_classes: list[str]) -> dict[str, list[int]]:
        place = _places(network_classes)
        if place is None:
            raise KdpipeError(
                f"Class map 'imagenet16' is for networks with the 1000 classes of ImageNet-1k, "
                f"but this one has {len(network_classes)}, {network_classes[0]} … "
                f"{network_classes[-1]}; use the map 'listed' for it."
            )
        return {
            name: [place[i] for first, last in runs for i in range(first, last + 1)]
            for name, runs in RUNS.items()
        }


def _places(classes: list[str]) -> list[int] | None:
    """Where a network has each of the 1000 classes, in the usual order of those.

    By their names or WordNet ids; a network that calls them otherwise has them in the usual order.
    None where it has other classes, or some that are known at places where they should not be.
    """
    if len(classes) != len(names()):
        return None
    found = wordnet_ids(classes)
    if set(found) == set(names()):
        return [found.index(wordnet_id) for wordnet_id in names()]
    known = [(i, k) for i, k in zip(found, names(), strict=True) if i is not None]
    # Lists of names that are in use have two cranes and two maillots.
    usual = sum(i == k for i, k in known) >= USUAL * len(known)
    return list(range(len(classes))) if usual else None
