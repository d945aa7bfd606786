"""Zeo++ (Willems et al., Microporous Mesoporous Mater. 149, 134 (2012), doi 10.1016/j.micromeso.2011.08.020).

Zeo++ ends the whole process on some inputs, so each structure gets a child process with a time limit.
What pyzeo does not expose (the dimensionality of channels) is read off the Voronoi network it writes.
"""

import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import yaml
from pymatgen.core import Lattice, Structure
from pymatgen.io.cif import CifWriter
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, connected_components

from sselib.errors import SchemaError, SSEError
from sselib.paths import project_root

RADII = "data/zeopp_radii.yaml"
_CHILD = Path(__file__).with_name("zeopp_child.py")
_SAME_ANGSTROM = 2e-3  # windows this close are equal by symmetry and differ by the jitter only


class ZeoppError(SSEError):
    """Zeo++ ended without a result, or took longer than it was given."""


@dataclass(frozen=True)
class VoronoiNetwork:
    """The void space as Zeo++ sees it: nodes, and edges through their narrowest point.

    ``frac_coords`` (n, 3) and ``radius_angstrom`` (n,): centre and radius of the largest sphere that
    touches no atom at a node. ``edges`` (m, 5): first and second node, and the three cell shifts from
    the first to the second; ``edge_radius_angstrom`` (m,): the largest sphere that passes along it.
    """

    frac_coords: np.ndarray
    radius_angstrom: np.ndarray
    edges: np.ndarray
    edge_radius_angstrom: np.ndarray


@dataclass(frozen=True)
class ZeoppResult:
    """Sphere diameters in Angstrom and the Voronoi network."""

    largest_included_sphere_angstrom: float  # Di: the largest sphere that fits somewhere
    largest_free_sphere_angstrom: float  # Df: the largest sphere that can travel through the crystal
    network: VoronoiNetwork


@cache
def _radii() -> tuple[dict[str, float], float]:
    """Return the radii of `RADII`, Angstrom, and that of any other element."""
    content = yaml.safe_load((project_root() / RADII).read_text(encoding="utf-8"))
    wrong = {el: r for el, r in content["radii"].items() if not (isinstance(r, float) and 0.5 < r < 4)}
    if wrong:
        raise SchemaError(f"{RADII}: {wrong}: expected radii between 0.5 and 4 Angstrom")
    return content["radii"], content["other"]


def van_der_waals_radius(element: str) -> float:
    """Return the radius of an element in Angstrom (2.00 where the set has none)."""
    radii, other = _radii()
    return radii.get(element, other)


def radii_angstrom(atoms: Structure, chosen: Mapping[str, float]) -> np.ndarray:
    """Return the radius of each atom, shape (n,): that ``chosen`` for its element, else van der Waals'."""
    symbols = [site.specie.symbol for site in atoms]
    return np.array([chosen.get(el, van_der_waals_radius(el)) for el in symbols], float)


def run_zeopp(atoms: Structure, chosen: Mapping[str, float], *, timeout_s: float = 60.0) -> ZeoppResult:
    """Analyse a crystal of full atoms; ``chosen`` as in `radii_angstrom`.

    Raises `ZeoppError` with what Zeo++ said if it fails or needs more than ``timeout_s`` seconds; this
    process goes on.
    """
    symbols = [site.specie.symbol for site in atoms]
    radii = dict(zip(symbols, radii_angstrom(atoms, chosen), strict=True))
    wrapped = Structure(atoms.lattice, atoms.species, atoms.frac_coords % 1.0)
    with tempfile.TemporaryDirectory(prefix="sse-zeopp-") as name:
        folder = Path(name)
        (folder / "in.cif").write_text(str(CifWriter(wrapped, significant_figures=10)), encoding="ascii")
        rows = "".join(f"{el} {radius:.4f}\n" for el, radius in radii.items())
        (folder / "radii.rad").write_text(rows, encoding="ascii")
        _run_child(folder, timeout_s)
        _, di, df, _ = (folder / "spheres.res").read_text(encoding="ascii").rsplit(maxsplit=3)
        return ZeoppResult(float(di), float(df), _read_network(folder / "network.nt2", atoms.lattice))


def _run_child(folder: Path, timeout_s: float) -> None:
    """Run Zeo++ on ``folder`` and raise `ZeoppError` unless it left both of its files."""
    command = [sys.executable, "-I", str(_CHILD), str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired as error:
        raise ZeoppError(f"Zeo++ took longer than {timeout_s:g} s") from error
    if done.returncode != 0 or not (folder / "network.nt2").is_file():
        said = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
        raise ZeoppError(f"Zeo++ ended with code {done.returncode}: {said[-1] if said else 'no message'}")


def _read_network(path: Path, lattice: Lattice) -> VoronoiNetwork:
    """Read a .nt2 file: lines 'i x y z radius atoms...' and 'i -> j radius dx dy dz length'.

    Zeo++ leaves out nodes inside atoms but keeps their numbers; edges to them are dropped here.
    """
    vertex_text, edge_text = path.read_text(encoding="ascii").split("Edge table:")
    nodes = _numbers(vertex_text.removeprefix("Vertex table:"), columns=5)
    edges = _numbers(edge_text.replace("->", " "), columns=6)
    edges = edges[np.isin(edges[:, :2], nodes[:, 0]).all(axis=1)]
    ends = np.searchsorted(nodes[:, 0], edges[:, :2])
    a_along_x = Lattice.from_parameters(*lattice.parameters, vesta=True)
    return VoronoiNetwork(
        frac_coords=a_along_x.get_fractional_coords(nodes[:, 1:4]),
        radius_angstrom=nodes[:, 4],
        edges=np.hstack([ends, edges[:, 3:]]).astype(int),
        edge_radius_angstrom=edges[:, 2],
    )


def _numbers(text: str, *, columns: int) -> np.ndarray:
    """Return the first numbers of each line that is not empty, shape (n, columns)."""
    rows = [line.split()[:columns] for line in text.splitlines() if line.strip()]
    return np.array(rows, float).reshape(-1, columns)


def channel_dimensionality(network: VoronoiNetwork, *, probe_radius_angstrom: float) -> np.ndarray:
    """Return for each node in how many directions a probe that starts there can leave the cell (0 to 3).

    Shape (n,), -1 where the probe does not fit. A connected set of nodes is a channel if it reaches a
    periodic image of itself; the rank of those translations is its dimensionality.
    """
    n = len(network.radius_angstrom)
    fits = network.radius_angstrom >= probe_radius_angstrom
    passes = network.edge_radius_angstrom >= probe_radius_angstrom
    edges = network.edges[passes & fits[network.edges[:, :2]].all(axis=1)]
    graph = csr_array((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(n, n))
    _, label = connected_components(graph, directed=False)
    part = label[edges[:, 0]]
    rank = {name: _rank(edges[part == name], graph) for name in np.unique(part)}
    return np.array([rank.get(name, 0) if ok else -1 for name, ok in zip(label, fits, strict=True)], int)


def included_along_free_path(network: VoronoiNetwork, *, free_sphere_angstrom: float) -> float:
    """Return the diameter of the largest sphere in the channels through which the free sphere travels (Dif).

    Zeo++ reports it for the one path that it happens to find among equivalent ones, so its value changes
    with the order of atoms (by up to 0.15 Angstrom in OBELiX); this one is that of all such channels. 0
    where nothing can travel.
    """
    probe = free_sphere_angstrom / 2 - _SAME_ANGSTROM
    if probe <= 0:
        return 0.0
    open_nodes = channel_dimensionality(network, probe_radius_angstrom=probe) > 0
    return float(2 * network.radius_angstrom[open_nodes].max(initial=0.0))


def _rank(edges: np.ndarray, graph: csr_array) -> int:
    """Return the rank of the translations by which a connected set of nodes repeats itself."""
    order, parent = breadth_first_order(graph, edges[0, 0], directed=False)
    shift_of: dict[tuple[int, int], np.ndarray] = {}
    for i, j, *shift in edges.tolist():
        shift_of[i, j], shift_of[j, i] = np.array(shift), -np.array(shift)
    offset = np.zeros((graph.shape[0], 3), int)
    for node in order[1:]:
        offset[node] = offset[parent[node]] + shift_of[parent[node], node]
    cycles = offset[edges[:, 0]] + edges[:, 2:] - offset[edges[:, 1]]
    return int(np.linalg.matrix_rank(np.unique(cycles, axis=0)))
