"""Conformance checks: what an objective, a probe, a source or a network of your own must satisfy.

Three lines in a test of your own make every contract a test with a name::

    @pytest.mark.parametrize("check", checks_of_probe("noise", {"deviations": [0.1]}))
    def test_noise(check):
        check()

``check_probe("noise")`` runs all of them and stops at the first broken one. A broken contract
raises :class:`ContractError`, an AssertionError that says what is wrong and what is asked. kdpipe
holds its own plug-ins to the same checks. One file a kind of plug-in; ``contracts`` has what the
kinds share, ``trial_images`` the images and networks that probes are tried on.

Imports ``base``, ``data``, ``models``, ``distill``, ``training`` and ``probes``; imported by none.
"""

from kdpipe.testing.contracts import Check, ContractError
from kdpipe.testing.network import check_network, checks_of_network
from kdpipe.testing.objective import check_objective, checks_of_objective
from kdpipe.testing.probe import check_probe, checks_of_probe
from kdpipe.testing.source import check_source, checks_of_source

__all__ = [
    "Check",
    "ContractError",
    "check_network",
    "check_objective",
    "check_probe",
    "check_source",
    "checks_of_network",
    "checks_of_objective",
    "checks_of_probe",
    "checks_of_source",
]
