"""Image classifiers of timm, where it is installed."""

from __future__ import annotations

from typing import Any

from pydantic import Field
from torch import nn

from kdpipe.base.errors import KdpipeError, PassingError, first_line
from kdpipe.base.options import Options
from kdpipe.models.base import Builder, Layers, Published, builders, out_of_place
from kdpipe.models.shared.by_shape import describe

SIZE = 224


class TimmOptions(Options):
    arch: str = Field(description="A name that timm.create_model knows.")


@builders.register("timm")
class Timm(Builder):
    """timm's architectures, their layers found by shape; ``network: timm/NAME`` in a study."""

    Options = TimmOptions

    def body(self, n_classes: int) -> nn.Module:
        body = out_of_place(self._model(self.options.arch, num_classes=n_classes))
        if (about := _about(body)).get("fixed_input_size"):
            self.image_size = about["input_size"][-1]
        return body

    def layers(self, body: nn.Module) -> Layers:
        usual = _about(body).get("input_size", (3, SIZE, SIZE))[-1]
        return describe(body, self.image_size or self.side or usual)

    def published(self, name: str) -> Published:
        """Weights by their tag in timm, or ``default``; timm downloads and keeps them."""
        arch = self.options.arch
        tagged = arch if name == "default" else f"{arch.partition('.')[0]}.{name}"
        try:
            body = self._model(tagged, pretrained=True)
        except (OSError, RuntimeError, ValueError) as error:
            raise PassingError(
                f"weights: timm cannot get '{tagged}' ({first_line(error)}); see "
                f"timm.list_pretrained('{arch}*'), or run where there is a network."
            ) from None
        about = _about(body)
        return Published(f"timm {tagged}", dict(body.state_dict()), about["mean"], about["std"])

    def _model(self, arch: str, **arguments: Any) -> nn.Module:
        try:
            import timm
        except ImportError:
            raise KdpipeError(
                f"The network timm/{self.options.arch} needs the package timm, which is not "
                f"installed here; install it (pip install timm) or name another network."
            ) from None
        if not timm.is_model(arch):
            raise KdpipeError(f"timm has no model '{arch}'; see timm.list_models().")
        return timm.create_model(arch, **arguments)


def _about(body: Any) -> dict[str, Any]:
    return dict(getattr(body, "pretrained_cfg", None) or {})
