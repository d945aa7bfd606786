"""Ranking by several objectives: non-dominated fronts, and a score from the user's weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from sselib.errors import ParameterError
from sselib.screening.scores import described_columns

MAXIMISE, MINIMISE = "max", "min"


@dataclass(frozen=True)
class Objective:
    """One column to optimise: its direction ("max" or "min") and its weight in the score (0 or more)."""

    column: str
    direction: str
    weight: float = 1.0


def objectives_of(weights: Mapping[str, float]) -> list[Objective]:
    """Return the objectives with a weight above 0, by column (of `data/scores.yaml`).

    Raises `ParameterError` for a negative weight, and where all are 0.
    """
    if min(weights.values()) < 0 or not sum(weights.values()) > 0:
        raise ParameterError(f"weights of objectives are {weights}: expected none below 0 and one above 0")
    return [Objective(c, described_columns()[c].better, w) for c, w in weights.items() if w > 0]


def pareto_front_numbers(values: np.ndarray) -> np.ndarray:
    """Return for each row the number of its non-dominated front, counted from 1.

    ``values`` (n, k) are to be maximised; a row dominates another if it is nowhere worse and somewhere
    better. Rows with a NaN are in no front (0).
    """
    numbers = np.zeros(len(values), dtype=int)
    left = np.flatnonzero(~np.isnan(values).any(axis=1))
    while len(left):
        best = np.ones(len(left), dtype=bool)
        for row in np.argsort(-values[left].sum(axis=1), kind="stable"):
            if best[row]:
                here, others = values[left[row]], values[left]
                best &= ~((others <= here).all(axis=1) & (others < here).any(axis=1))
        numbers[left[best]] = numbers.max() + 1
        left = left[~best]
    return numbers


def rank_by_objectives(table: pd.DataFrame, objectives: Sequence[Objective]) -> pd.DataFrame:
    """Return ``pareto_front`` (1 is best, 0 where a value is missing) and ``score`` (0 to 1) of each row."""
    found = {
        "pareto_front": pareto_front_numbers(_to_maximise(table, objectives)),
        "score": score_by_objectives(table, objectives),
    }
    return pd.DataFrame(found, index=table.index)


def score_by_objectives(table: pd.DataFrame, objectives: Sequence[Objective]) -> np.ndarray:
    """Return the score of each row, 0 to 1, shape (n,).

    The weighted mean of each objective's rank among the rows (1 best, 0 worst, ties share their mean), so
    that units and outliers do not matter; a missing value counts as worst.
    """
    values = _to_maximise(table, objectives)
    weights = np.array([o.weight for o in objectives])
    ranks = pd.DataFrame(values).rank(method="average", na_option="top").to_numpy()
    scaled = (ranks - 1) / max(len(table) - 1, 1)
    scaled[np.isnan(values)] = 0.0
    return scaled @ weights / weights.sum()


def _to_maximise(table: pd.DataFrame, objectives: Sequence[Objective]) -> np.ndarray:
    """Return the objectives' columns, their signs such that larger is better, shape (n, k)."""
    signs = np.array([1.0 if o.direction == MAXIMISE else -1.0 for o in objectives])
    return table[[o.column for o in objectives]].to_numpy(float) * signs


def with_values(objectives: Sequence[Objective], table: pd.DataFrame) -> list[Objective]:
    """Return the objectives that have a value in at least one row, so that one without any drops nobody.

    Raises `ParameterError` where none with a weight is left.
    """
    kept = [o for o in objectives if table[o.column].notna().any()]
    if not sum(o.weight for o in kept) > 0:
        raise ParameterError("no objective with a weight has values: name other columns, or score structures")
    return kept


def ranked(filtered: pd.DataFrame, objectives: Sequence[Objective]) -> pd.DataFrame:
    """Return the table with ``pareto_front``, ``score`` and ``rank`` of the kept rows, best first.

    Rows that a filter dropped come after them and have neither (front 0). Equal scores go by id.
    """
    kept = filtered[filtered["kept"]]
    table = filtered.assign(pareto_front=0, score=np.nan)
    if len(kept):
        best = rank_by_objectives(kept, objectives)
        table.loc[best.index, list(best)] = best
    table = table.sort_values(["kept", "score", "id"], ascending=[False, False, True]).reset_index(drop=True)
    return table.assign(rank=pd.Series(range(1, len(table) + 1)).where(table["kept"]).astype("Int64"))
