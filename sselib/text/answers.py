"""Answers: a number from the text that a language model writes, or the reason why there is none.

An answer counts if its first line is one plain number in the range of log10(S/cm). Nothing is guessed: a
model that writes "about -4" or a conductivity with its unit has not answered as asked.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sselib.materials.conductivity import LOG10_SIGMA_MAX, LOG10_SIGMA_MIN

_MINUS = str.maketrans(dict.fromkeys("−–‐‑‒﹣－", "-"))
_PLAIN = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)")
_SCIENTIFIC = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)[eE][+-]?\d+.*|.*\b10\s*\^\s*[({]?-?\d.*|.*\bS\s*/?\s*cm.*")


@dataclass(frozen=True)
class WrittenAnswer:
    """``value`` in log10(S/cm), NaN where ``reason`` says why it is refused."""

    text: str
    value: float
    reason: str


def parse_answer(text: str) -> WrittenAnswer:
    """Read a model's answer; every kind of minus sign is accepted, blanks around the number too."""
    line = text.strip().split("\n")[0].strip().translate(_MINUS)
    reason = _why_refused(line)
    return WrittenAnswer(text, float("nan") if reason else float(line), reason)


def _why_refused(line: str) -> str:
    if not line:
        return "empty"
    if _SCIENTIFIC.fullmatch(line):
        return "conductivity"
    if not _PLAIN.fullmatch(line):
        return "more than a number" if re.search(r"\d", line) else "no number"
    return "" if LOG10_SIGMA_MIN <= float(line) <= LOG10_SIGMA_MAX else "out of range"


def format_answer(value: float, *, decimals: int) -> str:
    """Return the text that a model is trained to write for log10(S/cm), for example "-3.210"."""
    return f"{round(float(value), decimals) + 0.0:.{decimals}f}"


def copied(predicted: Sequence[float], train_labels: Sequence[float], *, decimals: int = 3) -> np.ndarray:
    """Return for each prediction whether it equals a training label at that many decimals, shape (n,).

    Kim et al. (text above their Table 9) saw such copies for materials close to training rows.
    """
    labels = np.unique(np.round(np.asarray(train_labels, float), decimals))
    return np.isin(np.round(np.asarray(predicted, float), decimals), labels)
