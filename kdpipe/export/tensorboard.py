"""Event files of TensorBoard: a folder for each network, and one for the claims."""

from __future__ import annotations

from pathlib import Path

from kdpipe.export.contents import Contents, markdown
from kdpipe.export.folder import replaced

CLAIMS = "claims"


def write(contents: Contents, place: str) -> str:
    """Write into the folder ``place``; a sentence on how to look at it."""
    import tensorboard  # noqa: F401 (torch says less clearly that it is missing)
    from torch.utils.tensorboard import SummaryWriter

    with replaced(Path(place), contents.study) as folder:
        for network in contents.networks:
            with SummaryWriter(str(folder / network.name)) as writer:
                for epoch, numbers in network.history:
                    for name, value in numbers.items():
                        writer.add_scalar(name, value, epoch)
                lines = [f"| {key} | {value} |" for key, value in network.config.items()]
                writer.add_text("config", "\n".join(["| | |", "|---|---|", *lines]), 0)
        with SummaryWriter(str(folder / CLAIMS)) as writer:
            for claim in contents.claims:
                for name, value in claim.numbers.items():
                    writer.add_scalar(f"{name}/{claim.name}", value, 0)
            if contents.claims:
                writer.add_text("verdicts", markdown(contents.claims), 0)
    return f"{place}: look at it with 'tensorboard --logdir {place}'."
