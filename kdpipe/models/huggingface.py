"""Image classifiers of transformers, from a folder of ``save_pretrained``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from kdpipe.base.errors import KdpipeError, first_line
from kdpipe.base.options import Options
from kdpipe.base.paths import expanded
from kdpipe.models.base import Builder, Layers, Published, builders, out_of_place
from kdpipe.models.shared.by_shape import describe, trace
from kdpipe.models.shared.preprocessing import Preprocessing, measured
from kdpipe.models.weights.state_dicts import Part, common, read_parts, select, unwrapped

SIZE = 224
CONFIG, PROCESSOR = "config.json", "preprocessor_config.json"
FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""Where ``save_pretrained`` writes weights, in the order in which transformers looks for them."""


class HuggingFaceOptions(Options):
    path: str = Field(
        description="A folder of save_pretrained (config.json), below the data folder if there is "
        "one, else where kdpipe runs."
    )
    config: dict[str, Any] | None = Field(
        None,
        description="What its config.json holds; null to read it. kdpipe keeps it with the "
        "weights, so that results need no folder.",
    )


@builders.register("huggingface")
class HuggingFace(Builder):
    """A folder of transformers, which are an extra (``pip install 'kdpipe[hf]'``): ``network:
    {name: huggingface, path: vit}``, with ``weights: own`` for the weights in it.

    Layers are found by shape. Nothing in the folder runs: its architecture has to be one of
    transformers' own, and its weights are read as those of any file.
    """

    Options = HuggingFaceOptions
    third_party = True

    @property
    def arch(self) -> str:
        return Path(self.options.path).name

    @property
    def folder(self) -> Path:
        return expanded(os.environ.get("KDPIPE_DATA", "")) / expanded(self.options.path)

    def body(self, n_classes: int) -> nn.Module:
        config = self._config()
        if n_classes and n_classes != config.num_labels:
            config.num_labels = n_classes
        body = self._made(config)
        own = getattr(config, "image_size", None)
        if self.side and isinstance(own, int) and own != self.side and not takes(body, self.side):
            self.image_size = own
        body.register_forward_hook(_logits)
        return out_of_place(body)

    def outline(self) -> Any:
        """The network of the folder without values."""
        with torch.device("meta"):
            return self._made(self._config())

    def layers(self, body: nn.Module) -> Layers:
        own = getattr(body.config, "image_size", None)
        return describe(body, self.image_size or self.side or (own if own else SIZE))

    def pinned(self) -> dict[str, Any]:
        config = self._config().to_dict()
        labels = config.pop("id2label", None) or {}
        config.pop("label2id", None)
        return {"config": {**config, "num_labels": len(labels)}}

    def published(self, name: str) -> Published:
        """The weights in the folder, called ``own``."""
        if name != "own":
            raise KdpipeError(
                f"weights: a folder of the network '{self.name}' has weights of its own: give "
                f"'own', not '{name}'."
            )
        file = weights_file(self.folder)
        parts = [replace(p, state=self.renamed(p.state)) for p in self._parts(file)]
        wanted = {n: tuple(t.shape) for n, t in self.outline().state_dict().items()}
        how = self.preprocessing()
        if how is not None and how.bgr:
            raise KdpipeError(
                f"{self.folder / PROCESSOR}: the network's channels are blue, green, red; give "
                f"weights.path, weights.mean and weights.std with weights.channels: bgr."
            )
        return Published(
            str(file),
            select(parts, wanted, file).state,
            how.mean if how else (),
            how.std if how else (),
            file,
            self.classes() or (),
        )

    def renamed(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """What transformers loads of the tensors: it renames those of older versions and leaves
        out those that its newer ones do not need."""
        whole = self.outline()
        known = set(whole.state_dict())
        variants = [p.state for p in common(unwrapped(Part("", state), {}))]
        variants += _parts_of(variants[0])
        if any(known <= set(v) for v in variants):
            return state
        best, least = state, len(known - set(state))
        for variant in variants:
            loaded, about = type(whole).from_pretrained(
                None,
                config=self._config(),
                state_dict=dict(variant),
                output_loading_info=True,
                ignore_mismatched_sizes=True,
            )
            lacking = set(about["missing_keys"]) | {key for key, *_ in about["mismatched_keys"]}
            if len(lacking) >= least:
                continue
            least = len(lacking)
            best = {n: t for n, t in loaded.state_dict().items() if n not in lacking}
            if not lacking:
                break
            best |= {n: t for n, t in variant.items() if n in about["unexpected_keys"]}
        return best

    def classes(self) -> list[str] | None:
        """What the outputs stand for; None where the folder only numbers them."""
        named = self._config().id2label or {}
        try:
            names = [str(named[key]) for key in sorted(named, key=int)]
        except ValueError:
            raise KdpipeError(
                f"{self.folder / CONFIG}: its id2label has to be by number."
            ) from None
        if all(name == f"LABEL_{k}" for k, name in enumerate(names)):
            return None
        return names

    def preprocessing(self) -> Preprocessing | None:
        """What its image processor does; None where the folder has none."""
        if not (self.folder / PROCESSOR).is_file():
            return None
        from PIL import Image

        where = self.folder / PROCESSOR
        try:
            how = library(self.name).AutoImageProcessor.from_pretrained(
                str(self.folder), local_files_only=True, trust_remote_code=False
            )
        except Exception as error:  # whatever a damaged file makes transformers raise
            raise KdpipeError(f"{where} cannot be read: {first_line(error)}.") from None

        def process(image: Image.Image) -> Tensor:
            return how(images=image, return_tensors="pt")["pixel_values"][0]

        kind = getattr(how, "resample", None)
        resampling = "bilinear" if kind is None else Image.Resampling(int(kind)).name.lower()
        mean, std = (getattr(how, f"image_{of}", None) for of in ("mean", "std"))
        try:
            return measured(process, mean, std, resampling)
        except KdpipeError as error:
            raise KdpipeError(f"{where}: {error}.") from None

    def _config(self) -> Any:
        """The configuration, which the caller may change."""
        transformers = library(self.name)
        where = self.folder / CONFIG
        try:
            if self.options.config is not None:
                given = dict(self.options.config)
                config = transformers.AutoConfig.for_model(given.pop("model_type"), **given)
            elif not where.is_file():
                raise KdpipeError(
                    f"There is no {where}; the network '{self.name}' is a folder of "
                    f"save_pretrained, and its path one below the data folder or the working "
                    f"folder."
                )
            else:
                config = transformers.AutoConfig.from_pretrained(
                    str(self.folder), local_files_only=True, trust_remote_code=False
                )
        except KdpipeError:
            raise
        except Exception as error:  # whatever a damaged file makes transformers raise
            if "trust_remote_code" in str(error) or "custom code" in str(error):
                raise _needs_code(where) from None
            raise KdpipeError(f"{where} cannot be read: {first_line(error)}.") from None
        config.architectures = config.architectures or []
        return config

    def _made(self, config: Any) -> nn.Module:
        transformers = library(self.name)
        try:
            return transformers.AutoModelForImageClassification.from_config(
                config, trust_remote_code=False, dtype="float32"
            )
        except Exception as error:  # whatever an unfit configuration makes transformers raise
            if "trust_remote_code" in str(error) or "custom code" in str(error):
                raise _needs_code(self.folder / CONFIG) from None
            if "Unrecognized configuration class" in str(error):
                raise KdpipeError(
                    f"{self.folder / CONFIG}: transformers knows no image classifier of the type "
                    f"'{config.model_type}'; kdpipe measures image classifiers."
                ) from None
            raise KdpipeError(
                f"{self.folder / CONFIG} does not make a network ({first_line(error)})."
            ) from None

    def _parts(self, file: Path) -> Iterator[Part]:
        """The state dicts in a file of weights, or in several that an index lists."""
        if file.suffix != ".json":
            yield from read_parts(file)
            return
        import json

        try:
            names = sorted(set(json.loads(file.read_text())["weight_map"].values()))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise KdpipeError(f"{file} cannot be read as an index of weights.") from None
        state: dict[str, Tensor] = {}
        for name in names:
            state |= read_parts(self.folder / Path(str(name)).name)[0].state
        yield Part("", state)


def weights_file(folder: Path) -> Path:
    """The file, or the index of several, that holds the weights of a folder of transformers.

    Raises KdpipeError when there is none.
    """
    for name in FILES:
        if (folder / name).is_file():
            return folder / name
    raise KdpipeError(
        f"{folder} holds no weights ({FILES[0]} or {FILES[2]}); download or save the whole folder."
    )


def library(name: str) -> Any:
    """transformers, without its reports. Raises KdpipeError when it is not installed."""
    try:
        import transformers
    except ImportError:
        raise KdpipeError(
            f"The network '{name}' needs the package transformers; install the extra hf "
            f"(pip install 'kdpipe[hf]')."
        ) from None
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return transformers


def takes(body: nn.Module, side: int) -> bool:
    """Whether ``body`` takes images of ``side`` × ``side`` pixels."""
    try:
        trace(body, side)
    except KdpipeError:
        return False
    return True


def _parts_of(state: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    """The tensors behind each first word of the names, as of a network and a loss side by side."""
    found: dict[str, dict[str, Tensor]] = {}
    for name, tensor in state.items():
        first, dot, rest = name.partition(".")
        if dot:
            found.setdefault(first, {})[rest] = tensor
    return list(found.values())


def _logits(_module: nn.Module, _inputs: Any, output: Any) -> Any:
    """Of what a network of transformers gives, the part that classifies."""
    return output.logits if hasattr(output, "logits") else output[0]


def _needs_code(where: Path) -> KdpipeError:
    return KdpipeError(
        f"{where} names code of its author, which kdpipe does not run from a folder; give a "
        f"function that makes the network, package.module:factory, instead."
    )
