"""What a search costs: evaluations, seconds, progress."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np
import pandas as pd

from crystal_search.database import SearchCandidate, candidate_table
from crystal_search.relaxation import ABANDONED, FAILED, RELAXED
from sselib.generation.campaign import SearchCase

_TOTALS = {  # of the candidates of a search: name of a candidate's field, and of the column
    "n_evaluations": "energy_evaluations",
    "seconds": "seconds",
    "n_model_relaxations": "model_relaxations",
    "model_seconds": "model_seconds",
}


def progress_curve(candidates: Sequence[SearchCandidate]) -> pd.DataFrame:
    """Return the best enthalpy against evaluations: one row per candidate that lowered it.

    Columns evaluations_so_far, generation, operator, best_enthalpy_ev_atom; the first row is that of
    the first relaxed candidate, a last one repeats the best at the end of the search.
    """
    table = candidate_table(candidates).sort_values("evaluations_so_far", kind="stable")
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
    # the best enthalpy known after each number of evaluations
    places = [np.searchsorted(c["evaluations_so_far"], grid, side="right") - 1 for c in full]
    best = [c["best_enthalpy_ev_atom"].to_numpy()[np.maximum(at, 0)] for c, at in zip(full, places)]
    lines = {"median": np.median(best, axis=0), "low": np.min(best, axis=0), "high": np.max(best, axis=0)}
    return pd.DataFrame({"evaluations": grid, **lines, "n": len(full)})


def effort_table(searches: Mapping[SearchCase, Sequence[SearchCandidate]]) -> pd.DataFrame:
    """Return one row per search: structures, relaxations, energy evaluations, process seconds.

    ``generation_of_best`` counts from 0 and is missing, as the best enthalpy is, where nothing was relaxed.
    """
    rows = []
    for case, candidates in searches.items():
        relaxed = [c for c in candidates if c.status in RELAXED]
        best = min(relaxed, key=lambda c: c.enthalpy_ev_atom, default=None)
        total = {n: sum(getattr(c, n) for c in candidates) for n in _TOTALS}
        rows.append(
            {
                **asdict(case),
                "n_atoms": len(candidates[0].atoms),
                "generations": 1 + max(c.generation for c in candidates),
                "structures": len(candidates),
                "relaxed": len(relaxed),
                "given_up": sum(c.status == ABANDONED for c in candidates),
                "failed": sum(c.status == FAILED for c in candidates),
                **{name: round(total[key], 1) for key, name in _TOTALS.items()},
                "best_enthalpy_ev_atom": best.enthalpy_ev_atom if best else np.nan,
                "generation_of_best": best.generation if best else np.nan,
            }
        )
    return pd.DataFrame(rows)
