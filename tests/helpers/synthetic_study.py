"""Tables of a study that never ran: every kind of verdict, made from a fixed random stream.

The statistics are rough on purpose; figures and report only have to show what they are given.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pandas as pd

from kdpipe.base.paths import ModelRef
from kdpipe.results.settings import PairSettings

METHODS = ("kl", "hint", "crd", "soft_label")
SEEDS = (0, 1, 2)

# pair, probe, role, primary metric, target (None: the teacher's own value), conditions,
# independent mean, teacher mean, share of the gap closed per method, noise over seeds.
PLAN = [
    ("main", "accuracy", "claim", "accuracy", None, ("domain=grey",), 0.962, 0.967,
     (0.4, 0.2, 0.3, 0), 0.003),
    ("main", "localization", "claim", "cam_similarity", 1.0, ("domain=grey",), 0.62, 1.0,
     (0.25, 0.5, 0.02, 0.01), 0.01),
    ("main", "adversarial", "claim", "fooling_rate", 1.0, ("attacker=teacher",), 0.55, 1.0,
     (0.35, 0.1, 0.2, 0.0), 0.03),
    ("main", "fidelity", "claim", "top1_agreement", 1.0, ("domain=grey",), 0.93, 1.0,
     (0.5, 0.2, 0.15, 0.02), 0.004),
    ("main", "calibration", "claim", "ece", None, ("domain=grey",), 0.05, 0.012,
     (0.8, -0.4, 0.1, 0.6), 0.004),
    ("main", "boundary", "claim", "boundary_agreement", 1.0, ("domain=grey",), 0.71, 1.0,
     (0.2, 0.05, 0.1, 0.01), 0.05),
    ("main", "cka", "claim", "cka_unbiased", 1.0, (
        "teacher_layer=stage1;student_layer=stage1", "teacher_layer=stage1;student_layer=stage2",
        "teacher_layer=stage2;student_layer=stage1", "teacher_layer=stage2;student_layer=stage2",
     ), 0.7, 1.0, (0.3, 0.6, 0.4, 0.0), 0.02),
    ("colour", "accuracy", "claim", "accuracy", None,
     ("domain=photo", "domain=grey", "domain=colour"), 0.61, 0.9, (0.3, 0.15, -0.2, 0.01), 0.012),
    ("colour", "consensus", "claim", "consensus", 1.0, ("domain=photo", "domain=colour"), 0.48,
     1.0, (0.4, 0.2, 0.1, 0.03), 0.02),
    ("colour", "colour", "claim", "agreement", None, ("strength=0.4", "strength=0.3",
     "strength=0.5", "strength=0.6"), 0.62, 0.91, (0.64, 0.2, 0.03, 0.02), 0.01),
    ("colour_control", "colour", "control", "agreement", None, ("strength=0.4", "strength=0.6"),
     0.62, 0.625, (0.3, 0.2, 0.0, 0.0), 0.01),
    ("crop", "crop", "claim", "agreement", None, ("scale=0.4", "scale=0.6"), 0.5, 0.74,
     (0.3, -0.5, 0.02, 0.0), 0.02),
    ("shift", "shift", "claim", "agreement", None, ("shift=2",), 0.83, 0.93, (0.2, 0.1, 0.3, 0.05),
     0.04),
    ("cue", "shape_bias", "claim", "shape_bias", None, ("domain=cue",), 0.34, 0.71,
     (0.4, 0.3, 0.02, 0.01), 0.012),
    ("group", "group_accuracy", "claim", "accuracy", None, ("group=3", "group=1", "group=2"),
     0.81, 0.62, (0.4, 0.3, 0.2, 0.0), 0.012),
    ("main", "weights", "claim", "weight_cosine", 1.0, ("logits=centred",), 0.7, 1.0,
     (0.9, 0.6, 0.3, 0.0), 0.02),
    ("main", "class_accuracy", "claim", "worst_class_accuracy", None, ("domain=grey",), 0.7, 0.8,
     (0.3, 0.2, 0.1, 0.0), 0.02),
    ("group", "fairness", "claim", "equalized_odds_difference", None, ("domain=grey",), 0.1, 0.25,
     (0.3, 0.2, 0.1, 0.0), 0.02),
    ("main", "withheld", "claim", "accuracy", None, ("domain=grey;classes=3",
     "domain=grey;classes=others"), 0.0, 0.96, (0.9, 0.3, 0.1, 0.0), 0.02),
    ("main", "flips", "claim", "negative_flips", 0.0, ("domain=grey",), 0.05, 0.0,
     (0.4, 0.1, 0.2, 0.0), 0.005),
    ("main", "copied_errors", "claim", "wrong_minus_right", 0.0, ("domain=grey",), -0.4, 0.0,
     (0.5, 0.2, 0.15, 0.02), 0.03),
    ("main", "backdoor", "claim", "attack_success", None, ("domain=triggered", "domain=grey"), 0.01,
     1.0, (0.9, 0.0, 0.3, 0.0), 0.01),
    ("main", "memory", "claim", "membership_auc", None, ("domain=grey",), 0.5, 0.74,
     (0.5, 0.3, 0.2, 0.0), 0.01),
    ("main", "ood", "claim", "auroc_softmax", None, ("domain=grey;unknown=photo",), 0.8, 0.9,
     (0.5, 0.3, 0.2, 0.0), 0.01),
    ("main", "corruptions", "claim", "mean_accuracy", None, ("domain=grey",), 0.6, 0.8,
     (0.5, 0.3, 0.2, 0.0), 0.01),
    ("main", "robustness", "claim", "robust_accuracy", None, ("domain=grey;epsilon=0.03137",
     "domain=grey;epsilon=0.007843"), 0.1, 0.4, (0.5, 0.3, 0.2, 0.0), 0.01),
]  # fmt: skip
NETS = {"main": ("wide", "small"), "colour": ("wide_colour", "small"), "group": ("wide_g", "g")}


def tables(
    scope: str = "method", methods: tuple[str, ...] = METHODS, probes: tuple[str, ...] = ()
) -> dict[str, pd.DataFrame]:
    """Measurements, transfer, controls and paper of the made-up study."""
    random = np.random.default_rng(0)
    seeds = SEEDS if scope == "method" else (0,)
    measured, transfer, controls = [], [], []
    for pair, probe, role, metric, target, conditions, ind, teacher, closed, noise in PLAN:
        if probes and probe not in probes:
            continue
        nets = NETS.get(pair, ("wide", "small"))
        relational = target is not None
        n = 50 if probe == "boundary" else 899
        unit = {"boundary": "triplet", "cka": "image set", "calibration": "image set",
                "memory": "image set", "ood": "image set",
                "weights": "image set"}.get(probe, "sample")  # fmt: skip
        rows = [(c, metric, c == conditions[0]) for c in conditions]
        second = {"colour": "agreement_correct", "cam": "cam_similarity_image"}.get(probe)
        rows += [(conditions[0], second, False)] if second else []
        if probe == "adversarial":
            rows.append(("attacker=foreign", metric, False))
        if probe == "localization":
            rows.append((conditions[0], "cam_win_rate", False))
        for k, (condition, name, primary) in enumerate(rows):
            base, goal = ind - 0.04 * k, teacher - 0.01 * k
            foreign = condition == "attacker=foreign"
            values = {"ind": base + noise * random.standard_normal(len(seeds))}
            if not relational or foreign:
                values["teacher"] = np.array([goal])
            elif name == metric:
                values["teacher2"] = np.array([goal - 0.08])
            for share, method in zip(closed, methods, strict=False):
                mean = base + (0.02 if foreign else share) * (goal - base)
                values[method] = mean + noise * random.standard_normal(len(seeds))
            for method, per_seed in values.items():
                of = [1] if method == "teacher2" else seeds
                measured += [
                    ("made_up", pair, *nets, method, seed, probe, condition, name, value, n, unit)
                    for seed, value in zip(of, per_seed, strict=False)
                ]
            for method in methods:
                row = _transfer(values["ind"], values[method], goal, noise, n)
                row |= {"pair": pair, "method": method, "probe": probe, "condition": condition}
                row |= {"metric": name, "role": "control" if foreign else role, "family": probe}
                row |= {"primary": primary, "scope": scope, "n_units": n}
                row |= {"teacher": np.nan if relational and not foreign else goal}
                if not primary or row["role"] == "control":
                    row |= {"verdict": None, "reason": None, "p_adjusted": np.nan}
                row |= {"ceiling": goal - 0.08 if relational and primary else np.nan}
                transfer.append(row)
                known = len(seeds) >= 3
                limit = (20 if probe == "fidelity" else 2.5) * noise if known else np.nan
                inside = abs(row["diff"]) <= limit if known else None
                controls.append((pair, method, probe, condition, name, row["diff"],
                                 len(list(itertools.combinations(seeds, 2))), -limit, limit,
                                 inside))  # fmt: skip
    columns = [
        "study",
        "pair",
        "teacher",
        "student",
        "method",
        "seed",
        "probe",
        "condition",
        "metric",
        "value",
        "n",
        "unit",
    ]
    keys = "pair method probe condition metric diff n_pairs control_low control_high inside"
    return {
        "measurements": pd.DataFrame(measured, columns=columns),
        "transfer": pd.DataFrame(transfer),
        "controls": pd.DataFrame(controls, columns=keys.split()),
        "paper": _paper(),
    }


def _transfer(ind: np.ndarray, dist: np.ndarray, target: float, noise: float, n: int) -> dict:
    diff, gap = dist.mean() - ind.mean(), target - ind.mean()
    half = 2.2 * noise
    measurable = abs(gap) >= 0.02 and abs(gap) > half
    closed, wide = (diff / gap, half / abs(gap)) if measurable else (np.nan, np.nan)
    p = float(np.exp(-3.8 * abs(diff) / half))
    if not measurable:
        verdict = "no gap"
    elif abs(diff) > half:
        verdict = "transferred" if diff * gap > 0 else "opposite"
    else:
        verdict = "not transferred" if closed + wide < 0.1 else "inconclusive"
    return {
        "target": target, "ind_mean": ind.mean(), "ind_std": ind.std(ddof=1) if len(ind) > 1 else
        np.nan, "dist_mean": dist.mean(), "dist_std": dist.std(ddof=1) if len(dist) > 1 else np.nan,
        "diff": diff, "diff_low": diff - half, "diff_high": diff + half, "gap": gap,
        "gap_low": gap - half, "gap_high": gap + half, "gap_closed": closed,
        "closed_low": closed - wide, "closed_high": closed + wide, "p_value": p,
        "p_adjusted": min(1.0, 2 * p), "n_seeds_ind": len(ind), "n_seeds_dist": len(dist),
        "verdict": verdict, "min_gap": 0.02, "reason": None if verdict != "no gap" else
        "not measurable" if abs(gap) <= half else "smaller than min_gap",
        "seed_term": "separate" if min(len(ind), len(dist)) > 1 else "none", "look": None,
    }  # fmt: skip


def _paper() -> pd.DataFrame:
    rows = []
    for condition, level in (("mnist", 0.89), ("mnist-m", 0.55)):
        for k, method in enumerate(("teacher", "ind", "kl", "crd")):
            rows.append(
                {"table": "13", "pair": "cnn_m>cnn", "method": method, "condition": condition,
                 "metric": "top1", "paper_value": level + 0.02 * k, "paper_std": 0.01 * (k > 0),
                 "approximate": k == 3, "measured_mean": level - 0.05 + 0.03 * k,
                 "measured_std": 0.012, "same_direction": ("yes", "yes", "no", "undecided")[k]}
            )  # fmt: skip
    return pd.DataFrame(rows)


NETWORKS = [
    *(f"models/{m}/seed{s}" for m, s in (("wide", 0), ("small", 0), ("small", 1), ("other", 0))),
    *(f"students/main/{m}/seed{s}" for m in ("kl", "hint") for s in (0, 1)),
    "students/colour/crd/seed0",
]


def history(k: int) -> pd.DataFrame:
    epoch = np.arange(1, 13)
    fall = np.exp(-epoch / (4 + 0.2 * k))
    return pd.DataFrame({
        "epoch": epoch, "lr": 0.1 * fall, "train_loss": 2.2 * fall + 0.05 * (k % 4),
        "train_accuracy": 1 - 0.9 * fall, "val_loss": 2.0 * fall + 0.1 + 0.01 * k,
        "val_accuracy": 0.95 - 0.8 * fall - 0.01 * (k % 3),
    })  # fmt: skip


def write(root: Path, made: dict[str, pd.DataFrame] | None = None) -> Path:
    """Lay the study out under ``root`` as the stages before the figures would."""
    (root / "tables").mkdir(parents=True)
    for name, frame in (tables() if made is None else made).items():
        frame.to_parquet(root / "tables" / f"{name}.parquet")
    for k, network in enumerate(NETWORKS):
        (root / network).mkdir(parents=True)
        history(k).to_parquet(root / network / "history.parquet")
        about = {"provenance": {"torch": "2.11.0", "device": "cpu", "digest": f"{k + 10:016x}" * 4}}
        (root / network / "model.json").write_text(json.dumps(about))
    return root


def pairs() -> list[PairSettings]:
    """The pairs of the made-up study, whose networks lie where those of ``NETWORKS`` do."""
    return [
        PairSettings(
            name=name,
            teacher=ModelRef(model=NETS.get(name, ("wide", "small"))[0]),
            second_teacher=ModelRef(model=NETS.get(name, ("wide", "small"))[0], seed=1),
            student=NETS.get(name, ("wide", "small"))[1],
            ind_seeds=list(SEEDS),
            methods={method: list(SEEDS) for method in METHODS},
            instances=[],
        )
        for name in dict.fromkeys(line[0] for line in PLAN)
    ]
