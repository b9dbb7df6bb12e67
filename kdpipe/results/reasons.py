"""Why a claim has no gap, in the words of the column ``reason`` of ``transfer``."""

NOT_MEASURABLE = "not measurable"
"""The interval of the gap contains 0, or there is none."""
SMALL = "smaller than min_gap"
