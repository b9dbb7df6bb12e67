"""Image classifiers of timm, where it is installed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field
from torch import nn

from kdpipe.base.errors import KdpipeError, PassingError, first_line
from kdpipe.base.options import Options
from kdpipe.models.base import Builder, Layers, Published, builders, out_of_place
from kdpipe.models.shared.by_shape import describe
from kdpipe.models.shared.preprocessing import Preprocessing, measured

SIZE = 224


class TimmOptions(Options):
    arch: str = Field(description="A name that timm.create_model knows.")
    arguments: dict[str, Any] = Field(
        {}, description="What timm.create_model is given besides, as img_size or drop_path_rate."
    )


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
        timm = library(f"The network timm/{self.options.arch}")
        if not timm.is_model(arch):
            raise KdpipeError(f"timm has no model '{arch}'; see timm.list_models().")
        try:
            return timm.create_model(arch, **{**self.options.arguments, **arguments})
        except TypeError as error:
            raise KdpipeError(
                f"The network timm/{arch} does not take these arguments ({first_line(error)})."
            ) from None


def library(what: str) -> Any:
    """timm, for ``what``. Raises KdpipeError when it is not installed."""
    try:
        import timm
    except ImportError:
        raise KdpipeError(
            f"{what} needs the package timm, which is not installed here; install the extra timm "
            f"(pip install 'kdpipe[timm]'), or name another network."
        ) from None
    return timm


def preprocessing(given: Mapping[str, Any], arch: str | None = None) -> Preprocessing:
    """What timm does to images in an evaluation, for a ``pretrained_cfg`` or the arguments of its
    train.py; what these leave open is as in the default weights of ``arch``.

    Raises KdpipeError when timm is not installed, or cannot tell.
    """
    timm = library("A network of timm")
    usual = (arch and timm.models.get_pretrained_cfg(arch)) or None
    told = {key: value for key, value in given.items() if value is not None}
    try:
        how = timm.data.resolve_data_config(told, pretrained_cfg=usual.to_dict() if usual else {})
        process = timm.data.create_transform(**how, is_training=False)
    except Exception as error:  # whatever a value of another kind makes timm raise
        raise KdpipeError(f"timm's preprocessing cannot be made ({first_line(error)})") from None
    return measured(process, how["mean"], how["std"], str(how["interpolation"]))


def _about(body: Any) -> dict[str, Any]:
    return dict(getattr(body, "pretrained_cfg", None) or {})
