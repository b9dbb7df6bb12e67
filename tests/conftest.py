"""Settings and hand-made networks that unit and parity tests share."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor, nn

from kdpipe.base.paths import ModelRef
from kdpipe.data.store import INDEX, Subset
from kdpipe.models.base import Layers, Network
from kdpipe.probes.base import Bench
from kdpipe.probes.shared.records import Records
from kdpipe.training.compute import Compute


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    """Small tensors are fastest on one thread, and sums come out in the same order everywhere."""
    torch.set_num_threads(1)


class _Lookup(nn.Module):
    """Answers with row i of a table of logits, where i is the red value of the first pixel."""

    def __init__(self, table: Any) -> None:
        super().__init__()
        self.table = torch.as_tensor(np.asarray(table), dtype=torch.float32)

    def forward(self, images: Tensor) -> Tensor:
        return self.table[(images[:, 0, 0, 0] * 255).round().long()]


class Kit:
    """Tiny image sets on disk, hand-made networks, and a bench over both."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @staticmethod
    def write_subset(
        folder: Path,
        pixels: np.ndarray,
        labels: Sequence[int],
        classes: Sequence[str],
        *,
        domain: str | Sequence[str] = "grey",
        group: Sequence[str] | None = None,
        cue: Sequence[int] | None = None,
        split: str | Sequence[str] = "test",
    ) -> Subset:
        """An image set as the subset stage leaves it: pixels uint8 (n, h, w, 3)."""
        n = len(pixels)
        folder.mkdir(parents=True, exist_ok=True)
        columns: dict[str, Any] = {
            "sample_id": list(range(n)),
            "source_id": list(range(n)),
            "source_ref": [f"image {i}" for i in range(n)],
            "label": list(map(int, labels)),
            "class_name": [classes[k] for k in labels],
            "domain": [domain] * n if isinstance(domain, str) else list(domain),
            "group": ["everyone"] * n if group is None else list(group),
            "split": [split] * n if isinstance(split, str) else list(split),
            "cue": [-1] * n if cue is None else list(map(int, cue)),
        }
        pq.write_table(pa.table(columns, schema=INDEX.schema), folder / "index.parquet")
        np.save(folder / "pixels.npy", pixels)
        (folder / "subset.json").write_text(json.dumps({"classes": list(classes)}))
        return Subset(folder)

    @staticmethod
    def numbered(n: int, size: int = 8) -> np.ndarray:
        """Images that say by their first pixel which one they are."""
        pixels = np.random.default_rng(5).integers(0, 256, (n, size, size, 3), dtype=np.uint8)
        pixels[:, 0, 0, 0] = np.arange(n)
        return pixels

    @staticmethod
    def network(body: nn.Module, layer: str = "", cka: tuple[str, ...] = ()) -> Network:
        """``body`` behind a normalisation that changes nothing, in evaluation mode."""
        layers = Layers(penultimate=layer, cam=layer, hint=layer, cka=cka or (layer,))
        return Network(body, layers, [0.0] * 3, [1.0] * 3).eval()

    @classmethod
    def answers(cls, logits: Any) -> Network:
        """A network that answers numbered image i with row i of ``logits``."""
        return cls.network(_Lookup(logits))

    @classmethod
    def decides(cls, classes: Sequence[int], n_classes: int = 3) -> Network:
        """A network that gives numbered image i the class ``classes[i]``."""
        return cls.answers(np.eye(n_classes)[list(classes)])

    def bench(
        self,
        pixels: np.ndarray,
        labels: Sequence[int],
        subject: Network,
        reference: Network | None = None,
        *,
        classes: Sequence[str] = ("a", "b", "c"),
        **columns: Any,
    ) -> Bench:
        subset = self.write_subset(self.folder / "set", pixels, labels, classes, **columns)
        return Bench(
            subset=subset,
            subject=subject,
            compute=Compute(),
            classes=subset.classes,
            reference=reference,
            reference_ref=None if reference is None else ModelRef(model="teacher", seed=0),
        )

    @staticmethod
    def values(
        records: Any, metric: str, where: str | None = None, unit: str = "sample"
    ) -> np.ndarray:
        """The values of one metric (and condition), in the order of the records."""
        table = records.table().to_pandas()
        keep = (table.metric == metric) & (table.unit == unit)
        if where is not None:
            keep &= table.condition == where
        assert keep.any(), f"no {unit} rows of {metric}, {where}"
        return table[keep].value.to_numpy()

    @staticmethod
    def check_limited(whole: Records, limited: Records, n: int) -> None:
        """Fail unless the ``n`` images of ``limited`` have the same values as in ``whole``, where
        some answers agree and some do not."""
        everything, part = whole.table().to_pandas(), limited.table().to_pandas()
        assert 0 < everything[everything.metric == "agreement"].value.mean() < 1
        for metric in ("agreement", "accuracy"):
            full = everything[everything.metric == metric].set_index("unit_id").value
            some = part[part.metric == metric].set_index("unit_id").value
            assert len(some) == n
            assert some.equals(full.loc[some.index])


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    return Kit(tmp_path)


@pytest.fixture
def tiny(kit: Kit) -> Kit:
    """The same set and bench, under the name that the tests of single predictions use."""
    return kit
