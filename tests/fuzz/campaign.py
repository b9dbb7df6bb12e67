"""A long search: ``python tests/fuzz/campaign.py --seconds 600``.

A number determines every input: ``--subject parquet --start 4711 --number 1`` repeats one. Exits
with 1 if there is a finding.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parents[1]))
from helpers.fuzz.subjects import EVERY, SECONDS, SUBJECTS
from helpers.fuzz.verdict import LIMIT, judge


def main() -> int:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--seconds", type=float, default=600)
    words.add_argument("--number", type=int, default=10**9, help="inputs of each kind, at most")
    words.add_argument("--start", type=int, default=0, help="number of the first input")
    words.add_argument("--subject", choices=SUBJECTS, action="append")
    asked = words.parse_args()
    warnings.simplefilter("ignore")
    counts: Counter[tuple[str, str]] = Counter()
    findings: dict[tuple[str, ...], list[str]] = {}
    end = time.monotonic() + asked.seconds
    names = asked.subject or list(SUBJECTS)
    spent: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(asked.start, asked.start + asked.number):
            for name in names:
                if number % EVERY.get(name, 1) and not asked.subject:
                    continue
                begun = time.monotonic()
                limit = SECONDS.get(name, LIMIT)
                sandbox = Path(folder) / "sandbox"
                verdict = judge(SUBJECTS[name], f"{name} {number}", sandbox, limit)
                spent[name] += time.monotonic() - begun
                counts[name, verdict.kind] += 1
                if verdict.kind == "finding":
                    key = (name, verdict.where, verdict.text.split(":")[0])
                    if key not in findings:
                        print(f"{name} {number}: {verdict.text}\n    {verdict.where}", flush=True)
                    findings.setdefault(key, []).append(f"{name} {number}")
            if time.monotonic() > end:
                break
    print("kind | inputs | success | one sentence | findings | ms each")
    for name in names:
        kinds = [counts[name, kind] for kind in ("success", "sentence", "finding")]
        each = 1000 * spent[name] / max(1, sum(kinds))
        print(name, sum(kinds), *kinds, f"{each:.1f}", sep=" | ")
    for key, inputs in findings.items():
        print(f"{len(inputs)} × {' | '.join(key)}: {', '.join(inputs[:5])}")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
