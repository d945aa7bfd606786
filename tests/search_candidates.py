"""Candidates of a search as tests want them, without a search."""

import numpy as np
from ase import Atoms

from crystal_search.database import SearchCandidate
from crystal_search.population import SEED


def candidate(number: int, enthalpy: float, atoms: Atoms, **changes: object) -> SearchCandidate:
    """Return a relaxed candidate that took 10 evaluations; ``changes`` are other values of its fields."""
    values = {
        "number": number,
        "generation": 0,
        "operator": SEED,
        "parents": (),
        "parent_enthalpy_ev_atom": float("nan"),
        "space_group": 1,
        "status": "converged",
        "reason": "",
        "enthalpy_ev_atom": enthalpy,
        "energy_ev_atom": enthalpy,
        "volume_angstrom3_atom": atoms.get_volume() / len(atoms),
        "n_evaluations": 10,
        "seconds": 1.0,
        "n_model_relaxations": 1,
        "model_seconds": 0.1,
        "curve": tuple(enthalpy + 0.1 * np.exp(-np.arange(40) / 5)),
        "atoms": atoms,
    }
    return SearchCandidate(**(values | changes))
