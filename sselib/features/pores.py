"""Pores of the framework that remains when the mobile ion is taken out.

Three choices decide every number here, so they are parameters and are recorded with the results.
*Radii*: the van der Waals set that Zeo++ takes by default (`data/zeopp_radii.yaml`). *Occupancies*: a site
that several species share counts as its majority species; a site that is mostly the mobile ion, or that
other species fill to less than ``min_occupancy``, counts as empty; all other sites count in full.
*Probe*: a hard ball of ``probe_radius_angstrom``. With these radii a real Li+ (0.76 Angstrom) fits almost
nowhere, because van der Waals spheres are larger than ions in contact with a cation: the numbers rank
frameworks, they are no ionic bottleneck sizes.
"""

from dataclasses import asdict, dataclass, field

import numpy as np
from pymatgen.core import PeriodicSite, Structure
from scipy.spatial import cKDTree

from sselib.errors import ParameterError, SSEError
from sselib.features.void_grid import accessible_fraction, occupiable_fraction, void_grid
from sselib.features.zeopp import (
    VoronoiNetwork,
    ZeoppError,
    channel_dimensionality,
    included_along_free_path,
    radii_angstrom,
    run_zeopp,
)

_POSITIVE = ("probe_radius_angstrom", "grid_spacing_angstrom", "timeout_s")


@dataclass(frozen=True, kw_only=True)
class PoreSettings:
    """What a pore is: probe, grid, radii, and which sites count as atoms."""

    mobile_ion: str = "Li"
    probe_radius_angstrom: float = 0.3
    grid_spacing_angstrom: float = 0.15
    min_occupancy: float = 0.1  # framework sites below this are empty
    jitter_angstrom: float = 1.0e-4  # standard deviation; Zeo++ fails on some exactly symmetric cells
    seed: int = 0  # of the jitter
    timeout_s: float = 60.0  # for Zeo++, per structure
    radii_angstrom: dict[str, float] = field(default_factory=dict)  # overrides the default set

    def __post_init__(self) -> None:
        """Refuse values that have no meaning."""
        for name in _POSITIVE:
            if not getattr(self, name) > 0:
                raise ParameterError(f"{name} = {getattr(self, name)}: expected a number above 0")

    def key(self) -> dict[str, object]:
        """Return what a cached result depends on: everything but the time limit."""
        return {name: value for name, value in asdict(self).items() if name != "timeout_s"}


DEFAULT_PORES = PoreSettings()


def framework(structure: Structure, settings: PoreSettings) -> Structure:
    """Return the structure without the mobile ion, every site one full atom."""
    kept = [(el, s.frac_coords) for s in structure if (el := _framework_atom(s, settings))]
    return Structure(structure.lattice, [el for el, _ in kept], [xyz for _, xyz in kept])


def _framework_atom(site: PeriodicSite, settings: PoreSettings) -> str:
    """Return the element that a site counts as (of equal amounts the first by alphabet), '' where empty."""
    amounts = site.species.get_el_amt_dict()
    element = min(amounts, key=lambda el: (-amounts[el], el))
    others = sum(amount for el, amount in amounts.items() if el != settings.mobile_ion)
    return element if element != settings.mobile_ion and others >= settings.min_occupancy else ""


def pore_features(structure: Structure, settings: PoreSettings) -> tuple[dict[str, float], list[str]]:
    """Return the pores of a structure, ordered or not, and the reasons why a number is missing.

    Diameters in Angstrom, dimensionality 0 to 3, volumes as share of the cell: ``poav_fraction`` counts
    channels only, ``pov_fraction`` closed pockets too. Never raises for a structure that fails.
    """
    atoms = framework(structure, settings)
    if not len(atoms):
        return {}, [f"no atoms besides {settings.mobile_ion}: there is no framework"]
    found, reasons, network = {}, [], None
    try:
        result = run_zeopp(_jittered(atoms, settings), settings.radii_angstrom, timeout_s=settings.timeout_s)
        network, df = result.network, result.largest_free_sphere_angstrom
        reach = channel_dimensionality(network, probe_radius_angstrom=settings.probe_radius_angstrom)
        found = {
            "largest_included_sphere_angstrom": result.largest_included_sphere_angstrom,
            "largest_free_sphere_angstrom": df,
            "included_along_free_path_angstrom": included_along_free_path(network, free_sphere_angstrom=df),
            "channel_dimensionality": float(reach.max(initial=0)),
        }
    except ZeoppError as error:
        reasons.append(str(error))
    try:
        found |= _volumes(atoms, network, settings)
    except SSEError as error:
        reasons.append(str(error))
    return found, reasons


def _jittered(atoms: Structure, settings: PoreSettings) -> Structure:
    """Return the atoms moved by a fixed, tiny, random amount."""
    moves = np.random.default_rng(settings.seed).normal(0.0, settings.jitter_angstrom, size=(len(atoms), 3))
    moved = atoms.frac_coords + atoms.lattice.get_fractional_coords(moves)
    return Structure(atoms.lattice, atoms.species, moved)


def _volumes(atoms: Structure, network: VoronoiNetwork | None, settings: PoreSettings) -> dict[str, float]:
    """Return the volume fractions; those of channels where there is a network to tell them by."""
    probe = settings.probe_radius_angstrom
    grid = void_grid(
        atoms.lattice,
        atoms.frac_coords,
        radii_angstrom(atoms, settings.radii_angstrom),
        probe_radius_angstrom=probe,
        spacing_angstrom=settings.grid_spacing_angstrom,
    )
    whole = occupiable_fraction(grid)
    if network is None:
        return {"pov_fraction": whole}
    index = np.argwhere(grid.centres)
    channel = np.zeros(grid.centres.shape, bool)
    channel[tuple(index.T)] = _in_channel(index / channel.shape, network, atoms, probe)
    among = None if channel.sum() == len(index) else channel
    return {
        "pov_fraction": whole,
        "poav_fraction": whole if among is None else occupiable_fraction(grid, among=among),
        "accessible_volume_fraction": accessible_fraction(grid, among=among),
    }


def _in_channel(
    frac_coords: np.ndarray, network: VoronoiNetwork, atoms: Structure, probe_radius_angstrom: float
) -> np.ndarray:
    """Return whether the nearest Voronoi node that the probe fits belongs to a channel, shape (n,)."""
    reach = channel_dimensionality(network, probe_radius_angstrom=probe_radius_angstrom)
    fits = reach >= 0
    if not fits.any():
        return np.zeros(len(frac_coords), bool)
    shifts = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3, indexing="ij"), -1).reshape(-1, 3)
    images = ((network.frac_coords[fits] % 1.0)[:, None, :] + shifts).reshape(-1, 3)
    cartesian = atoms.lattice.get_cartesian_coords
    _, nearest = cKDTree(cartesian(images)).query(cartesian(frac_coords % 1.0))
    return reach[fits][nearest // len(shifts)] > 0
