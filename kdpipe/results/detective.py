"""Which of several candidates taught a student, or none of them?

Every network is reduced to what it says on the same images. ``Seen`` holds that; the likeness of a
network N to candidate T_i is then measured in four ways, each a number in [−1, 1]:

* ``answers``: on test images. The centred logits of each network (per image the mean over classes
  is taken off; the whole is divided by its root mean square, so that confidence does not count)
  have much in common in all networks of one task: the mean over the candidates. What is left after
  the mean of each class, the mean of the candidates and any multiple of it are taken off is the
  network's own way of answering, r_N. The likeness is the cosine of r_N and r_i over all images and
  classes: "dark knowledge" (Hinton et al. 2015) with what everybody knows taken off.
* ``noise``: the same on images of noise, for which nobody has labels.
* ``boundary``: on straight lines between two test images of different classes, the share of the
  line on which a network prefers the first image's class says where its decision flips. The
  likeness is the correlation of these places over the lines, the candidates' mean taken off.
* ``errors``: where T_i is wrong, the share of images on which N gives T_i's wrong answer, minus the
  mean of that share over the other candidates.

The score is their mean; weights fitted to one student would have to be paid for in the test.

**The test.** Let y_ki be the score of network k with candidate i; rows are the student (k = 0) and
b baselines, columns the m candidates. Without a teacher among the candidates

    y_ki = μ + network_k + candidate_i + ε_ki,   ε_ki normal, of one variance:

a candidate may be nearer than another to everybody (the most accurate one often is), and a network
nearer than another to all candidates; neither says anything of who taught whom. "i taught the
student" is one cell that is higher than this says. It is tested by the externally studentised
residual of the cell (0, i) in the two-way layout, one-sided, with b(m − 1) − 1 degrees of freedom
(Cook & Weisberg 1982, *Residuals and Influence in Regression*, Sec. 2.2; in two-way tables
Stefansky 1972, *Technometrics* 14, 469). The spread is the one *between networks*: two that never
met differ in how near they are to a candidate, whatever the number of images, so that a test over
images alone finds a teacher for many a student. Images add to the same spread. Without baselines
candidate_i cannot be known and is taken as 0, which makes it the outlier test of Grubbs (1969,
*Technometrics* 11, 1) among the m scores of the student, with m − 2 degrees of freedom. Holm's
correction is over the candidates.

**What is assumed.** The student, if nobody taught it, is like a baseline (with baselines); or it is
as likely to be nearest to one candidate as to another (without: candidates of one architecture,
recipe and data that differ by seed). Of two teachers at once each hides the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kdpipe.results.statistics import holm

Array = NDArray[np.float64]
KINDS = ("answers", "noise", "boundary", "errors")
LEVEL = 0.01
"""Below this corrected p a candidate is named: to name a teacher is to accuse somebody."""
MIN_ERRORS = 10
"""Fewer wrong answers of a candidate than that say little; then ``errors`` is left out."""


@dataclass(frozen=True)
class Seen:
    """What networks say on the same images, one row of each array a network.

    ``answers`` (N, n, C) and ``noise`` (N, n', C): logits on test images and on noise.
    ``flips`` (N, L): the share of each line on which a network prefers the first image's class, in
    [0, 1]; L may be 0. ``labels`` (n,): of the test images.
    """

    answers: NDArray[np.float32]
    noise: NDArray[np.float32]
    flips: Array
    labels: NDArray[np.int64]

    def rows(self, networks: Sequence[int]) -> Seen:
        """The same of some networks, in that order."""
        some = list(networks)
        return Seen(self.answers[some], self.noise[some], self.flips[some], self.labels)


def likenesses(seen: Seen, candidates: Sequence[int]) -> dict[str, Array]:
    """Likeness of every network to every candidate, (N, m) by kind, in [−1, 1].

    ``candidates``: rows of ``seen``, at least two. A kind that these images and networks do not
    have is missing: ``errors`` where a candidate has fewer than MIN_ERRORS, ``boundary`` without
    lines or where all candidates flip at the same places. NaN for a network without any answer of
    its own, such as one that says the same of every image.
    """
    found = {
        "answers": soft_likeness(seen.answers, candidates),
        "noise": soft_likeness(seen.noise, candidates),
        "boundary": place_likeness(seen.flips, candidates),
        "errors": error_likeness(seen.answers.argmax(-1), seen.labels, candidates),
    }
    return {kind: value for kind, value in found.items() if np.isfinite(value).any(0).all()}


def own_answers(logits: NDArray[np.float32], candidates: Sequence[int]) -> Array:
    """What each network says in its own way, (N, n·C), from its ``logits`` (N, n, C)."""
    z = np.stack([_scaled(of_one) for of_one in logits])
    shared = z[list(candidates)].mean(0)
    own = (z - shared).reshape(len(z), -1)
    shared = shared.ravel()
    length = shared @ shared
    return own - np.outer(own @ shared / length, shared) if length > 0 else own


def _scaled(logits: NDArray[np.float32]) -> Array:
    """Logits (n, C) without the mean of each image, of size 1, without the mean of each class."""
    z = logits.astype(np.float64)
    z -= z.mean(1, keepdims=True)
    size = np.sqrt((z**2).mean())
    z = z / size if size > 0 else z
    return np.asarray(z - z.mean(0))


def soft_likeness(logits: NDArray[np.float32], candidates: Sequence[int]) -> Array:
    """Cosine of each network's own answers and each candidate's, (N, m)."""
    own = own_answers(logits, candidates)
    return _cosines(own, own[list(candidates)])


def place_likeness(flips: Array, candidates: Sequence[int]) -> Array:
    """Correlation over the lines of where networks flip, the candidates' mean taken off, (N, m)."""
    own = flips - flips[list(candidates)].mean(0)
    own = own - own.sum(1, keepdims=True) / max(own.shape[1], 1)
    return _cosines(own, own[list(candidates)])


def _cosines(rows: Array, others: Array) -> Array:
    """(N, m); NaN for what has no length."""
    with np.errstate(invalid="ignore", divide="ignore"):
        a, b = (v / _length(v) for v in (rows, others))
    return np.asarray(a @ b.T)


def _length(rows: Array) -> Array:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.where(length > 1e-9, length, np.nan)


def error_likeness(
    given: NDArray[np.int64], labels: NDArray[np.int64], candidates: Sequence[int]
) -> Array:
    """Where a candidate is wrong, how much more often a network gives its answer than the other
    candidates do, (N, m). ``given``: answers (N, n). NaN for a candidate with too few errors."""
    found = np.full((len(given), len(candidates)), np.nan)
    for column, candidate in enumerate(candidates):
        wrong = given[candidate] != labels
        if wrong.sum() < MIN_ERRORS:
            continue
        same = (given[:, wrong] == given[candidate, wrong]).mean(1)
        found[:, column] = same - same[[c for c in candidates if c != candidate]].mean()
    return found


class Outliers(NamedTuple):
    """The test of every candidate for one student: ``t``, ``p`` (m,), one-sided, and ``df``."""

    t: Array
    p: Array
    df: int


def outliers(student: Array, baselines: Array) -> Outliers:
    """Is a cell of the student's row higher than rows and columns explain?

    ``student`` (m,), ``baselines`` (b, m): scores. NaN with too few of them for a test, ``df`` < 1:
    two candidates need two baselines; three or more need none.
    """
    from scipy.stats import t as law

    table = np.vstack([student, baselines])
    rows, columns = table.shape
    if rows == 1:  # nothing is known of the columns
        residual = student - student.mean()
        left, df = 1 - 1 / columns, columns - 2
        squares = (residual**2).sum()
    else:
        fitted = table.mean(0) + table.mean(1, keepdims=True) - table.mean()
        residual = (table - fitted)[0]
        left, df = (1 - 1 / rows) * (1 - 1 / columns), (rows - 1) * (columns - 1) - 1
        squares = ((table - fitted) ** 2).sum()
    if df < 1:
        none = np.full(columns, np.nan)
        return Outliers(none, none, df)
    # The spread without the cell that is tested: it would hide itself.
    variance = np.maximum(squares - residual**2 / left, 0) / df
    with np.errstate(divide="ignore", invalid="ignore"):
        t = residual / np.sqrt(variance * left)
    return Outliers(t, np.asarray(law.sf(t, df)), df)


@dataclass(frozen=True)
class Judged:
    """One student beside every candidate; arrays are (m,), in the candidates' order.

    ``kinds``: likeness by kind. ``usual``: mean score of the baselines, NaN without any.
    ``named``: the candidate that taught it, None where none stands out. ``reason``: why there is no
    test, or None.
    """

    kinds: dict[str, Array]
    score: Array
    usual: Array
    t: Array
    p: Array
    p_adjusted: Array
    df: int
    named: int | None
    reason: str | None = None

    @property
    def order(self) -> list[int]:
        """Candidates from the one that stands out most to the one that does least.

        By t, in which what the baselines say is taken off; by the score where there is no test.
        """
        by = self.t if np.isfinite(self.t).all() else self.score
        return [int(k) for k in np.argsort(-by, kind="stable")]


def judge(
    seen: Seen,
    candidates: Sequence[int],
    student: int,
    baselines: Sequence[int],
    doubt: str | None = None,
) -> Judged:
    """Which of the candidates taught the student. Numbers are rows of ``seen``.

    ``doubt``: why the test would not hold for these networks; then there is no p.
    """
    some = [*candidates, student, *baselines]
    m = len(candidates)
    kinds = likenesses(seen.rows(some), range(m))
    score = np.mean(list(kinds.values()), axis=0)
    own, others = score[m], score[m + 1 :]
    usual = others.mean(0) if len(others) else np.full(m, np.nan)
    test = outliers(own, others)
    reason = doubt
    if reason is None and test.df < 1:
        reason = "two candidates need two baselines, or give a third candidate"
    if reason is None and not np.isfinite(test.p).all():
        reason = "the networks do not differ, or one says the same of every image"
    if reason is not None:
        none = np.full(m, np.nan)
        test = Outliers(none, none, test.df)
    adjusted = np.array(holm(list(test.p)))
    best = None if reason else int(np.nanargmin(test.p))
    named = best if best is not None and adjusted[best] < LEVEL else None
    own_kinds = {kind: kinds[kind][m] if kind in kinds else np.full(m, np.nan) for kind in KINDS}
    return Judged(own_kinds, own, usual, test.t, test.p, adjusted, test.df, named, reason)
