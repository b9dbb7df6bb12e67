"""One planned call of one stage: what it makes, from what, with which settings and code."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from kdpipe.base.options import Options
from kdpipe.base.provenance import in_order
from kdpipe.plan.digest import code_digest


@dataclass(frozen=True)
class Job:
    """One call of one stage. Paths are relative to ``results/<study>/``."""

    stage: str
    target: str
    settings: Options
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    plugins: tuple[str, ...]
    """Modules of the plug-ins that the settings name."""
    after: tuple[str, ...] = ()
    """Files that must exist first without being inputs: newer ones trigger no rerun."""

    @cached_property
    def settings_json(self) -> str:
        """The settings as one line of JSON: what the job receives and what is compared.

        Options have the order of their models, however a study writes them. Mappings keep the order
        of the study, because it can matter: it numbers the classes.
        """
        return in_order(self.settings.model_dump(mode="json"))

    @property
    def modules(self) -> tuple[str, ...]:
        """The modules whose import closure is the code of this job."""
        return (f"kdpipe.stages.{self.stage}", *self.plugins)

    @property
    def code(self) -> str:
        """Digest of the code this job runs."""
        return code_digest(self.modules)
