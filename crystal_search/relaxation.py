"""Relaxing cell and positions under pressure, with every energy evaluation counted."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator
from ase.data import covalent_radii
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS
from ase.stress import voigt_6_to_full_3x3_stress
from scipy.linalg import expm, expm_frechet
from threadpoolctl import threadpool_limits

from crystal_search.evaluations import Evaluation, Snapshot, evaluate_many
from crystal_search.neighbours import near_pairs

CURVATURE_EV_ANGSTROM2 = 30.0  # BFGS's first guess; ASE's 70 took 10 to 15 % more steps for random crystals
SHORTEST_RATIO = 0.6  # of the sum of covalent radii; nearer atoms are outside every potential's training
LARGEST_SWELLING = 2.5  # of the initial volume: the crystal has fallen apart
CELL_FACTOR = 1 / 3  # of ASE's scaling of the cell against the atoms: random cells relax in fewer steps
CLOSE_ANGSTROM = 3.2  # distances looked at for atoms that are too near
ATOMS_TOGETHER = 64  # evaluated at once: more leave the processor's cache and cost more each
FAILURES = (ValueError, RuntimeError, ArithmeticError, np.linalg.LinAlgError, AssertionError)
SNAPSHOT_STEPS = (0, 1, 2, 4, 7, 11, 16, 24, 40, 64, 100)  # denser where the crystal moves most
CONVERGED, UNCONVERGED, ABANDONED, FAILED = "converged", "unconverged", "abandoned", "failed"
RELAXED = (CONVERGED, UNCONVERGED)


@dataclass(frozen=True, kw_only=True)
class RelaxationSettings:
    """How a structure is relaxed; ``pressure_gpa`` is hydrostatic (Kim et al.: 1000 bar = 0.1 GPa)."""

    fmax_ev_angstrom: float = 0.1  # largest force (and generalised cell force) at the end, eV/Angstrom
    max_steps: int = 150
    pressure_gpa: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Relaxation:
    """A relaxed structure and what it cost.

    ``curve`` holds the enthalpy in eV/atom at the start and after each step; ``n_evaluations`` counts
    calls of the potential (energy, forces and stress are one); ``seconds`` is process time. ``snapshots``:
    the crystal after `SNAPSHOT_STEPS` and at the end.
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
    snapshots: tuple[Snapshot, ...] = field(default=(), repr=False)


Verdict = Callable[[int, float, Atoms], str]  # (steps, enthalpy eV/atom, atoms) -> reason to abandon, or ""


def relax(
    atoms: Atoms, *, calculator: Calculator, settings: RelaxationSettings, verdict: Verdict | None = None
) -> Relaxation:
    """Relax cell and positions of one structure, as `relax_together` does."""
    verdicts = [verdict] if verdict is not None else None
    return relax_together([atoms], calculator=calculator, settings=settings, verdicts=verdicts)[0]


def relax_together(
    batch: Sequence[Atoms],
    *,
    calculator: Calculator,
    settings: RelaxationSettings,
    verdicts: Sequence[Verdict | None] | None = None,
) -> list[Relaxation]:
    """Relax cells and positions; ``batch`` stays as it is, and no structure sees another one.

    Each has its own optimizer; those that are still moving are evaluated together, a few at a time. Its
    verdict is asked after each step and abandons the relaxation by returning a reason. A structure that
    explodes, collapses or makes the potential fail ends with the status "failed" and its reason; nothing
    is raised for it.
    """
    asked = verdicts or [None] * len(batch)
    with threadpool_limits(limits=1):  # on matrices this small, threads cost three times what they save
        runs = [_Run(a, settings, v) for a, v in zip(batch, asked, strict=True)]
        _relax_all(runs, calculator)
        return [r.result() for r in runs]


def _relax_all(runs: Sequence["_Run"], calculator: Calculator) -> None:
    """Move the runs step by step until none moves; those that still move are evaluated together."""
    moving = list(runs)
    while moving:
        largest = max(len(r.atoms) for r in moving)
        n = max(1, ATOMS_TOGETHER // largest)
        for first in range(0, len(moving), n):
            _evaluate(moving[first : first + n], calculator)
        for run in moving:
            run.advance()
        moving = [r for r in moving if r.moving]


def _evaluate(runs: Sequence["_Run"], calculator: Calculator) -> None:
    """Give each run the evaluation of its present atoms; where a batch fails, one at a time."""
    start = time.process_time()
    try:
        found = evaluate_many(calculator, [r.atoms.copy() for r in runs])
    except FAILURES as error:
        if len(runs) == 1:
            runs[0].end(FAILED, _text_of(error))
        else:
            for run in runs:
                _evaluate([run], calculator)
        return
    seconds = (time.process_time() - start) / len(runs)
    for run, evaluation in zip(runs, found, strict=True):
        run.take(evaluation, seconds=seconds)


class LogStrainFilter(FrechetCellFilter):
    """ASE's `FrechetCellFilter` in a tenth of the time, for cells without constraints.

    It remembers the logarithm of the deformation that it set, and takes the gradient by it from one
    Frechet derivative of the exponential instead of nine: the derivative's adjoint at X is the one at
    X transposed (Higham, Functions of Matrices, SIAM 2008, chapter 3).
    """

    def __init__(self, atoms: Atoms, *, exp_cell_factor: float, scalar_pressure: float) -> None:
        super().__init__(atoms, exp_cell_factor=exp_cell_factor, scalar_pressure=scalar_pressure)
        self._log, self._gradient = np.zeros((3, 3)), np.eye(3)

    def get_positions(self) -> np.ndarray:
        """Return positions without the deformation, then its scaled logarithm, shape (n + 3, 3)."""
        undeformed = np.linalg.solve(self._gradient, self.atoms.positions.T).T
        return np.vstack([undeformed, self._log * self.exp_cell_factor])

    def set_positions(self, new: np.ndarray, **kwargs: object) -> None:
        """Set cell and positions from what `get_positions` returns."""
        self._log = new[-3:] / self.exp_cell_factor
        self._gradient = expm(self._log)
        self.atoms.set_cell(self.orig_cell @ self._gradient.T)
        self.atoms.set_positions(new[:-3] @ self._gradient.T, **kwargs)

    def get_forces(self, **kwargs: object) -> np.ndarray:
        """Return the forces that belong to `get_positions`, shape (n + 3, 3)."""
        stress = voigt_6_to_full_3x3_stress(self.atoms.get_stress(**kwargs))
        virial = -self.atoms.get_volume() * (stress + self.scalar_pressure * np.eye(3))
        by_gradient = virial @ np.linalg.inv(self._gradient.T)
        by_log = expm_frechet(self._log.T, by_gradient, compute_expm=False)
        forces = self.atoms.get_forces(**kwargs) @ self._gradient
        return np.vstack([forces, by_log / self.exp_cell_factor])


class _Given(Calculator):
    """A calculator that returns what it was given for the present atoms and computes nothing."""

    implemented_properties = ("energy", "free_energy", "forces", "stress")

    def give(self, atoms: Atoms, evaluation: Evaluation) -> None:
        self.atoms, self.results = atoms.copy(), evaluation.results()

    def calculate(self, atoms: Atoms, properties: Sequence[str], system_changes: Sequence[str]) -> None:
        raise RuntimeError(f"the atoms were moved without an evaluation ({', '.join(system_changes)})")


class _Run:
    """One relaxation that waits for evaluations: take, advance, take, advance ... until not moving."""

    def __init__(self, atoms: Atoms, settings: RelaxationSettings, verdict: Verdict | None) -> None:
        self.atoms, self.settings, self.verdict = atoms.copy(), settings, verdict
        self.given = self.atoms.calc = _Given()
        self.filter = LogStrainFilter(
            self.atoms,
            exp_cell_factor=CELL_FACTOR * len(atoms),
            scalar_pressure=settings.pressure_gpa * units.GPa,
        )
        self.optimizer = BFGS(self.filter, alpha=CURVATURE_EV_ANGSTROM2, logfile=None)
        self.largest_volume = LARGEST_SWELLING * atoms.get_volume()
        self.curve: list[float] = []
        self.snapshots: list[Snapshot] = []
        self.energy_ev, self.seconds = float("nan"), 0.0
        self.moving, self.status, self.reason = True, UNCONVERGED, ""

    def take(self, evaluation: Evaluation, *, seconds: float) -> None:
        """Take the evaluation of the present atoms, which cost some process time."""
        self.given.give(self.atoms, evaluation)
        self.energy_ev = evaluation.energy
        self.seconds += seconds
        if self.curve and len(self.curve) - 1 not in SNAPSHOT_STEPS:
            self.snapshots.pop()  # the newest stays only as long as it is
        self.snapshots.append(Snapshot.of(self.atoms.copy(), evaluation))
        self.curve.append(enthalpy(self.atoms, self.settings.pressure_gpa))

    def advance(self) -> None:
        """Decide whether to go on, and if so take a step."""
        if not self.moving:
            return
        start = time.process_time()
        try:
            self._judge()
            if self.moving:
                self.optimizer.step()
        except FAILURES as error:
            self.end(FAILED, _text_of(error))
        self.seconds += time.process_time() - start

    def _judge(self) -> None:
        steps, value = len(self.curve) - 1, self.curve[-1]
        if reason := _unphysical(self.atoms, value, self.largest_volume):
            self.end(FAILED, reason)
        elif np.linalg.norm(self.filter.get_forces(), axis=1).max() < self.settings.fmax_ev_angstrom:
            self.end(CONVERGED, "")
        elif self.verdict is not None and (reason := self.verdict(steps, value, self.atoms)):
            self.end(ABANDONED, reason)
        elif steps >= self.settings.max_steps:
            self.end(UNCONVERGED, "")

    def end(self, status: str, reason: str) -> None:
        """Stop moving."""
        self.moving, self.status, self.reason = False, status, reason

    def result(self) -> Relaxation:
        """Return the relaxed structure and what it cost."""
        n = len(self.atoms)
        return Relaxation(
            atoms=self.atoms.copy(),
            energy_ev_atom=self.energy_ev / n,
            enthalpy_ev_atom=self.curve[-1] if self.curve else float("nan"),
            volume_angstrom3_atom=self.atoms.get_volume() / n,
            status=self.status,
            reason=self.reason,
            n_evaluations=len(self.curve),
            seconds=self.seconds,
            curve=tuple(self.curve),
            snapshots=tuple(self.snapshots),
        )


def _text_of(error: Exception) -> str:
    return f"the potential or the optimizer failed: {' '.join(str(error).split())[:120]}"


def enthalpy(atoms: Atoms, pressure_gpa: float) -> float:
    """Return (E + pV) per atom in eV of atoms that carry a calculator."""
    total = atoms.get_potential_energy() + pressure_gpa * units.GPa * atoms.get_volume()
    return float(total / len(atoms))


def shortest_ratio(atoms: Atoms) -> float:
    """Return the smallest distance over the sum of covalent radii; images of an atom count too."""
    i, j, _, d = near_pairs(atoms, CLOSE_ANGSTROM)
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
