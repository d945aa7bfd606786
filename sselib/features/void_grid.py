"""The volume that a spherical probe can occupy between hard atoms, on a periodic grid.

Definitions as in Zeo++ (Ongari et al., Langmuir 33, 14529 (2017), doi 10.1021/acs.langmuir.7b01682): the
*accessible* volume holds the centres of all probes that overlap no atom, the *probe-occupiable* volume
everything that those probes cover. Zeo++ samples both at random points; here a grid does, so that the
value is the same on every call. Atoms are balls; every atom counts in full.
"""

from dataclasses import dataclass

import numpy as np
from pymatgen.core import Lattice
from scipy.ndimage import label, maximum_position
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from sselib.errors import ParameterError

_MAX_POINTS = 30_000_000  # about 1 GB of working memory
_CONTACT_ANGSTROM = 0.01  # a probe within this of contact counts as placed
_PUSHES = 8


@dataclass(frozen=True)
class Surroundings:
    """The atoms of a cell and of its neighbours, one search tree for each radius (Angstrom)."""

    trees: dict[float, cKDTree]

    def nearest(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the clearance (n,) of Cartesian points (n, 3) and the centre (n, 3) of that atom."""
        clearance, atom = np.full(len(points), np.inf), np.zeros((len(points), 3))
        for radius, tree in self.trees.items():
            distance, i = tree.query(points)
            closer = distance - radius < clearance
            clearance[closer], atom[closer] = distance[closer] - radius, tree.data[i[closer]]
        return clearance, atom


@dataclass(frozen=True)
class ProbeCentres:
    """Positions of probes in or near contact with atoms.

    ``frac_coords`` (n, 3), ``radius_angstrom`` (n,): clearance there; ``index`` (n, 3): a grid point nearby.
    """

    frac_coords: np.ndarray
    radius_angstrom: np.ndarray
    index: np.ndarray

    def take(self, which: np.ndarray) -> "ProbeCentres":
        """Return the centres that a boolean array (n,) marks."""
        return ProbeCentres(self.frac_coords[which], self.radius_angstrom[which], self.index[which])


@dataclass(frozen=True)
class VoidGrid:
    """Clearance of each grid point from the nearest atom surface.

    ``clearance_angstrom`` has shape (n1, n2, n3), float32; points far from every atom hold infinity.
    ``voxel_angstrom`` is the cube root of the volume per point.
    """

    lattice: Lattice
    surroundings: Surroundings
    clearance_angstrom: np.ndarray
    voxel_angstrom: float


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
    return VoidGrid(
        lattice, _surroundings(lattice, frac_coords, radii_angstrom, reach), clearance.reshape(shape), voxel
    )


def _surroundings(
    lattice: Lattice, frac_coords: np.ndarray, radii_angstrom: np.ndarray, reach_angstrom: float
) -> Surroundings:
    """Return the atoms whose surface is within reach of the cell."""
    radii = np.asarray(radii_angstrom, float)
    width = (radii.max() + 2 * reach_angstrom) * _heights(lattice)
    images = (np.asarray(frac_coords, float) % 1.0)[:, None, :] + _cells(np.ceil(width))
    near = ((images >= -width) & (images <= 1 + width)).all(axis=2)
    trees = {
        r: cKDTree(lattice.get_cartesian_coords(images[radii == r][near[radii == r]]))
        for r in np.unique(radii)
    }
    return Surroundings(trees)


def _points_near(
    lattice: Lattice, shape: np.ndarray, frac: np.ndarray, cutoff_angstrom: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return flat grid indices within a cutoff of a position (periodic images included) and distances."""
    half_width = cutoff_angstrom * _heights(lattice)
    ranges = [
        np.arange(np.ceil((f - w) * n), np.floor((f + w) * n) + 1).astype(int)
        for f, w, n in zip(frac, half_width, shape, strict=True)
    ]
    x, y, z = (
        (r / n - f)[:, None] * row for r, n, f, row in zip(ranges, shape, frac, lattice.matrix, strict=True)
    )
    vectors = x[:, None, None, :] + y[None, :, None, :] + z[None, None, :, :]
    distance = np.sqrt(np.einsum("...i,...i->...", vectors, vectors)).ravel()
    flat = np.ravel_multi_index(np.meshgrid(*ranges, indexing="ij"), shape, mode="wrap").ravel()
    near = distance <= cutoff_angstrom
    return flat[near], distance[near]


def accessible_fraction(grid: VoidGrid, *, probe_radius_angstrom: float) -> float:
    """Return the share of the cell where the centre of a probe can be (pockets included)."""
    return smooth_share(grid.clearance_angstrom - probe_radius_angstrom, grid.voxel_angstrom)


def smooth_share(depth_angstrom: np.ndarray, voxel_angstrom: float) -> float:
    """Return the share of the cell with positive depth.

    The step is one voxel wide, so that volumes change smoothly with the structure.
    """
    return float(np.clip(depth_angstrom / voxel_angstrom + 0.5, 0.0, 1.0).mean(dtype=float))


def probe_centres(grid: VoidGrid, *, probe_radius_angstrom: float) -> ProbeCentres:
    """Return the probe positions that decide what is covered: those at and near contact with atoms.

    Grid points alone miss the probe positions between them, which is most of them where channels are
    narrower than the spacing. Points that just do not fit are therefore pushed away from the atoms they
    overlap, onto the surface that the centre of a rolling probe describes.
    """
    clearance, voxel = grid.clearance_angstrom, grid.voxel_angstrom
    near = np.abs(clearance - probe_radius_angstrom) <= voxel
    index = np.argwhere(near)
    fits = clearance[near] >= probe_radius_angstrom
    frac, radius = index / np.array(near.shape), clearance[near].astype(float)
    frac[~fits], radius[~fits] = _push_out(grid, frac[~fits], probe_radius_angstrom)
    kept = radius >= probe_radius_angstrom - _CONTACT_ANGSTROM
    return ProbeCentres(frac[kept], radius[kept], index[kept])


def _push_out(grid: VoidGrid, frac: np.ndarray, probe_radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Move points off the atoms they overlap, at most 1.5 voxels; return fractions and clearances."""
    start = grid.lattice.get_cartesian_coords(frac)
    points, active = start.copy(), np.arange(len(start))
    clearance, atom = grid.surroundings.nearest(points)
    for _ in range(_PUSHES):
        step = (probe_radius + _CONTACT_ANGSTROM / 2 - clearance[active])[:, None]
        away = points[active] - atom[active]
        points[active] += step * away / np.linalg.norm(away, axis=1, keepdims=True)
        clearance[active], atom[active] = grid.surroundings.nearest(points[active])
        close = np.linalg.norm(points[active] - start[active], axis=1) <= 1.5 * grid.voxel_angstrom
        active = active[close & (clearance[active] < probe_radius)]
    return grid.lattice.get_fractional_coords(points), clearance


def occupiable_fraction(grid: VoidGrid, *, probe_radius_angstrom: float) -> float:
    """Return the share of the cell that probes cover (pockets included)."""
    depth = covered_depth(
        grid,
        probe_centres(grid, probe_radius_angstrom=probe_radius_angstrom),
        inside=grid.clearance_angstrom >= probe_radius_angstrom,
        probe_radius_angstrom=probe_radius_angstrom,
    )
    return smooth_share(depth, grid.voxel_angstrom)


def covered_depth(
    grid: VoidGrid, centres: ProbeCentres, *, inside: np.ndarray, probe_radius_angstrom: float
) -> np.ndarray:
    """Return how deep each grid point lies in the volume that probes cover, in Angstrom.

    Shape of the grid, float32, minus infinity far outside. ``inside`` (boolean) marks the grid points
    that probe centres may take beside ``centres``. The ball around a centre that reaches to the nearest
    atom holds only points that a probe inside it covers, so the union of those balls is the answer.
    """
    depth = np.where(inside, grid.clearance_angstrom, -np.inf).astype(np.float32)
    shape, matrix = np.array(depth.shape), grid.lattice.matrix
    remainder = (centres.index / shape - centres.frac_coords) @ matrix
    radius, squared = centres.radius_angstrom, np.einsum("ij,ij->i", remainder, remainder)
    flat = depth.reshape(-1)
    for offset in _offsets(grid, probe_radius_angstrom + grid.voxel_angstrom):
        step = (offset / shape) @ matrix
        distance = np.sqrt(np.maximum(squared + 2 * remainder @ step + step @ step, 0.0))
        target = np.ravel_multi_index((centres.index + offset).T, depth.shape, mode="wrap")
        np.maximum.at(flat, target, (radius - distance).astype(np.float32))
    return depth


def _offsets(grid: VoidGrid, reach_angstrom: float) -> np.ndarray:
    """Return the grid steps (n, 3) no longer than a distance."""
    shape = np.array(grid.clearance_angstrom.shape)
    steps = np.ceil(reach_angstrom * _heights(grid.lattice) * shape).astype(int)
    offsets = _cells(steps)
    return offsets[np.linalg.norm((offsets / shape) @ grid.lattice.matrix, axis=1) <= reach_angstrom]


def _heights(lattice: Lattice) -> np.ndarray:
    """Return 1 / distance between opposite faces of the cell, shape (3,), 1/Angstrom."""
    return np.array(lattice.reciprocal_lattice_crystallographic.abc)


def _cells(reach: np.ndarray) -> np.ndarray:
    """Return all integer triples from -reach to reach, shape (n, 3)."""
    return np.stack(np.meshgrid(*[np.arange(-r, r + 1) for r in reach], indexing="ij"), -1).reshape(-1, 3)


def void_regions(grid: VoidGrid, *, probe_radius_angstrom: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the connected regions of probe centres and the deepest point of each.

    The first array has the shape of the grid (0: no probe, else 1 to n), the second (n, 3) holds the
    fractional coordinates of the deepest points. Regions connect through the faces of the cell.
    """
    labels, count = label(grid.clearance_angstrom >= probe_radius_angstrom)
    merged = _merge_periodic(labels, count)
    n = int(merged.max())
    deepest = maximum_position(grid.clearance_angstrom, merged, np.arange(1, n + 1)) if n else []
    return merged, np.array(deepest, float).reshape(-1, 3) / np.array(labels.shape)


def _merge_periodic(labels: np.ndarray, count: int) -> np.ndarray:
    """Give regions that touch across opposite faces of the cell one number, counted from 1."""
    pairs = []
    for axis in range(3):
        first, last = (np.take(labels, i, axis=axis).ravel() for i in (0, -1))
        both = (first > 0) & (last > 0)
        pairs.append(np.stack([first[both], last[both]]))
    i, j = np.concatenate(pairs, axis=1)
    graph = coo_array((np.ones(len(i)), (i, j)), shape=(count + 1, count + 1))
    _, part = connected_components(graph, directed=False)
    numbers = np.zeros(count + 1, int)
    numbers[1:] = np.unique(part[1:], return_inverse=True)[1] + 1
    return numbers[labels]
