"""What a search costs: evaluations, seconds, progress."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np
import pandas as pd

from crystal_search.database import SearchCandidate, candidate_table
from crystal_search.relaxation import ABANDONED, FAILED, RELAXED
from sselib.generation.campaign import SearchCase


def progress_curve(candidates: Sequence[SearchCandidate]) -> pd.DataFrame:
    """Return the best enthalpy against evaluations: one row per candidate that lowered it.

    Columns evaluations_so_far, generation, operator, best_enthalpy_ev_atom; the first row is that of
    the first relaxed candidate, a last one repeats the best at the end of the search.
    """
    table = candidate_table(candidates)
    table = table.sort_values("evaluations_so_far", kind="stable")
    relaxed = table[table["status"].isin(RELAXED)]
    best = relaxed["enthalpy_ev_atom"].cummin()
    lowered = relaxed[best.diff().fillna(-1) < 0].assign(best_enthalpy_ev_atom=best)
    columns = ["evaluations_so_far", "generation", "operator", "best_enthalpy_ev_atom"]
    if lowered.empty:
        return pd.DataFrame(columns=columns)
    end = lowered.iloc[[-1]].assign(
        evaluations_so_far=int(table["n_evaluations"].sum()), generation=int(table["generation"].max())
    )
    return pd.concat([lowered, end], ignore_index=True)[columns]


def curves_on_grid(curves: Sequence[pd.DataFrame], *, n_points: int = 60) -> pd.DataFrame:
    """Return the median and range over searches of the best enthalpy on a common grid of evaluations.

    Columns evaluations, median, low, high (smallest and largest over the searches) and n; the grid ends
    where the first search ends and begins where all have a structure.
    """
    full = [c for c in curves if len(c)]
    if not full:
        return pd.DataFrame(columns=["evaluations", "median", "low", "high", "n"])
    begin = max(c["evaluations_so_far"].iloc[0] for c in full)
    end = max(begin, min(c["evaluations_so_far"].iloc[-1] for c in full))
    grid = np.unique(np.linspace(begin, end, n_points).astype(int))
    values = np.array([_step_values(c, grid) for c in full])
    return pd.DataFrame(
        {
            "evaluations": grid,
            "median": np.median(values, axis=0),
            "low": values.min(axis=0),
            "high": values.max(axis=0),
            "n": len(full),
        }
    )


def _step_values(curve: pd.DataFrame, grid: np.ndarray) -> np.ndarray:
    """Return the best enthalpy known after each number of evaluations."""
    at = np.searchsorted(curve["evaluations_so_far"].to_numpy(), grid, side="right") - 1
    return curve["best_enthalpy_ev_atom"].to_numpy()[np.maximum(at, 0)]


def effort_table(searches: Mapping[SearchCase, Sequence[SearchCandidate]]) -> pd.DataFrame:
    """Return one row per search: structures, relaxations, energy evaluations, process seconds.

    ``generation_of_best`` counts from 0 and is missing, as the best enthalpy is, where nothing was relaxed.
    """
    rows = []
    for case, candidates in searches.items():
        relaxed = [c for c in candidates if c.status in RELAXED]
        best = min(relaxed, key=lambda c: c.enthalpy_ev_atom, default=None)
        rows.append(
            {
                **asdict(case),
                "n_atoms": len(candidates[0].atoms),
                "generations": 1 + max(c.generation for c in candidates),
                "structures": len(candidates),
                "relaxed": len(relaxed),
                "given_up": sum(c.status == ABANDONED for c in candidates),
                "failed": sum(c.status == FAILED for c in candidates),
                "energy_evaluations": sum(c.n_evaluations for c in candidates),
                "seconds": round(sum(c.seconds for c in candidates), 1),
                "model_relaxations": sum(c.n_model_relaxations for c in candidates),
                "model_seconds": round(sum(c.model_seconds for c in candidates), 1),
                "best_enthalpy_ev_atom": best.enthalpy_ev_atom if best else np.nan,
                "generation_of_best": best.generation if best else np.nan,
            }
        )
    return pd.DataFrame(rows)
