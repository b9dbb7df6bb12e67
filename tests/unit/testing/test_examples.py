"""The examples in the docstrings of what plug-ins derive from run as they stand there."""

from __future__ import annotations

import doctest
import inspect

import pytest

from kdpipe.base.registry import Registry
from kdpipe.data.augment.base import Augmentation
from kdpipe.data.class_maps.base import ClassMap
from kdpipe.data.domains.base import Domain
from kdpipe.data.sources.base import Source
from kdpipe.distill.base import Objective
from kdpipe.figures.base import Figure
from kdpipe.models.base import Builder
from kdpipe.probes.base import Probe

BASES = (Objective, Probe, Source, Builder, Augmentation, Domain, ClassMap, Figure)


@pytest.mark.parametrize("base", BASES, ids=lambda base: base.__name__)
def test_the_example_of_a_base_class(base):
    module = inspect.getmodule(base)
    registries = [value for value in vars(module).values() if isinstance(value, Registry)]
    before = [set(registry._found) for registry in registries]
    names = set(vars(module))
    (example,) = doctest.DocTestFinder(recurse=False).find(base, base.__name__, module=module)
    assert len(example.examples) > 1
    example.globs = vars(module)  # where pickle looks for the class
    try:
        runner = doctest.DocTestRunner(verbose=False)
        said: list[str] = []
        runner.run(example, out=said.append, clear_globs=False)
        assert not runner.failures, "".join(said)
    finally:
        for name in set(vars(module)) - names:
            delattr(module, name)
        for registry, known in zip(registries, before, strict=True):
            for name in set(registry._found) - known:
                del registry._found[name]
