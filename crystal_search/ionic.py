"""A pair model of ionic crystals: random crystals are relaxed with it before the potential sees them.

Ions carry their oxidation states. They attract and repel by Coulomb's law, damped and shifted to zero at a
cutoff (Fennell and Gezelter, J. Chem. Phys. 124, 234104 (2006), doi 10.1063/1.2206581), and opposite
charges repel at short range as r^-n (Born). Polyanions (`crystal_search.polyanions`) are held together by
springs, their centres give three quarters of their charge to the ligands, and anions in contact repel each
other. It costs no energy evaluation and a tenth of a second; what it is good for stands in the README.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.data import atomic_numbers, covalent_radii
from ase.optimize import BFGS
from ase.units import Bohr, Hartree
from pymatgen.core import Composition, Element
from scipy.special import erfc
from threadpoolctl import threadpool_limits

from crystal_search.evaluations import VOIGT
from crystal_search.neighbours import near_pairs
from crystal_search.polyanions import Bonds
from crystal_search.relaxation import FAILURES, LogStrainFilter

COULOMB_EV_ANGSTROM = Hartree * Bohr  # energy of two elementary charges at 1 Angstrom
CHARGE_SHARE = 0.6  # of the product of two oxidation states: bonds are partly covalent
CUTOFF_ANGSTROM = 8.0
DAMPING_PER_ANGSTROM = 0.25
BORN_EXPONENT = 8
BORN_SHARE = 0.25  # of a pair's attraction, balanced at the sum of radii; gives the right volumes
LEAST_RATIO = 0.4  # of the sum of radii, below which the repulsion stays constant
BOND_EV_ANGSTROM2 = 30.0  # stiffness of a bond inside a polyanion; those of P-O and C-O are 20 to 50
BOND_SHARE = 0.75  # of the charge of a polyanion's centre, that its ligands take
CONTACT_EV = 0.05  # repulsion of two anions that touch, or of a centre and an anion behind its ligands
ANGLE_EV_ANGSTROM2 = 10.0  # of the distance of two of its ligands
ANION_GROWTH_ANGSTROM = 0.85  # added to the covalent radius of an anion without a tabulated ionic one
STATES = {"B": [3], "H": [-1, 1]}  # all that is guessed: pymatgen's first guess for LiBH4 has B 3-
MAX_STEPS = 60
FMAX_EV_ANGSTROM = 0.3


def ionic_radius(symbol: str, state: float) -> float:
    """Return the ionic radius in Angstrom of the tabulated state nearest to ``state``; NaN if none."""
    radii = {float(s): float(r) for s, r in Element(symbol).ionic_radii.items() if s * state > 0}
    return radii[min(radii, key=lambda s: abs(s - state))] if radii else np.nan


class IonicModel(Calculator):
    """Energy (eV), forces and stress; with ``keep_volume`` the stress has no isotropic part."""

    implemented_properties = ("energy", "free_energy", "forces", "stress")

    def __init__(
        self,
        charges: np.ndarray,
        radii: np.ndarray,
        *,
        bonds: Bonds | None = None,
        keep_volume: bool = False,
    ) -> None:
        """Take the charge (elementary charges) and radius (Angstrom) of each atom, both (n_atoms,).

        Atoms bound in ``bonds`` hold each other by springs instead.
        """
        super().__init__()
        self._charges, self._radii, self._bonds, self._keep_volume = charges, radii, bonds, keep_volume

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] | None = None,
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Fill ``results`` (ASE's conventions); the energy leaves out what does not depend on positions."""
        super().calculate(atoms, properties, system_changes)
        i, j, vectors, length = near_pairs(self.atoms, CUTOFF_ANGSTROM)
        strength = COULOMB_EV_ANGSTROM * CHARGE_SHARE * self._charges[i] * self._charges[j]
        parts = [_coulomb(strength, length), _born(strength, length, self._radii[i] + self._radii[j])]
        if self._bonds is not None:
            parts.append(_contacts(self._bonds, self._charges, self._radii, i, j, length))
        energies, slopes = (sum(part) for part in zip(*parts, strict=True))
        if self._bonds is not None:
            _replace_by_springs(energies, slopes, self._bonds, i, j, length)
        pulls = -(slopes / length)[:, None] * vectors
        forces = np.zeros((len(self.atoms), 3))
        np.add.at(forces, i, pulls)
        np.add.at(forces, j, -pulls)
        stress = -(vectors.T @ pulls) / self.atoms.get_volume()
        stress = (stress + stress.T) / 2 - self._keep_volume * np.eye(3) * np.trace(stress) / 3
        energy = float(energies.sum())
        self.results.update(energy=energy, free_energy=energy, forces=forces, stress=stress.flat[VOIGT])


def _coulomb(strength: np.ndarray, r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return energies and slopes of damped charges, both zero at the cutoff."""
    end, end_slope = _damped(np.array([CUTOFF_ANGSTROM]))
    value, slope = _damped(r)
    return strength * (value - end - end_slope * (r - CUTOFF_ANGSTROM)), strength * (slope - end_slope)


def _damped(r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return erfc(a r) / r and its derivative."""
    value = erfc(DAMPING_PER_ANGSTROM * r) / r
    gauss = 2 * DAMPING_PER_ANGSTROM / np.sqrt(np.pi) * np.exp(-((DAMPING_PER_ANGSTROM * r) ** 2))
    return value, -(value + gauss) / r


def _born(strength: np.ndarray, r: np.ndarray, radii: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return energies and slopes of the repulsion of opposite charges."""
    height = np.where(strength < 0, -strength, 0.0) * BORN_SHARE / (BORN_EXPONENT * radii)
    value = height * (radii / np.maximum(r, LEAST_RATIO * radii)) ** BORN_EXPONENT
    return value, -BORN_EXPONENT * value / r


def _contacts(
    bonds: Bonds, charges: np.ndarray, radii: np.ndarray, i: np.ndarray, j: np.ndarray, r: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return energies and slopes of the repulsion of a polyanion's atoms and the anions around it."""
    reach = bonds.centre_ligand.max(axis=1)
    is_anion = charges < 0
    is_centre = ~is_anion & (reach > 0)
    size = np.where(is_anion, radii, np.where(is_centre, reach, 0.0))
    near = (is_anion[i] & (is_anion | is_centre)[j]) | (is_anion[j] & is_centre[i])
    contact = near * (size[i] + size[j])
    value = CONTACT_EV * (contact / np.maximum(r, LEAST_RATIO * contact)) ** BORN_EXPONENT
    return value, -BORN_EXPONENT * value / r


def _replace_by_springs(
    energies: np.ndarray, slopes: np.ndarray, bonds: Bonds, i: np.ndarray, j: np.ndarray, length: np.ndarray
) -> None:
    """Set the energies and slopes of bound pairs to those of springs; of images the nearest counts."""
    nearest = np.argsort(length, kind="stable")
    nearest = nearest[np.unique(i[nearest] * len(bonds.centre_ligand) + j[nearest], return_index=True)[1]]
    for rest, stiffness in (
        (bonds.centre_ligand, BOND_EV_ANGSTROM2),
        (bonds.ligand_ligand, ANGLE_EV_ANGSTROM2),
    ):
        bound = nearest[rest[i[nearest], j[nearest]] > 0]
        stretch = length[bound] - rest[i[bound], j[bound]]
        energies[bound], slopes[bound] = stiffness * stretch**2 / 2, stiffness * stretch


def guessed_states(content: Mapping[str, int]) -> dict[str, float]:
    """Return pymatgen's likeliest oxidation states of these amounts of elements, empty where none balance."""
    whole = Composition(content).reduced_composition
    found = whole.oxi_state_guesses(oxi_states_override={s: STATES[s] for s in STATES if s in content})
    states = {s: float(q) for s, q in found[0].items()} if found else {}
    return states if any(states.values()) else {}


def ionic_model(
    atoms: Atoms, states: Mapping[str, float], *, bonds: Bonds | None = None, keep_volume: bool = False
) -> IonicModel | None:
    """Return the model of atoms with these oxidation states, None where there are no states (alloys)."""
    if not states:
        return None
    radii, symbols = {s: _radius(s, q) for s, q in states.items()}, atoms.get_chemical_symbols()
    charges, sizes = (np.array([of[s] for s in symbols]) for of in (states, radii))
    if bonds is not None:
        charges = _shared(charges, bonds)
    return IonicModel(charges, sizes, bonds=bonds, keep_volume=keep_volume)


def _shared(charges: np.ndarray, bonds: Bonds) -> np.ndarray:
    """Return the charges after each bond has given a part of the centre's charge to its ligand."""
    bound = bonds.centre_ligand > 0
    is_centre = charges > 0
    given = BOND_SHARE * (bound & is_centre[:, None]) * (charges / np.maximum(1, bound.sum(axis=1)))[:, None]
    return charges - given.sum(axis=1) + given.sum(axis=0)


def _radius(symbol: str, state: float) -> float:
    tabulated = ionic_radius(symbol, state)
    if np.isfinite(tabulated):
        return tabulated
    return float(covalent_radii[atomic_numbers[symbol]]) + ANION_GROWTH_ANGSTROM * (state < 0)


def pair_energy(atoms: Atoms, states: Mapping[str, float], *, bonds: Bonds | None = None) -> float:
    """Return the energy of the pair model in eV/atom; NaN for a crystal that it does not describe."""
    model = ionic_model(atoms, states, bonds=bonds)
    if model is None:
        return float("nan")
    model.calculate(atoms, ["energy"])
    return model.results["energy"] / len(atoms)


def relax_as_ions(
    atoms: Atoms,
    states: Mapping[str, float],
    *,
    bonds: Bonds | None = None,
    keep_volume: bool = False,
    max_steps: int = MAX_STEPS,
) -> Atoms:
    """Return the crystal relaxed with the pair model; ``atoms`` stay as they are.

    ``states``: oxidation state of each element. ``bonds``: of polyanions that stay whole
    (`crystal_search.polyanions.whole_bonds`). A crystal that the model does not describe, or that it tears
    apart, comes back unchanged.
    """
    moved = atoms.copy()
    moved.calc = ionic_model(moved, states, bonds=bonds, keep_volume=keep_volume)
    if moved.calc is None:
        return atoms.copy()
    try:
        with threadpool_limits(limits=1):
            crystal = LogStrainFilter(moved, exp_cell_factor=len(moved) / 3, scalar_pressure=0.0)
            BFGS(crystal, logfile=None).run(fmax=FMAX_EV_ANGSTROM, steps=max_steps)
    except FAILURES:
        return atoms.copy()
    moved.calc = None
    return moved if np.isfinite(moved.positions).all() and np.isfinite(moved.cell).all() else atoms.copy()
