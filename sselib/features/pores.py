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
from pymatgen.core import Lattice, Structure
from scipy.spatial import cKDTree

from sselib.errors import ParameterError, SSEError
from sselib.features.void_grid import accessible_fraction, occupiable_fraction, void_grid
from sselib.features.zeopp import (
    VoronoiNetwork,
    ZeoppError,
    channel_dimensionality,
    run_zeopp,
    van_der_waals_radius,
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


@dataclass(frozen=True)
class Framework:
    """Full atoms: ``elements`` (n,), ``frac_coords`` (n, 3), ``radii_angstrom`` (n,)."""

    lattice: Lattice
    elements: tuple[str, ...]
    frac_coords: np.ndarray
    radii_angstrom: np.ndarray


@dataclass(frozen=True)
class PoreFeatures:
    """Diameters in Angstrom, dimensionality 0 to 3, volumes as share of the cell; NaN where not had.

    ``poav_fraction`` counts channels only, ``pov_fraction`` closed pockets too; ``reasons`` says why a
    value is NaN.
    """

    largest_included_sphere_angstrom: float = np.nan
    largest_free_sphere_angstrom: float = np.nan
    included_along_free_path_angstrom: float = np.nan
    channel_dimensionality: float = np.nan
    accessible_volume_fraction: float = np.nan
    poav_fraction: float = np.nan
    pov_fraction: float = np.nan
    reasons: tuple[str, ...] = ()

    def numbers(self) -> dict[str, float]:
        """Return the numbers by name."""
        return {name: value for name, value in asdict(self).items() if name != "reasons"}


def framework(structure: Structure, settings: PoreSettings) -> Framework:
    """Return the structure without the mobile ion, every site one full atom."""
    chosen = [(_majority(site.species.get_el_amt_dict()), site) for site in structure]
    kept = [
        (el, site.frac_coords)
        for el, site in chosen
        if el != settings.mobile_ion and _other_occupancy(site, settings) >= settings.min_occupancy
    ]
    radii = [settings.radii_angstrom.get(el, van_der_waals_radius(el)) for el, _ in kept]
    return Framework(
        structure.lattice,
        tuple(el for el, _ in kept),
        np.array([xyz for _, xyz in kept], float).reshape(-1, 3),
        np.array(radii, float),
    )


def _majority(amounts: dict[str, float]) -> str:
    """Return the species with the largest occupancy; ties go to the first in the alphabet."""
    return min(amounts, key=lambda el: (-amounts[el], el))


def _other_occupancy(site: object, settings: PoreSettings) -> float:
    """Return the occupancy of a site by everything but the mobile ion."""
    amounts = site.species.get_el_amt_dict()
    return sum(amount for el, amount in amounts.items() if el != settings.mobile_ion)


def pore_features(structure: Structure, settings: PoreSettings) -> PoreFeatures:
    """Return the pores of a structure, ordered or not. Never raises for a structure that fails."""
    atoms = framework(structure, settings)
    if not atoms.elements:
        return PoreFeatures(reasons=(f"no atoms besides {settings.mobile_ion}: there is no framework",))
    spheres, reasons, nodes = {}, [], None
    try:
        result = run_zeopp(
            atoms.lattice,
            atoms.elements,
            _jittered(atoms, settings),
            radii_angstrom=settings.radii_angstrom,
            timeout_s=settings.timeout_s,
        )
        nodes = _fitting_nodes(result.network, settings.probe_radius_angstrom)
        spheres = {
            "largest_included_sphere_angstrom": result.largest_included_sphere_angstrom,
            "largest_free_sphere_angstrom": result.largest_free_sphere_angstrom,
            "included_along_free_path_angstrom": result.included_along_free_path_angstrom,
            "channel_dimensionality": float(nodes.dimensionality.max(initial=0)),
        }
    except ZeoppError as error:
        reasons.append(str(error))
    try:
        volumes = _volumes(atoms, nodes, settings)
    except SSEError as error:
        volumes, reasons = {}, [*reasons, str(error)]
    return PoreFeatures(**spheres, **volumes, reasons=tuple(reasons))


def _jittered(atoms: Framework, settings: PoreSettings) -> np.ndarray:
    """Return fractional coordinates moved by a fixed, tiny, random amount."""
    rng = np.random.default_rng(settings.seed)
    moves = rng.normal(0.0, settings.jitter_angstrom, size=atoms.frac_coords.shape)
    return atoms.frac_coords + atoms.lattice.get_fractional_coords(moves)


@dataclass(frozen=True)
class _Nodes:
    """Voronoi nodes that the probe fits: positions and in how many directions it can leave from there."""

    frac_coords: np.ndarray
    dimensionality: np.ndarray

    def in_channel(self, frac_coords: np.ndarray, lattice: Lattice) -> np.ndarray:
        """Return whether the node nearest to each position belongs to a channel, shape (n,)."""
        if len(self.dimensionality) == 0:
            return np.zeros(len(frac_coords), bool)
        shifts = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3, indexing="ij"), -1).reshape(-1, 3)
        images = ((self.frac_coords % 1.0)[:, None, :] + shifts).reshape(-1, 3)
        _, nearest = cKDTree(lattice.get_cartesian_coords(images)).query(
            lattice.get_cartesian_coords(frac_coords % 1.0)
        )
        return self.dimensionality[nearest // len(shifts)] > 0


def _fitting_nodes(network: VoronoiNetwork, probe_radius: float) -> _Nodes:
    """Keep the nodes that the probe fits."""
    dimensionality = channel_dimensionality(network, probe_radius_angstrom=probe_radius)
    fits = dimensionality >= 0
    return _Nodes(network.frac_coords[fits], dimensionality[fits])


def _volumes(atoms: Framework, nodes: _Nodes | None, settings: PoreSettings) -> dict[str, float]:
    """Return the volume fractions; what belongs to a channel is told by the nearest Voronoi node."""
    grid = void_grid(
        atoms.lattice,
        atoms.frac_coords,
        atoms.radii_angstrom,
        probe_radius_angstrom=settings.probe_radius_angstrom,
        spacing_angstrom=settings.grid_spacing_angstrom,
    )
    whole = {"pov_fraction": occupiable_fraction(grid)}
    if nodes is None:
        return whole
    index = np.argwhere(grid.centres)
    channel = np.zeros(grid.centres.shape, bool)
    channel[tuple(index.T)] = nodes.in_channel(index / np.array(channel.shape), grid.lattice)
    if channel.sum() == len(index):
        return whole | {
            "poav_fraction": whole["pov_fraction"],
            "accessible_volume_fraction": accessible_fraction(grid),
        }
    return whole | {
        "poav_fraction": occupiable_fraction(grid, among=channel),
        "accessible_volume_fraction": accessible_fraction(grid, among=channel),
    }
