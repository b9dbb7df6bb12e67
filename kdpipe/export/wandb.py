"""Offline runs of Weights & Biases: one for each network, and one for the claims."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from kdpipe.export.contents import NUMBERS, TEXTS, Contents
from kdpipe.export.folder import replaced


def write(contents: Contents, place: str) -> str:
    """Write into the folder ``place``, without any connection; a sentence on how to upload it.

    A run's id depends on study and network alone, so that a later upload is of the same run.
    """
    import wandb

    quiet = wandb.Settings(console="off", silent=True, disable_git=True, x_disable_stats=True)

    def run(name: str, group: str, config: dict[str, Any], folder: Path) -> Any:
        known = hashlib.sha256(f"{contents.study}\0{name}".encode()).hexdigest()[:16]
        return wandb.init(
            project=f"kdpipe-{contents.study}",
            id=known,
            name=name,
            group=group,
            config=config,
            dir=str(folder),
            mode="offline",
            reinit="finish_previous",
            settings=quiet,
        )

    with replaced(Path(place), contents.study) as folder:
        for network in contents.networks:
            with run(network.name, network.group, network.config, folder) as one:
                for epoch, numbers in network.history:
                    one.log(numbers, step=epoch)
        with run("claims", "claims", {}, folder) as one:
            for claim in contents.claims:
                one.summary[f"verdict/{claim.name}"] = claim.texts["verdict"]
                for name, value in claim.numbers.items():
                    one.summary[f"{name}/{claim.name}"] = value
            rows: list[Any] = [
                [*(c.texts[n] for n in TEXTS), *(c.numbers.get(n) for n in NUMBERS)]
                for c in contents.claims
            ]
            one.log({"claims": wandb.Table(columns=[*TEXTS, *NUMBERS], data=rows)})
    return f"{place}: upload it with 'wandb sync {place}/wandb/offline-run-*'."
