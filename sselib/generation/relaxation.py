"""Relaxing cell and positions under pressure, with every energy evaluation counted."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator
from ase.constraints import FixSymmetry
from ase.data import covalent_radii
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS, FIRE
from ase.optimize.optimize import Optimizer

from sselib.errors import ParameterError, nearest

OPTIMIZERS: dict[str, type[Optimizer]] = {"bfgs": BFGS, "fire": FIRE}
SHORTEST_RATIO = 0.6  # of the sum of covalent radii; nearer atoms are outside every potential's training
LARGEST_SWELLING = 2.5  # of the initial volume: the crystal has fallen apart
CELL_FACTOR = 1 / 3  # of ASE's scaling of the cell against the atoms: random cells relax in fewer steps
CONVERGED, UNCONVERGED, ABANDONED, FAILED = "converged", "unconverged", "abandoned", "failed"


@dataclass(frozen=True, kw_only=True)
class RelaxationSettings:
    """How a structure is relaxed; ``pressure_gpa`` is hydrostatic (Kim et al.: 1000 bar = 0.1 GPa)."""

    fmax_ev_angstrom: float = 0.05  # largest force (and generalised cell force) at the end, eV/Angstrom
    max_steps: int = 150
    pressure_gpa: float = 0.0
    optimizer: str = "bfgs"
    keep_symmetry: bool = False  # hold the space group of the start


@dataclass(frozen=True, kw_only=True)
class Relaxation:
    """A relaxed structure and what it cost.

    ``curve`` holds the enthalpy in eV/atom at the start and after each step; ``n_evaluations`` counts
    calls of the potential (energy, forces and stress are one); ``seconds`` is process time.
    """

    atoms: Atoms
    energy_ev_atom: float
    enthalpy_ev_atom: float
    volume_angstrom3_atom: float
    status: str
    reason: str
    n_evaluations: int
    seconds: float
    curve: tuple[float, ...] = field(repr=False)


Verdict = Callable[[int, float, Atoms], str]  # (steps, enthalpy eV/atom, atoms) -> reason to abandon, or ""


def relax(
    atoms: Atoms, *, calculator: Calculator, settings: RelaxationSettings, verdict: Verdict | None = None
) -> Relaxation:
    """Relax cell and positions; ``atoms`` stays as it is.

    ``verdict`` is asked after each step and abandons the relaxation by returning a reason. A structure
    that explodes, collapses or makes the potential fail ends with the status "failed" and its reason;
    nothing is raised for it. Raises `ParameterError` for an unknown optimizer.
    """
    make = _optimizer(settings.optimizer)
    moving = atoms.copy()
    moving.calc = counter = Counted(calculator)
    start, curve = time.process_time(), []
    status, reason = UNCONVERGED, ""
    if settings.keep_symmetry:
        moving.set_constraint(FixSymmetry(moving))
    pressure = settings.pressure_gpa * units.GPa
    limit = LARGEST_SWELLING * atoms.get_volume()
    try:
        factor = CELL_FACTOR * len(moving)
        filtered = FrechetCellFilter(moving, exp_cell_factor=factor, scalar_pressure=pressure)
        for done in make(filtered, logfile=None).irun(
            fmax=settings.fmax_ev_angstrom, steps=settings.max_steps
        ):
            curve.append(enthalpy(moving, settings.pressure_gpa))
            status = CONVERGED if done else UNCONVERGED
            reason = _unphysical(moving, curve[-1], limit)
            if reason:
                status = FAILED
                break
            reason = "" if done or verdict is None else verdict(len(curve) - 1, curve[-1], moving)
            if reason:
                status = ABANDONED
                break
    except (ValueError, RuntimeError, ArithmeticError, np.linalg.LinAlgError, AssertionError) as error:
        status, reason = (
            FAILED,
            f"the potential or the optimizer failed: {' '.join(str(error).split())[:120]}",
        )
    return _result(moving, counter, curve, status, reason, seconds=time.process_time() - start)


class Counted(Calculator):
    """An ASE calculator that counts the evaluations of the one it wraps."""

    implemented_properties = ("energy", "free_energy", "forces", "stress")

    def __init__(self, inner: Calculator) -> None:
        super().__init__()
        self.inner = inner
        self.n_evaluations = 0

    def calculate(self, atoms: Atoms, properties: Sequence[str], system_changes: Sequence[str]) -> None:
        """Evaluate energy, forces and stress in one go."""
        super().calculate(atoms, properties, system_changes)
        self.n_evaluations += 1
        plain = atoms.copy()
        plain.set_constraint()
        self.inner.calculate(plain, ["energy", "forces", "stress"], list(system_changes))
        self.results.update({k: v for k, v in self.inner.results.items() if k in self.implemented_properties})


def enthalpy(atoms: Atoms, pressure_gpa: float) -> float:
    """Return (E + pV) per atom in eV of atoms that carry a calculator."""
    total = atoms.get_potential_energy() + pressure_gpa * units.GPa * atoms.get_volume()
    return float(total / len(atoms))


def shortest_ratio(atoms: Atoms) -> float:
    """Return the smallest distance over the sum of covalent radii; images of an atom count too."""
    from ase.neighborlist import neighbor_list

    i, j, d = neighbor_list("ijd", atoms, cutoff=3.2)
    if not len(d):
        return float("inf")
    radii = covalent_radii[atoms.numbers]
    return float((d / (radii[i] + radii[j])).min())


def _unphysical(atoms: Atoms, value: float, largest_volume: float) -> str:
    if not np.isfinite(value):
        return "the energy is not finite"
    if atoms.get_volume() > largest_volume:
        return f"the volume exceeds {LARGEST_SWELLING} times that of the start"
    ratio = shortest_ratio(atoms)
    if ratio < SHORTEST_RATIO:
        return f"two atoms at {ratio:.2f} of the sum of their covalent radii (limit {SHORTEST_RATIO})"
    return ""


def _optimizer(name: str) -> type[Optimizer]:
    if name not in OPTIMIZERS:
        raise ParameterError(
            f"there is no optimizer '{name}': expected one of {', '.join(OPTIMIZERS)}."
            f"{nearest(name, list(OPTIMIZERS))}"
        )
    return OPTIMIZERS[name]


def _result(
    moving: Atoms, counter: Counted, curve: list[float], status: str, reason: str, *, seconds: float
) -> Relaxation:
    plain = moving.copy()
    plain.set_constraint()
    energy = counter.results.get("energy", float("nan")) / len(plain)
    return Relaxation(
        atoms=plain,
        energy_ev_atom=float(energy),
        enthalpy_ev_atom=curve[-1] if curve else float("nan"),
        volume_angstrom3_atom=plain.get_volume() / len(plain),
        status=status,
        reason=reason,
        n_evaluations=counter.n_evaluations,
        seconds=seconds,
        curve=tuple(curve),
    )
