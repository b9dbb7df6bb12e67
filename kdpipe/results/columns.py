"""Every column of a study's tables: name, type, unit and meaning.

Scripts outside the repository rely on these names and types: add columns, but never rename one.
"""

from __future__ import annotations

from typing import Any

from kdpipe.base.columns import BOOLEAN, INTEGER, NUMBER, TEXT, Column, Table
from kdpipe.base.paths import TableName

Row = dict[str, Any]
"""One row of a table: column name to value."""

# fmt: off
_PAIR = Column("pair", TEXT, "", "Pair of the study.")
_METHOD = Column("method", TEXT, "", "Method that distilled the students.")
_SEED = Column("seed", INTEGER, "", "Seed of the network.")
_PROBE = Column("probe", TEXT, "", "Probe, by its own name, such as `accuracy`.")
_CONDITION = Column(
    "condition", TEXT, "", "What it was measured on: `key=value` parts joined by `;`, such as "
    "`attacker=teacher;domain=photo`. In a value `;`, `=` and `%` are percent-encoded.")
_METRIC = Column("metric", TEXT, "", "What was measured, such as `fooling_rate`.")
_DIFF = Column("diff", NUMBER, "metric", "`dist_mean` − `ind_mean`: what distillation changed.")
_STATISTIC = (_PAIR, _METHOD, _PROBE, _CONDITION, _METRIC)

MEASUREMENTS = Table(
    "tables/measurements",
    description="One row per pair, network, probe, condition and metric. Teachers and independent "
    "students appear once for each pair that uses them.",
    sorted_by=("pair", "method", "seed", "probe", "condition", "metric"),
    columns=(
        Column("study", TEXT, "", "Name of the study."),
        _PAIR,
        Column("teacher", TEXT, "", "Model that the pair's teacher is a training of; "
            "`pair/method` of a distilled teacher, `mean of …` for several networks."),
        Column(
            "student", TEXT, "", "Model that was measured; in rows of a teacher, the pair's first "
            "student model."),
        Column(
            "method", TEXT, "", "`teacher`; `teacher2`, another training of the teacher, compared "
            "with the first; `untrained`, an untrained network of the student's architecture, also "
            "compared with it; `ind`, an independent student; or the method that distilled the "
            "student."),
        _SEED,
        _PROBE,
        _CONDITION,
        _METRIC,
        Column("value", NUMBER, "metric", "Mean over the units that count; empty if none does."),
        Column(
            "n", INTEGER, "units", "Number of units that count; for an image set, of its images. "
            "Empty if the value is of no images, such as a distance between weights."),
        Column(
            "unit", TEXT, "", "What one outcome belongs to: `sample` (an image), `triplet` (of "
            "images), or `image set` (one statistic of all images together)."),
    ),
)

TRANSFER = Table(
    "tables/transfer",
    description="One row per pair, method, probe, condition and metric: distilled students beside "
    "independent ones. Confidence intervals are 95 %.",
    sorted_by=("pair", "method", "probe", "condition", "metric"),
    columns=(
        *_STATISTIC,
        Column(
            "role", TEXT, "", "`claim`; or `control`, where the teacher lacks the property or the "
            "probe measures the statistic as a control."),
        Column(
            "family", TEXT, "", "Claims that Holm's correction takes together: the name of the "
            "probe."),
        Column(
            "primary", BOOLEAN, "", "Whether the probe's verdict is about this statistic."),
        Column(
            "scope", TEXT, "", "`method` with at least 2 seeds on both sides; `networks` with one "
            "seed on a side: the row then speaks of these checkpoints only."),
        Column(
            "teacher", NUMBER, "metric", "The teacher's value; empty if it has none, as for a "
            "similarity to the teacher."),
        Column(
            "target", NUMBER, "metric", "Value of a student that inherits everything: the "
            "teacher's, or 1 for a similarity to the teacher. Empty if the statistic has no "
            "target."),
        Column(
            "ceiling", NUMBER, "metric", "Similarity to the teacher of another training of the "
            "teacher; empty without one."),
        Column("ind_mean", NUMBER, "metric", "Mean over independent students."),
        Column(
            "ind_std", NUMBER, "metric", "Standard deviation between independent students (n − 1); "
            "empty for fewer than 2."),
        Column("dist_mean", NUMBER, "metric", "Mean over distilled students."),
        Column(
            "dist_std", NUMBER, "metric", "Standard deviation between distilled students (n − 1); "
            "empty for fewer than 2."),
        _DIFF,
        Column("diff_low", NUMBER, "metric", "Lower end of the interval of `diff`."),
        Column("diff_high", NUMBER, "metric", "Upper end of the interval of `diff`."),
        Column("gap", NUMBER, "metric", "`target` − `ind_mean`: what there is to inherit."),
        Column("gap_low", NUMBER, "metric", "Lower end of the interval of `gap`."),
        Column("gap_high", NUMBER, "metric", "Upper end of the interval of `gap`."),
        Column(
            "gap_closed", NUMBER, "fraction", "`diff` / `gap`; empty if the interval of the gap "
            "contains 0 or the gap is smaller than `min_gap`."),
        Column(
            "closed_low", NUMBER, "fraction", "Lower end of Fieller's interval of `gap_closed`."),
        Column(
            "closed_high", NUMBER, "fraction", "Upper end of Fieller's interval of `gap_closed`."),
        Column("p_value", NUMBER, "", "p-value of the hypothesis that `diff` is 0."),
        Column(
            "p_adjusted", NUMBER, "", "`p_value` after Holm's correction within the family; only "
            "for primary claims that are judged."),
        Column(
            "n_seeds_ind", INTEGER, "networks", "Number of independent students with a value."),
        Column("n_seeds_dist", INTEGER, "networks", "Number of distilled students with a value."),
        Column(
            "n_units", INTEGER, "units", "Number of units (images, triplets) compared; empty if "
            "the value is of no images."),
        Column(
            "verdict", TEXT, "", "`no gap`, `transferred`, `opposite`, `not transferred` or "
            "`inconclusive`; empty if the row is no primary claim, or `reason` says why it has no "
            "verdict."),
        Column("min_gap", NUMBER, "metric", "Smallest gap that counts."),
        Column(
            "reason", TEXT, "", "Why a primary claim has no gap (`not measurable`, `smaller than "
            "min_gap`) or no verdict (`no independent student`, `at chance: …`, `no value for …`); "
            "else empty."),
        Column(
            "seed_term", TEXT, "", "How seeds enter intervals: `paired`, by the variance of the "
            "differences seed by seed, where distilled and independent students share start and "
            "draws and have the same seeds, at least 5; `separate`, by the variances of the two "
            "sides; `none`, where a side has one seed."),
        Column(
            "look", INTEGER, "", "Of a study with `decide`: the look, from 1, at which the claim "
            "ended. The row holds the seeds of this look, and intervals are repeated confidence "
            "intervals at its level. Else empty."),
    ),
)

CONTROLS = Table(
    "tables/controls",
    description="One row per row of `transfer`: its `diff` beside the differences between two "
    "independent students.",
    sorted_by=("pair", "method", "probe", "condition", "metric"),
    columns=(
        *_STATISTIC,
        _DIFF,
        Column(
            "n_pairs", INTEGER, "pairs", "Number of unordered pairs of independent students that "
            "have a difference."),
        Column(
            "control_low", NUMBER, "metric", "−`control_high`: which of a pair comes first is "
            "arbitrary."),
        Column(
            "control_high", NUMBER, "metric", "Largest absolute difference between two independent "
            "students; empty with fewer than 3 pairs."),
        Column(
            "inside", BOOLEAN, "", "Whether `diff` lies between the two: then seeds alone make a "
            "difference as large. Empty if there is no range or no `diff`."),
    ),
)

PAPER = Table(
    "tables/paper",
    description="One row per cell of the paper that the study measured. The first five columns are "
    "the paper's own names, as in `kdpipe/results/paper_values.csv`.",
    sorted_by=("table", "pair", "method", "condition", "metric"),
    columns=(
        Column("table", TEXT, "", "Table or figure of the paper."),
        Column("pair", TEXT, "", "The key `paper` of the pair."),
        Column("method", TEXT, "", "`teacher`, `ind`, or a method."),
        Column("condition", TEXT, "", "Condition."),
        Column("metric", TEXT, "", "Metric."),
        Column(
            "paper_value", NUMBER, "metric", "Published value; a fraction also where the paper "
            "prints percent."),
        Column(
            "paper_std", NUMBER, "metric", "Published standard deviation; empty if none is "
            "published."),
        Column(
            "approximate", BOOLEAN, "", "Whether the value is read off a plot, guessed, or "
            "contradicted elsewhere in the paper."),
        Column("measured_mean", NUMBER, "metric", "Mean over the seeds of the study."),
        Column(
            "measured_std", NUMBER, "metric", "Standard deviation between the seeds (n − 1); empty "
            "for fewer than 2."),
        Column(
            "same_direction", TEXT, "", "Whether paper and study agree on which side of the "
            "independent students the method lies: `yes`, `no`, or `undecided` if either "
            "difference is unclear."),
    ),
)

LEFT_OUT = Table(
    "tables/left_out",
    description="One row per network and property that does not apply to it. Only studies that "
    "train nothing, such as audits, leave properties out.",
    sorted_by=("pair", "instance", "method", "seed"),
    columns=(
        _PAIR,
        Column("method", TEXT, "", "As in `measurements`."),
        _SEED,
        Column("instance", TEXT, "", "Entry of the study's `probes`."),
        _PROBE,
        Column("reason", TEXT, "", "Why the property does not apply."),
    ),
)

POWER = Table(
    "tables/power",
    description="One row per primary claim that is open: inconclusive, or with a gap that may be 0 "
    "and would count if it is what it seems. Numbers of seeds are the smallest, above those of "
    "now, that decide the claim with a chance of 80 %. See [Power](power.md).",
    sorted_by=("pair", "method", "probe", "condition", "metric"),
    columns=(
        *_STATISTIC,
        Column("family", TEXT, "", "As in `transfer`."),
        Column("n_seeds_ind", INTEGER, "networks", "As in `transfer`."),
        Column("n_seeds_dist", INTEGER, "networks", "As in `transfer`."),
        Column("n_units", INTEGER, "units", "As in `transfer`."),
        Column("n_claims", INTEGER, "claims", "Claims of the family that are corrected together."),
        Column(
            "level", NUMBER, "", "Level of the test: 0.05 / `n_claims`, as if Holm's correction "
            "met this claim first."),
        Column("share", NUMBER, "fraction", "`diff` / `gap` as estimated, whatever the gap."),
        Column("at_most", INTEGER, "networks", "The most seeds a side that were considered."),
        Column(
            "seeds_as_seen", INTEGER, "networks", "Seeds a side that decide the claim if `share` "
            "is the truth; empty if `at_most` do not."),
        Column(
            "verdict_as_seen", TEXT, "", "The verdict that `transfer` then has, or would have "
            "soonest: `transferred`, `opposite` or `not transferred`."),
        Column(
            "units_as_seen", INTEGER, "units", "Units with which `at_most` seeds would decide it, "
            "where with the units of now no number of seeds does; else empty."),
        Column(
            "seeds_if_none", INTEGER, "networks", "Seeds a side that give `not transferred` if "
            "nothing was transferred; empty if `at_most` do not."),
        Column("units_if_none", INTEGER, "units", "As `units_as_seen`, for `seeds_if_none`."),
        Column("reason", TEXT, "", "Why nothing is known; else empty."),
    ),
)

CLASSES = Table(
    "tables/classes",
    description="One row per class, pair, method and statistic of classes: distilled students "
    "beside independent ones. Empty if no probe measures classes. The share of classes that "
    "changed is the mean of `changed`.",
    sorted_by=("pair", "method", "probe", "condition", "metric", "class"),
    columns=(
        _PAIR,
        _METHOD,
        _PROBE,
        Column("condition", TEXT, "", "As in `transfer`, without the class."),
        _METRIC,
        Column("class", TEXT, "", "Name of the class."),
        Column("scope", TEXT, "", "As in `transfer`: of `networks`, p is McNemar's exact test."),
        Column("n_units", INTEGER, "units", "Number of images of the class."),
        Column("teacher", NUMBER, "metric", "The teacher's value."),
        Column("ind_mean", NUMBER, "metric", "Mean over independent students."),
        Column("dist_mean", NUMBER, "metric", "Mean over distilled students."),
        _DIFF,
        Column("diff_low", NUMBER, "metric", "Lower end of the interval of `diff`."),
        Column("diff_high", NUMBER, "metric", "Upper end of the interval of `diff`."),
        Column("p_value", NUMBER, "", "p-value of the hypothesis that `diff` is 0."),
        Column(
            "p_adjusted", NUMBER, "", "`p_value` after Holm's correction over the classes of the "
            "same pair, method and statistic."),
        Column(
            "changed", BOOLEAN, "", "Whether `p_adjusted` < 0.05; empty if there is no p-value."),
    ),
)

CANDIDATES = Table(
    "tables/candidates",
    description="Of `kdpipe audit --candidate`: one row per student and candidate. See "
    "[Detective](detective.md).",
    sorted_by=("student", "rank"),
    columns=(
        Column("student", TEXT, "", "Student, by the name of its file or the one it was given."),
        Column("rank", INTEGER, "", "1 for the candidate that stands out most: by `t`, or by "
            "`score` where there is no test."),
        Column("candidate", TEXT, "", "Candidate teacher, named alike."),
        Column("score", NUMBER, "", "How alike student and candidate are: the mean of the four "
            "likenesses that follow, of those that exist, in [−1, 1]."),
        Column("usual_score", NUMBER, "", "Mean score of the baselines with this candidate; empty "
            "without baselines."),
        Column("answers", NUMBER, "", "Likeness of their own ways to answer test images: cosine of "
            "centred logits without what all candidates share."),
        Column("noise", NUMBER, "", "The same on images of noise."),
        Column("boundary", NUMBER, "", "Correlation of where their decisions flip on lines between "
            "two test images, without what all candidates share; empty with one class."),
        Column("errors", NUMBER, "", "Share of the candidate's errors that the student makes in "
            "the same way, minus the mean of this share over the other candidates; empty where a "
            "candidate has fewer than 10 errors."),
        Column("t", NUMBER, "", "Studentised residual of `score` in the table of student and "
            "baselines by candidates; empty if there is no test."),
        Column("df", INTEGER, "", "Degrees of freedom of `t`."),
        Column("p_value", NUMBER, "", "One-sided p-value of `t`, of the hypothesis that no "
            "candidate taught the student."),
        Column("p_adjusted", NUMBER, "", "`p_value` after Holm's correction over the candidates."),
        Column("taught", BOOLEAN, "", "Whether this candidate is named as the teacher: rank 1 and "
            "`p_adjusted` < 0.01. Empty if there is no test."),
        Column("n_baselines", INTEGER, "networks", "Number of baselines."),
        Column("n_images", INTEGER, "images", "Number of test images."),
        Column("candidate_errors", INTEGER, "images", "Test images that the candidate has wrong."),
        Column("reason", TEXT, "", "Why there is no test; else empty."),
    ),
)
# fmt: on

TABLES: dict[TableName, Table] = {
    "measurements": MEASUREMENTS,
    "transfer": TRANSFER,
    "controls": CONTROLS,
    "paper": PAPER,
    "left_out": LEFT_OUT,
    "power": POWER,
    "classes": CLASSES,
}

EVERY_TABLE: dict[str, Table] = dict([*TABLES.items(), ("candidates", CANDIDATES)])
"""Those of a study, and that of an audit which looks for a teacher."""
