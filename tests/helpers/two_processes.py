"""One small CRD training: in a single process, or in one of several that share it."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

from helpers.small_training import SHIFT, make_objective, small_network, some_images
from kdpipe.base import parallel
from kdpipe.data.augment.base import Pipeline
from kdpipe.models.base import Layers, Network
from kdpipe.training.checkpoint import Checkpoint
from kdpipe.training.compute import Compute
from kdpipe.training.loop import fit
from kdpipe.training.recipe import Recipe
from kdpipe.training.teacher import LiveTeacher


def without_chance(seed: int) -> Network:
    """A network whose images do not see each other, and that draws nothing."""
    body = small_network(seed).body
    body[1], body[6] = nn.Identity(), nn.Identity()
    return Network(body, Layers("5", "2", "0", ("2", "5")), (0.3,) * 3, (0.25,) * 3)


def trained(n: int = 30, batch_size: int = 8) -> tuple[nn.Module, nn.Module, list[dict]]:
    network, objective = without_chance(0), make_objective("crd")
    # The same negatives for an image whoever trains on it.
    objective.sample.forward = lambda labels, count: (
        (7 * labels[:, None] + 3 * torch.arange(count)[None] + 1) % 30
    )
    history = fit(
        network,
        objective,
        LiveTeacher(without_chance(11), ("penultimate",)),
        some_images(n),
        some_images(12, seed=1),
        Recipe(epochs=2, batch_size=batch_size, lr=0.5),
        Pipeline(SHIFT, 0),
        Compute(processes=parallel.world()),
        0,
        Checkpoint(None),
    )
    return network, objective, history


def main(rank: str, folder: str) -> None:
    torch.set_num_threads(1)
    where = f"file://{folder}/meeting"
    dist.init_process_group("gloo", init_method=where, rank=int(rank), world_size=2)
    network, objective, history = trained()
    torch.save([network.state_dict(), objective.state_dict(), history], Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
