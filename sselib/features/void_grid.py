"""The volume that a spherical probe can occupy between hard atoms, on a periodic grid.

Definitions as in Zeo++ (Ongari et al., Langmuir 33, 14529 (2017), doi 10.1021/acs.langmuir.7b01682): the
*accessible* volume holds the centres of all probes that overlap no atom, the *probe-occupiable* volume
everything that those probes cover. Zeo++ samples both at random points; here a grid does, so that the
value is the same on every call. Atoms are balls; every atom counts in full. At 0.15 Angstrom the
probe-occupiable share of channels is off by 1 % in the median, by less than 4 % for 95 % of 253 structures of
OBELiX and the reference set, by 7 % at most; the comparison is with centres pushed into contact.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from pymatgen.core import Lattice
from scipy.ndimage import maximum_filter

from sselib.errors import ParameterError

_MAX_POINTS = 30_000_000  # about 1 GB of working memory
_SLACK = 0.6  # voxels by which a centre may miss; makes the volume unbiased against the reference above


@dataclass(frozen=True)
class VoidGrid:
    """Clearance of each grid point from the nearest atom surface, for a probe.

    ``clearance_angstrom`` has shape (n1, n2, n3), float32; points far from every atom hold infinity.
    ``voxel_angstrom`` is the cube root of the volume per point.
    """

    lattice: Lattice
    clearance_angstrom: np.ndarray
    voxel_angstrom: float
    probe_radius_angstrom: float

    @cached_property
    def centres(self) -> np.ndarray:
        """Where the centre of a probe can be, to `_SLACK` voxels; boolean, shape of the grid.

        A point that just does not fit beside one that does stands for the contact between them: without such
        points narrow channels, which few grid points meet, would lose their walls.
        """
        excess = self.clearance_angstrom - self.probe_radius_angstrom
        beside = maximum_filter(excess >= 0, size=3, mode="wrap")
        return beside & (excess >= -_SLACK * self.voxel_angstrom)


def void_grid(
    lattice: Lattice,
    frac_coords: np.ndarray,
    radii_angstrom: np.ndarray,
    *,
    spacing_angstrom: float,
    probe_radius_angstrom: float,
) -> VoidGrid:
    """Return the clearance on a grid of at most ``spacing_angstrom`` along each axis.

    ``frac_coords`` (n, 3) and ``radii_angstrom`` (n,) describe the atoms. Clearances are exact up to two
    spacings more than the radius of the probe. Raises `ParameterError` if the
    cell needs more than 30 million points.
    """
    shape = np.maximum(np.ceil(np.array(lattice.abc) / spacing_angstrom).astype(int), 1)
    if shape.prod() > _MAX_POINTS:
        raise ParameterError(
            f"a cell of {lattice.volume:.0f} Angstrom^3 needs {shape.prod():,} grid points "
            f"at {spacing_angstrom} Angstrom, more than {_MAX_POINTS:,}: choose a larger "
            "grid_spacing_angstrom"
        )
    reach = probe_radius_angstrom + 2 * spacing_angstrom
    clearance = np.full(shape.prod(), np.inf, dtype=np.float32)
    for frac, radius in zip(np.asarray(frac_coords, float) % 1.0, radii_angstrom, strict=True):
        points, distance = _points_near(lattice, shape, frac, radius + reach)
        np.minimum.at(clearance, points, (distance - radius).astype(np.float32))
    voxel = (lattice.volume / shape.prod()) ** (1 / 3)
    return VoidGrid(lattice, clearance.reshape(shape), voxel, probe_radius_angstrom)


def _points_near(
    lattice: Lattice, shape: np.ndarray, frac: np.ndarray, cutoff_angstrom: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return flat grid indices within a cutoff of a position (periodic images included) and distances."""
    low, high = (frac + sign * cutoff_angstrom * _heights(lattice) for sign in (-1, 1))
    ranges = [np.arange(np.ceil(a * n), np.floor(b * n) + 1).astype(int) for a, b, n in zip(low, high, shape)]
    steps = zip(ranges, shape, frac, lattice.matrix, strict=True)
    x, y, z = ((r / n - f)[:, None] * row for r, n, f, row in steps)
    vectors = x[:, None, None, :] + y[None, :, None, :] + z[None, None, :, :]
    distance = np.sqrt(np.einsum("...i,...i->...", vectors, vectors)).ravel()
    flat = np.ravel_multi_index(np.meshgrid(*ranges, indexing="ij"), shape, mode="wrap").ravel()
    near = distance <= cutoff_angstrom
    return flat[near], distance[near]


def accessible_fraction(grid: VoidGrid, *, among: np.ndarray | None = None) -> float:
    """Return the share of the cell where the centre of a probe can be.

    ``among`` (boolean, shape of the grid) restricts it to some of `VoidGrid.centres`, such as channels.
    """
    depth = grid.clearance_angstrom - grid.probe_radius_angstrom
    return _smooth_share(depth if among is None else np.where(among, depth, -np.inf), grid)


def occupiable_fraction(grid: VoidGrid, *, among: np.ndarray | None = None) -> float:
    """Return the share of the cell that probes cover whose centres are ``among`` those of the grid.

    The ball around a centre that reaches to the nearest atom holds only points that a probe inside it
    covers, so the union of those balls is the answer.
    """
    centres = grid.centres if among is None else among
    depth = np.where(centres, grid.clearance_angstrom, -np.inf).astype(np.float32)
    reach = grid.probe_radius_angstrom + 2 * grid.voxel_angstrom
    index = np.argwhere(centres & (grid.clearance_angstrom < reach))  # those deep inside cover nothing new
    radius, flat, shape = grid.clearance_angstrom[tuple(index.T)], depth.reshape(-1), np.array(depth.shape)
    for offset in _offsets(grid, reach):
        distance = np.linalg.norm((offset / shape) @ grid.lattice.matrix)
        target = np.ravel_multi_index((index + offset).T, depth.shape, mode="wrap")
        np.maximum.at(flat, target, (radius - distance).astype(np.float32))
    return _smooth_share(depth, grid)


def _smooth_share(depth_angstrom: np.ndarray, grid: VoidGrid) -> float:
    """Return the share of the cell with positive depth.

    The step is one voxel wide, so that volumes change smoothly with the structure.
    """
    return float(np.clip(depth_angstrom / grid.voxel_angstrom + 0.5, 0.0, 1.0).mean(dtype=float))


def _offsets(grid: VoidGrid, reach_angstrom: float) -> np.ndarray:
    """Return the grid steps (n, 3) no longer than a distance."""
    shape = np.array(grid.clearance_angstrom.shape)
    steps = np.ceil(reach_angstrom * _heights(grid.lattice) * shape).astype(int)
    offsets = np.stack(np.meshgrid(*[np.arange(-r, r + 1) for r in steps], indexing="ij"), -1).reshape(-1, 3)
    return offsets[np.linalg.norm((offsets / shape) @ grid.lattice.matrix, axis=1) <= reach_angstrom]


def _heights(lattice: Lattice) -> np.ndarray:
    """Return 1 / distance between opposite faces of the cell, shape (3,), 1/Angstrom."""
    return np.array(lattice.reciprocal_lattice_crystallographic.abc)
