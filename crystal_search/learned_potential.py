"""A potential that a search learns from its own energy evaluations, to judge offspring before they cost any.

Fitted to energies, forces and stresses of the crystals on the way of each relaxation, by linear least squares
in the functions of `crystal_search.moments`. That a potential learned on the way saves most evaluations of a
search was shown by Podryabinkin et al., Phys. Rev. B 99, 064114 (2019), doi 10.1103/PhysRevB.99.064114.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from crystal_search.database import SearchCandidate
from crystal_search.evaluations import VOIGT, Snapshot
from crystal_search.moments import MomentBasis
from crystal_search.relaxation import FAILED

ENERGY_ERROR_EV_ATOM = 0.01  # at the lowest energy; by this the equations of the energies are weighted
ENERGY_ERROR_GROWTH = 0.2  # of the energy above the lowest, which adds to it
FORCE_ERROR_EV_ANGSTROM = 0.1
FORCE_ERROR_GROWTH = 0.3  # of the largest force
RIDGE = 1e-4  # relative to the diagonal of the normal equations
MOST_ELEMENTS = 5  # 4,411 functions; six would be 7,495 and their normal equations half a GB


class LearnedPotential(Calculator):
    """Energy, forces and stress of a fitted potential, as an ASE calculator."""

    implemented_properties = ("energy", "free_energy", "forces", "stress")

    def __init__(self, basis: MomentBasis, coefficients: np.ndarray) -> None:
        """Take the functions and the coefficient of each in eV."""
        super().__init__()
        self._basis, self._coefficients = basis, coefficients

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] | None = None,
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Fill ``results`` with energy (eV), forces (eV/Angstrom) and stress (eV/Angstrom^3, Voigt)."""
        super().calculate(atoms, properties, system_changes)
        energy, forces, stress = self._basis.evaluate(self.atoms, self._coefficients)
        self.results.update(energy=energy, free_energy=energy, forces=forces, stress=stress.flat[VOIGT])


class NormalEquations:
    """The normal equations of the fit, to which snapshots are added one after another.

    The errors that energies are allowed grow above the lowest of the first snapshots, so these should be of a
    whole generation.
    """

    def __init__(self, elements: Iterable[int], first: Sequence[Snapshot]) -> None:
        """Begin with the snapshots of a search's first relaxations; ``elements`` are atomic numbers."""
        self.basis = MomentBasis(elements=tuple(sorted({int(e) for e in elements})))
        self._lowest = min(s.energy_ev_atom for s in first)
        self._matrix = np.zeros((len(self.basis), len(self.basis)))
        self._right = np.zeros(len(self.basis))
        self.add(first)

    def add(self, snapshots: Iterable[Snapshot]) -> None:
        """Add the equations of some snapshots; those that are not finite are left out."""
        for snapshot in snapshots:
            rows, values = self._equations(snapshot)
            if not (np.isfinite(rows).all() and np.isfinite(values).all()):
                continue
            self._matrix += rows.T @ rows
            self._right += rows.T @ values

    def _equations(self, snapshot: Snapshot) -> tuple[np.ndarray, np.ndarray]:
        """Return the weighted equations for energy per atom, forces and stress of one snapshot."""
        n, virial = len(snapshot.atoms), snapshot.stress_voigt * snapshot.atoms.get_volume()
        design, forces = self.basis.design(snapshot.atoms), snapshot.forces
        above = max(0.0, snapshot.energy_ev_atom - self._lowest)
        by_energy = 1 / (ENERGY_ERROR_EV_ATOM + ENERGY_ERROR_GROWTH * above)
        by_force = 1 / (FORCE_ERROR_EV_ANGSTROM + FORCE_ERROR_GROWTH * np.abs(forces).max())
        by_stress = 1 / (FORCE_ERROR_EV_ANGSTROM + FORCE_ERROR_GROWTH * np.abs(virial / n).max()) / np.sqrt(n)
        rows = [design.energy[None] / n * by_energy, design.forces * by_force, design.virial * by_stress]
        values = [
            [(snapshot.energy_ev_atom - self._lowest) * by_energy],
            forces.ravel() * by_force,
            virial * by_stress,
        ]
        return np.vstack(rows), np.concatenate(values)

    def potential(self) -> LearnedPotential:
        """Return the potential that fits the snapshots best, every coefficient held small (ridge)."""
        scale = np.sqrt(np.diag(self._matrix)) + 1e-9
        matrix = self._matrix / scale[:, None] / scale
        matrix[np.diag_indices_from(matrix)] += RIDGE
        coefficients = np.linalg.solve(matrix, self._right / scale) / scale
        coefficients[-1] += self._lowest
        return LearnedPotential(self.basis, coefficients)


class Learner:
    """The potential of one search, taught by its candidates in the order of their numbers."""

    def __init__(self) -> None:
        """Begin without having seen any."""
        self._lessons: NormalEquations | None = None
        self._n_seen = 0

    def potential(self, done: Sequence[SearchCandidate]) -> LearnedPotential | None:
        """Return the potential after these candidates, None if there is nothing to learn from.

        Nor is one made for more than `MOST_ELEMENTS`. Of the first generation, what failed teaches nothing.
        ``done`` is that of the call before with others behind it.
        """
        new = done[self._n_seen :]
        if self._lessons is None:
            whole = [c for c in done if not c.generation and c.status != FAILED]
            first = [s for c in whole for s in c.snapshots if np.isfinite(s.energy_ev_atom)]
            if not first or len(set(first[0].atoms.numbers)) > MOST_ELEMENTS:
                return None
            self._lessons = NormalEquations(first[0].atoms.numbers, first)
            new = [c for c in done if c.generation]
        self._n_seen = len(done)
        self._lessons.add(s for c in new for s in c.snapshots)
        return self._lessons.potential()
