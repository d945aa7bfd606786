"""Crystal structures in 3D, as a plotly figure: works offline in JupyterLab and in the report.

Drawn here and not with pymatviz: its `structure_3d` shows a site of occupancy 0.15 as a full sphere and
needs one trace a site. Colours are those of Jmol, taken from pymatviz.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
import plotly.graph_objects as go
from pymatgen.core import Element, Structure
from pymatviz.colors import ELEM_COLORS_JMOL

from sselib.errors import DataError
from sselib.materials.disorder import FULL_OCCUPANCY_TOLERANCE

VACANCY = "vacancy"
_VACANCY_COLOUR = "#d9d9d9"
_RADIUS_SCALE = 0.4  # of the atomic radius: spheres do not touch
_DEFAULT_RADIUS_ANGSTROM = 1.5  # where no atomic radius is known
_BOUNDARY = 1e-3  # fractional distance from a face below which the site is drawn on the opposite face too
_MAX_VERTICES = 20_000  # of all spheres together: keeps a figure near 1 MB
_BOND_SLACK = 1.2  # a bond is at most this times the sum of the atomic radii
_CORNERS = tuple(product((0, 1), repeat=3))
_EDGES = tuple(
    (p, q) for p, q in product(_CORNERS, repeat=2) if np.abs(np.subtract(q, p)).sum() == 1 and p < q
)


@dataclass(frozen=True)
class Sector:
    """The part of one drawn site that one species fills, as the sector of a sphere.

    ``start`` and ``end`` are fractions of a full turn; their difference is the occupancy. ``centre`` is in
    Angstrom, ``fractional`` in units of the cell vectors.
    """

    species: str
    start: float
    end: float
    centre: tuple[float, float, float]
    fractional: tuple[float, float, float]

    @property
    def occupancy(self) -> float:
        """The occupancy of the species on the site, 0 to 1."""
        return self.end - self.start


def structure_figure(
    structure: Structure,
    *,
    title: str = "",
    max_sites: int = 400,
    bonds: bool = True,
    max_vertices: int = _MAX_VERTICES,
) -> go.Figure:
    """Draw a structure with its cell; partial and mixed occupancy as sectors of a sphere.

    A species of occupancy 0.25 fills a quarter of its sphere, and what is empty is pale. Sites on a face of
    the cell are drawn on the opposite face too. Hovering gives species, occupancy and fractional
    coordinates. ``bonds`` joins the sites of the framework (not Li, occupancy of at least 0.5) that are
    closer than 1.2 times the sum of their atomic radii. ``max_vertices`` of all spheres together bounds the
    size of the figure. Raises `DataError` if the structure is empty or has more than ``max_sites`` sites.
    """
    if not 0 < len(structure) <= max_sites:
        raise DataError(
            f"a structure with {len(structure)} sites cannot be drawn: expected 1 to {max_sites}; "
            "draw the primitive cell, or raise max_sites"
        )
    sectors = site_sectors(structure)
    figure = go.Figure(_cell(structure))
    if bonds:
        figure.add_trace(_bonds(structure))
    n_spheres = len({s.fractional for s in sectors})
    resolution = int(np.clip(np.sqrt(2 * max_vertices / n_spheres) - 2, 9, 24))  # meridians of a sphere
    for name in sorted({s.species for s in sectors}, key=lambda s: (s == VACANCY, s != "Li", s)):
        figure.add_trace(_spheres(name, [s for s in sectors if s.species == name], resolution))
    axis = {"visible": False}
    side = {"title": {"text": "species (occupancy)", "side": "top"}, "font": {"size": 11}}
    return figure.update_layout(
        scene={"xaxis": axis, "yaxis": axis, "zaxis": axis, "aspectmode": "data"},
        scene_camera={"projection": {"type": "orthographic"}, "eye": {"x": 1.25, "y": 0.7, "z": 0.45}},
        title={"text": title, "font": {"size": 14}},
        legend={"orientation": "h", "y": 0, **side},
        margin={"l": 0, "r": 0, "t": 40 if title else 5, "b": 60},
        height=480,
    )


def site_sectors(structure: Structure) -> list[Sector]:
    """Return what fills each drawn site, periodic images on the faces of the cell included."""
    sectors: list[Sector] = []
    for site in structure:
        base = np.mod(site.frac_coords, 1.0)
        base[base > 1 - _BOUNDARY] -= 1.0  # 0.9999 is the face at 0
        shifts = product(*[(0, 1) if abs(x) < _BOUNDARY else (0,) for x in base])
        filled = _filled(site.species.get_el_amt_dict())
        for shift in shifts:
            fractional = base + shift
            centre = structure.lattice.get_cartesian_coords(fractional)
            place = (tuple(centre.tolist()), tuple(fractional.tolist()))
            sectors += [Sector(name, start, end, *place) for name, start, end in filled]
    return sectors


def _filled(amounts: dict[str, float]) -> list[tuple[str, float, float]]:
    """Return (species, start, end) for each species on a site and for what is left empty."""
    total = sum(amounts.values())
    if total < 1 - FULL_OCCUPANCY_TOLERANCE:
        amounts = {**amounts, VACANCY: 1 - total}
    ends = np.cumsum(list(amounts.values())) / sum(amounts.values())
    return list(zip(amounts, [0.0, *ends[:-1].tolist()], ends.tolist(), strict=True))


def _spheres(name: str, sectors: list[Sector], resolution: int) -> go.Mesh3d:
    """Return one mesh with the sectors of all sites that hold the species."""
    radius = sphere_radius(name)
    points, values, faces, n = [], [], [], 0
    for sector in sectors:
        unit, face = _sector_mesh(sector.occupancy, resolution)
        turn = 2 * np.pi * sector.start
        rotation = np.array([[np.cos(turn), np.sin(turn), 0], [-np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
        points.append(np.asarray(sector.centre) + radius * unit @ rotation)
        values.append(np.tile([sector.occupancy, *sector.fractional], (len(unit), 1)))
        faces.append(face + n)
        n += len(unit)
    x, y, z = np.concatenate(points).astype(np.float32).T
    i, j, k = np.concatenate(faces).astype(np.uint16 if n < 2**16 else np.uint32).T
    return go.Mesh3d(
        **{"x": x, "y": y, "z": z, "i": i, "j": j, "k": k},
        color=colour(name),
        opacity=0.35 if name == VACANCY else 1.0,
        name=f"{name}{_range([s.occupancy for s in sectors])}",
        showlegend=True,
        customdata=np.concatenate(values).astype(np.float32),
        hovertemplate=f"<b>{name}</b>, occupancy %{{customdata[0]:.3f}}<br>fractional coordinates "
        "%{customdata[1]:.3f}, %{customdata[2]:.3f}, %{customdata[3]:.3f}<extra></extra>",
        lighting={"ambient": 0.65, "diffuse": 0.5, "specular": 0.15, "roughness": 0.6},
    )


def sphere_radius(name: str) -> float:
    """Return the radius of the drawn sphere of an element or a vacancy, Angstrom."""
    known = None if name == VACANCY else Element(name).atomic_radius
    return _RADIUS_SCALE * float(known or _DEFAULT_RADIUS_ANGSTROM)


def colour(name: str) -> str:
    """Return the colour of an element (Jmol's) or of a vacancy, as hexadecimal text."""
    if name == VACANCY:
        return _VACANCY_COLOUR
    rgb = ELEM_COLORS_JMOL.get(name, (0.6, 0.6, 0.6))
    return "#" + "".join(f"{round(255 * x):02x}" for x in rgb)


def _range(occupancies: list[float]) -> str:
    """Return ' (0.15)', ' (0.15 to 0.40)' or nothing for a species that fills all its sites."""
    low, high = round(min(occupancies), 2), round(max(occupancies), 2)
    if low >= 1:
        return ""
    return f" ({low:.2f})" if low == high else f" ({low:.2f} to {high:.2f})"


def _sector_mesh(share: float, resolution: int) -> tuple[np.ndarray, np.ndarray]:
    """Return vertices (n, 3) and faces (m, 3) of the part ``share`` of a unit sphere, cut along the axis z.

    A part below 1 is closed by its two half-discs, so that it looks solid.
    """
    columns = max(2, int(np.ceil(resolution * share))) + 1
    rows = resolution // 2 + 1
    theta, phi = np.linspace(0, np.pi, rows), np.linspace(0, 2 * np.pi * share, columns)
    t, p = np.meshgrid(theta, phi, indexing="ij")
    surface = np.stack([np.sin(t) * np.cos(p), np.sin(t) * np.sin(p), np.cos(t)], axis=-1).reshape(-1, 3)
    corner = np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)
    a, b, c, d = (corner + shift for shift in (0, 1, columns, columns + 1))
    whole = share >= 1 - FULL_OCCUPANCY_TOLERANCE
    if whole:  # sewn together: no seam in the shading
        b[:, -1], d[:, -1] = a[:, 0], c[:, 0]
    faces = [np.stack([a, c, b], axis=-1).reshape(-1, 3), np.stack([b, c, d], axis=-1).reshape(-1, 3)]
    if whole:
        return surface, np.concatenate(faces)
    grid, n = surface.reshape(rows, columns, 3), len(surface)
    discs = np.concatenate([grid[:, 0], grid[:, -1], np.zeros((1, 3))])  # own vertices: a sharp edge
    for first, step in ((n, 1), (n + rows, 0)):  # both discs face outwards
        rim, middle = first + np.arange(rows - 1), np.full(rows - 1, n + 2 * rows)
        faces.append(np.stack([rim + step, rim + 1 - step, middle], axis=-1))
    return np.concatenate([surface, discs]), np.concatenate(faces)


def _cell(structure: Structure) -> list[go.Scatter3d]:
    """Return the twelve edges of the cell, and the names of its vectors at their ends."""
    vectors = structure.lattice.matrix
    edges = _lines([(np.dot(p, vectors), np.dot(q, vectors)) for p, q in _EDGES])
    ends = vectors * (1 + 1.2 / np.linalg.norm(vectors, axis=1, keepdims=True))
    names = dict(zip("xyz", ends.T.tolist(), strict=True))
    bare = {"hoverinfo": "skip", "showlegend": False}
    return [
        go.Scatter3d(**edges, **bare, mode="lines", line={"color": "#555555", "width": 3}, name="cell"),
        go.Scatter3d(**names, **bare, mode="text", text=["a", "b", "c"], name="axes"),
    ]


def _bonds(structure: Structure) -> go.Scatter3d:
    """Return lines between neighbouring sites of the framework inside the cell."""
    framework = [s for s in structure if s.species.num_atoms >= 0.5 and _main(s.species) != "Li"]
    pairs = []
    if framework:
        kept = Structure.from_sites(framework, to_unit_cell=True)
        first, second, image, distance = kept.get_neighbor_list(3.2)
        names = [_main(s.species) for s in kept]
        radii = [sphere_radius(name) / _RADIUS_SCALE for name in names]
        inside = (image == 0).all(axis=1) & (first < second) & (distance > 0.6)
        for i, j, d in zip(first[inside], second[inside], distance[inside], strict=True):
            if names[i] != names[j] and d <= _BOND_SLACK * (radii[i] + radii[j]):
                pairs.append((kept[int(i)].coords, kept[int(j)].coords))
    line = {"color": "#aaaaaa", "width": 4}
    return go.Scatter3d(**_lines(pairs), mode="lines", line=line, hoverinfo="skip", name="bonds")


def _main(species: object) -> str:
    """Return the element with the largest occupancy."""
    amounts = species.get_el_amt_dict()
    return max(amounts, key=amounts.get)


def _lines(pairs: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, list[float | None]]:
    """Return coordinates of separate line segments, with a gap after each."""
    return {
        axis: [v for p, q in pairs for v in (float(p[k]), float(q[k]), None)] for k, axis in enumerate("xyz")
    }
