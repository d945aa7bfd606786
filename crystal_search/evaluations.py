"""Energy, forces and stress of crystals from any ASE calculator, of many at once where it can do that."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.stress import voigt_6_to_full_3x3_stress

VOIGT = [0, 4, 8, 5, 2, 1]  # of a flattened (3, 3) tensor, ASE's order


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Energy in eV, forces (n, 3) in eV/Angstrom and stress (3, 3) in eV/Angstrom^3 of one crystal."""

    energy: float
    forces: np.ndarray
    stress: np.ndarray

    def results(self) -> dict[str, object]:
        """Return the ``results`` of an ASE calculator, the stress in Voigt order."""
        stress = self.stress.flat[VOIGT]
        return {
            "energy": self.energy, "free_energy": self.energy, "forces": self.forces, "stress": stress
        }  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A crystal on the way of a relaxation: forces (n, 3), eV/Angstrom, stress (6,), eV/Angstrom^3, Voigt."""

    atoms: Atoms
    energy_ev_atom: float
    forces: np.ndarray
    stress_voigt: np.ndarray

    @classmethod
    def of(cls, atoms: Atoms, evaluation: Evaluation) -> "Snapshot":
        """Return the snapshot of an evaluated crystal."""
        energy, forces = float(evaluation.energy) / len(atoms), np.asarray(evaluation.forces, dtype=float)
        stress = np.asarray(evaluation.stress.flat[VOIGT], dtype=float)
        return cls(atoms=atoms, energy_ev_atom=energy, forces=forces, stress_voigt=stress)


def evaluate_many(calculator: Calculator, batch: Sequence[Atoms]) -> list[Evaluation]:
    """Return energy, forces and stress of each crystal from any ASE calculator.

    A calculator with a method ``evaluate_many`` gets them all at once, another one after another.
    """
    together = getattr(calculator, "evaluate_many", None)
    if together is not None:
        return together(batch)
    found = []
    for atoms in batch:
        calculator.calculate(atoms, ["energy", "forces", "stress"], list(all_changes))
        r = calculator.results
        stress = voigt_6_to_full_3x3_stress(np.asarray(r["stress"]))
        found.append(Evaluation(energy=float(r["energy"]), forces=np.array(r["forces"]), stress=stress))
    return found
