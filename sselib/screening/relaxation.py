"""Relaxation of ordered candidate structures with CHGNet, whose weights ship with its package.

Source: Deng et al., Nat. Mach. Intell. 5, 1031 (2023), doi 10.1038/s42256-023-00716-3.
"""

from functools import lru_cache

from pymatgen.core import Structure

from sselib.errors import DataError

DISORDERED = (
    "not relaxed: disordered, and CHGNet needs one atom per site (order it with sselib.atomsets.ordering)"
)


def relaxed(structure: Structure, *, max_steps: int, fmax_ev_angstrom: float = 0.1) -> tuple[Structure, str]:
    """Return the structure with cell and positions relaxed, and a word about what was done.

    0 steps return it as it is. A disordered structure is returned as it is too: CHGNet needs one atom per
    site, and which ordering to take is a question of its own. Raises `DataError` without chgnet.
    """
    if max_steps == 0:
        return structure, "not relaxed"
    if not structure.is_ordered:
        return structure, DISORDERED
    found = _optimizer().relax(structure, fmax=fmax_ev_angstrom, steps=max_steps, verbose=False)
    steps = len(found["trajectory"].energies)
    end = "stopped" if steps > max_steps else "relaxed"
    return found["final_structure"], f"{end} after {min(steps, max_steps)} CHGNet steps"


@lru_cache(maxsize=1)
def _optimizer() -> object:
    try:
        from chgnet.model import StructOptimizer
    except ModuleNotFoundError as error:
        raise DataError(
            f"relaxation needs {error.name}: pip install -e '.[generation]', or set relax_steps to 0"
        ) from error
    return StructOptimizer(use_device="cpu")
