"""Short molecular dynamics at constant pressure: does a generated crystal hold together when warm?"""

import time
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from ase import Atoms, units
from ase.calculators.calculator import Calculator
from ase.md.nptberendsen import Inhomogeneous_NPTBerendsen
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution, Stationary

from crystal_search.relaxation import FAILED, UNCONVERGED, Relaxation
from sselib.errors import ParameterError

BAR_PER_GPA = 1.0e4
THERMOSTAT_FS = 100.0
BAROSTAT_FS = 1000.0  # Kim et al.: 1 ps
COMPRESSIBILITY_PER_BAR = 2.0e-6  # 50 GPa bulk modulus, typical of oxides; sets the speed of the cell only
N_RECORDS = 100
VOLUME_CHANGE = 0.2  # relative; beyond it the crystal did not hold
FRAMEWORK_DISPLACEMENT_ANGSTROM = 1.5  # Angstrom, mean; beyond it the framework did not hold


@dataclass(frozen=True, kw_only=True)
class MDSettings:
    """A short run; Kim et al. use 300 K, 1 atm, 20 ps for stability, 50 K and 1000 bar to relax."""

    temperature_k: float = 300.0
    pressure_bar: float = 1.01325
    duration_ps: float = 20.0
    timestep_fs: float = 1.0
    seed: int = 0


KIM_RELAXATION = MDSettings(temperature_k=50.0, pressure_bar=1000.0, duration_ps=1.0)  # their protocol


@dataclass(frozen=True, kw_only=True)
class Trajectory:
    """What a run recorded, and the last structure.

    ``table``: time_ps, energy_ev_atom (potential), temperature_k, volume_angstrom3_atom and
    framework_displacement_angstrom (mean distance of the atoms other than the mobile ion from their start,
    without the drift of the framework and of the cell). ``n_evaluations`` counts the potential's calls.
    """

    table: pd.DataFrame
    atoms: Atoms
    n_evaluations: int

    @property
    def volume_change(self) -> float:
        """Return the relative change of the volume from the first to the last record."""
        volumes = self.table["volume_angstrom3_atom"]
        return float(volumes.iloc[-1] / volumes.iloc[0] - 1)

    @property
    def framework_displacement_angstrom(self) -> float:
        """Return the mean displacement of the framework at the end, in Angstrom."""
        return float(self.table["framework_displacement_angstrom"].iloc[-1])

    @property
    def finding(self) -> str:
        """Return why the crystal did not hold together, or an empty text."""
        if not np.isfinite(self.table.to_numpy(float)).all():
            return "the run blew up: a value is not finite"
        if abs(self.volume_change) > VOLUME_CHANGE:
            return f"the volume changed by {self.volume_change:+.0%}"
        moved = self.framework_displacement_angstrom
        if moved > FRAMEWORK_DISPLACEMENT_ANGSTROM:
            return f"the framework moved by {moved:.1f} Angstrom on average"
        return ""

    @property
    def held(self) -> bool:
        """Return whether the crystal held together."""
        return not self.finding


def relax_by_npt(
    atoms: Atoms,
    *,
    calculator: Calculator,
    pressure_gpa: float = KIM_RELAXATION.pressure_bar / BAR_PER_GPA,
    seed: int = 0,
    settings: MDSettings = KIM_RELAXATION,
) -> Relaxation:
    """Relax by dynamics at low temperature and high pressure, as Kim et al. do within their search.

    The result carries the potential energy of the last structure, so a few meV/atom of thermal motion are
    left, and its status is "unconverged": no force criterion was applied. A run that does not hold is
    "failed".
    """
    begin = time.process_time()
    settings = replace(settings, pressure_bar=pressure_gpa * BAR_PER_GPA, seed=seed)
    run = run_npt(atoms, calculator=calculator, settings=settings, shortest_axis_angstrom=0.0)
    curve = run.table["energy_ev_atom"] + pressure_gpa * units.GPa * run.table["volume_angstrom3_atom"]
    failed = not np.isfinite(curve).all() or "blew up" in run.finding
    return Relaxation(
        atoms=run.atoms,
        energy_ev_atom=float(run.table["energy_ev_atom"].iloc[-1]),
        enthalpy_ev_atom=float(curve.iloc[-1]),
        volume_angstrom3_atom=float(run.table["volume_angstrom3_atom"].iloc[-1]),
        status=FAILED if failed else UNCONVERGED,
        reason=run.finding if failed else "",
        n_evaluations=run.n_evaluations,
        seconds=time.process_time() - begin,
        curve=tuple(curve),
    )


def run_npt(
    atoms: Atoms,
    *,
    calculator: Calculator,
    settings: MDSettings,
    mobile_ion: str = "Li",
    shortest_axis_angstrom: float = 6.0,
) -> Trajectory:
    """Run NPT dynamics (Berendsen's thermostat and barostat, each cell length on its own).

    Berendsen's coupling relaxes volume and temperature well and does not sample the exact ensemble:
    good to see whether a crystal holds, not for fluctuations. Axes below ``shortest_axis_angstrom`` are
    repeated. ``atoms`` stays as it is. Raises `ParameterError` for a run of less than one step.
    """
    n_steps = round(settings.duration_ps * 1000 / settings.timestep_fs)
    if n_steps < 1 or settings.temperature_k <= 0:
        raise ParameterError(
            f"molecular dynamics of {settings.duration_ps} ps in steps of {settings.timestep_fs} fs at "
            f"{settings.temperature_k} K: expected at least one step and a temperature above 0 K"
        )
    factors = np.ceil(shortest_axis_angstrom / atoms.cell.lengths()).astype(int)
    moving = atoms.repeat(np.maximum(factors, 1).tolist())  # images move less in step
    moving.calc = calculator
    rng = np.random.default_rng(settings.seed)
    MaxwellBoltzmannDistribution(moving, temperature_K=settings.temperature_k, rng=rng)
    Stationary(moving)
    dynamics = Inhomogeneous_NPTBerendsen(
        moving,
        timestep=settings.timestep_fs * units.fs,
        temperature_K=settings.temperature_k,
        pressure_au=settings.pressure_bar * 1e5 * units.Pascal,
        taut=THERMOSTAT_FS * units.fs,
        taup=BAROSTAT_FS * units.fs,
        compressibility_au=COMPRESSIBILITY_PER_BAR / (1e5 * units.Pascal),
    )
    start, rows = moving.get_scaled_positions(wrap=False), []
    framework = np.array(moving.get_chemical_symbols()) != mobile_ion
    counted = framework if framework.any() else ~framework

    def record() -> None:
        rows.append({"time_ps": dynamics.get_time() / (1000 * units.fs), **_record(moving, start, counted)})

    dynamics.attach(record, interval=max(1, n_steps // N_RECORDS))
    dynamics.run(n_steps)
    return Trajectory(table=pd.DataFrame(rows), atoms=moving.copy(), n_evaluations=n_steps + 1)


def _record(moving: Atoms, start: np.ndarray, framework: np.ndarray) -> dict[str, float]:
    """Return one row; displacements are taken in fractional coordinates, so the cell's strain drops out."""
    shift = moving.get_scaled_positions(wrap=False) - start
    shift = (shift - shift[framework].mean(axis=0)) @ moving.cell.array
    return {
        "energy_ev_atom": moving.get_potential_energy() / len(moving),
        "temperature_k": moving.get_temperature(),
        "volume_angstrom3_atom": moving.get_volume() / len(moving),
        "framework_displacement_angstrom": float(np.linalg.norm(shift[framework], axis=1).mean()),
    }
