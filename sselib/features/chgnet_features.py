"""Atom features of CHGNet after each of its layers, for ordered and disordered crystals.

CHGNet (Deng et al., Nat. Mach. Intell. 5, 1031 (2023), doi 10.1038/s42256-023-00716-3) is the second parent
beside MEGNet; its weights ship with the package, so nothing is downloaded. A disordered site enters as the
occupancy-weighted sum of its elements' embeddings; a vacancy contributes nothing. Sites closer than
`CLOSE_SITES_ANGSTROM` cannot both be filled (split sites), so they are not each other's neighbours: CHGNet
never saw atoms that close. CHGNet adds up messages where MEGNet takes their mean, so that a site with many
partially filled neighbours lies further from what it was trained on.

Symmetry-equivalent sites, bonds and angles have equal features, so each layer is evaluated once for each
distinct combination of its inputs (`_Rows`) instead of once for each site, bond and angle.
"""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from chgnet.model.model import CHGNet
from pymatgen.core import Structure
from scipy.sparse import csr_array

from sselib.errors import DataError
from sselib.features.megnet import site_species
from sselib.materials.structures import CLOSE_SITES_ANGSTROM

if TYPE_CHECKING:
    from chgnet.model.layers import AngleUpdate, AtomConv, BondConv

CHGNET_MODEL = "0.3.0"
_MAX_ANGLES = 300_000  # of a structure's graph; the largest of OBELiX has 67,000
_LARGEST = 2**62
_DECIMALS = 4  # distances (Angstrom), cosines and features that agree so far are equal


@lru_cache(maxsize=1)
def load_chgnet() -> CHGNet:
    """Return the pretrained model on the CPU."""
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its size, quiet or not
        return CHGNet.load(model_name=CHGNET_MODEL, use_device="cpu", verbose=False).eval()


@torch.no_grad()
def chgnet_layers(structure: Structure) -> dict[str, np.ndarray]:
    """Return V0 (the embedding) and V1 to V4 (after each convolution) per site, shape (n_sites, 64) each.

    V4 is taken before the readout's normalisation. `sselib.features.representations.primitive_cell` first
    makes it cheaper. Raises `StructureNotSupportedError` for an element beyond Pu and `DataError` where sites
    are so dense that the graph would not fit in memory.
    """
    model = load_chgnet()
    embedded = _embedded(structure, model)
    graph = _graph(structure, model)
    layers = [embedded, *_convolved(model, _merged(embedded), graph)]
    return {f"V{k}": values.numpy() for k, values in enumerate(layers)}


def _embedded(structure: Structure, model: CHGNet) -> torch.Tensor:
    """Return the occupancy-weighted embeddings, shape (n_sites, 64); row 0 of CHGNet's table is hydrogen."""
    occupancy = torch.as_tensor(site_species(structure)[:, 1:], dtype=torch.float32)
    table = model.atom_embedding.embedding.weight.detach()
    return occupancy @ table[: occupancy.shape[1]]


@dataclass(frozen=True)
class _Rows:
    """Rows of features, equal ones once: ``values`` (kinds, d); ``kind`` (n,) of each row."""

    values: torch.Tensor
    kind: np.ndarray


def _merged(values: torch.Tensor) -> _Rows:
    """Store equal rows (n, d) once."""
    rounded = np.round(values.numpy(), _DECIMALS) + 0.0  # no negative zeros
    number: dict[bytes, int] = {}
    kind = np.array([number.setdefault(row.tobytes(), len(number)) for row in rounded])
    _, first = np.unique(kind, return_index=True)
    return _Rows(values[first], kind)


def _distinct(*columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where each distinct combination of whole numbers first occurs, and which one a row has."""
    key = np.zeros(len(columns[0]), dtype=np.int64)
    for column in columns:
        size = int(column.max(initial=0)) + 1
        if int(key.max(initial=0)) >= _LARGEST // size:
            key = np.unique(key, return_inverse=True)[1]
        key = key * size + column
    _, first, kind = np.unique(key, return_index=True, return_inverse=True)
    return first, kind


@dataclass(frozen=True)
class _Graph:
    """Directed bonds, their undirected ones and the angles between short ones.

    ``centre``, ``neighbour``, ``bond`` (directed,): sites and the undirected bond. ``length`` (bonds,): kind
    of distance; ``distance`` (kinds,) in Angstrom. Per angle: ``vertex`` (site), ``first``, ``second``
    (undirected bonds) and ``angle`` (kind); ``cosine`` (kinds,).
    """

    centre: np.ndarray
    neighbour: np.ndarray
    bond: np.ndarray
    length: np.ndarray
    distance: torch.Tensor
    vertex: np.ndarray
    first: np.ndarray
    second: np.ndarray
    angle: np.ndarray
    cosine: torch.Tensor


def _graph(structure: Structure, model: CHGNet) -> _Graph:
    """Return CHGNet's graph of the sites, whatever occupies them, without bonds between split sites."""
    converter = model.graph_converter
    found = structure.get_neighbor_list(converter.atom_graph_cutoff, numerical_tol=1e-8)
    centre, neighbour, image, distance = (x[found[3] >= CLOSE_SITES_ANGSTROM] for x in found)
    bond, one_of = _undirected(centre, neighbour, np.round(image).astype(np.int64))
    lengths, length = _equal(distance[one_of])
    short = np.flatnonzero(distance < converter.bond_graph_cutoff)
    left, right = _pairs(centre[short], n_sites=len(structure))
    left, right = short[left], short[right]
    ends = structure.frac_coords[neighbour] + image - structure.frac_coords[centre]
    direction = structure.lattice.get_cartesian_coords(ends) / np.maximum(distance, 1e-12)[:, None]
    cosines, angle = _equal((direction[left] * direction[right]).sum(axis=1))
    return _Graph(
        centre=centre,
        neighbour=neighbour,
        bond=bond,
        length=length,
        distance=lengths,
        vertex=centre[left],
        first=bond[left],
        second=bond[right],
        angle=angle,
        cosine=cosines,
    )


def _equal(values: np.ndarray) -> tuple[torch.Tensor, np.ndarray]:
    """Return one of each group of equal numbers (n,), and the group of each."""
    _, first, kind = np.unique(np.round(values, _DECIMALS), return_index=True, return_inverse=True)
    return torch.as_tensor(values[first], dtype=torch.float32), kind


def _undirected(
    centre: np.ndarray, neighbour: np.ndarray, image: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the undirected bond of each directed one, and one directed bond of each undirected one."""
    sign = np.where(centre != neighbour, np.sign(neighbour - centre), _leading_sign(image))
    ordered = np.where((sign > 0)[:, None], image, -image)
    low, high = np.minimum(centre, neighbour), np.maximum(centre, neighbour)
    one_of, bond = _distinct(low, high, *(ordered - ordered.min(axis=0, initial=0)).T)
    return bond, one_of


def _leading_sign(image: np.ndarray) -> np.ndarray:
    """Return the sign of the first number that is not 0 in each row, shape (n,)."""
    return np.sign(np.sign(image) @ np.array([4, 2, 1]))


def _pairs(centre: np.ndarray, *, n_sites: int) -> tuple[np.ndarray, np.ndarray]:
    """Return all ordered pairs of different bonds with one centre, as positions in ``centre``."""
    count = np.bincount(centre, minlength=n_sites)
    n_angles = int((count * (count - 1)).sum())
    if n_angles > _MAX_ANGLES:
        raise DataError(
            f"{n_sites} sites have {n_angles} bond angles: expected at most {_MAX_ANGLES}; use a smaller cell"
        )
    order, start = np.argsort(centre, kind="stable"), np.cumsum(count) - count
    partners = count[centre[order]]
    left = np.repeat(np.arange(len(order)), partners)
    within = np.arange(len(left)) - np.repeat(np.cumsum(partners) - partners, partners)
    right = within + start[centre[order]][left]
    return order[left[left != right]], order[right[left != right]]


def _convolved(model: CHGNet, atoms: _Rows, g: _Graph) -> list[torch.Tensor]:
    """Return the atom features (n_sites, 64) after each convolution; the order of updates is CHGNet's own."""
    expansion = model.bond_basis_expansion
    long, short = expansion.rbf_expansion_ag(g.distance), expansion.rbf_expansion_bg(g.distance)
    weights = {"atom": model.bond_weights_ag(long), "bond": model.bond_weights_bg(short)}
    bonds = _Rows(model.bond_embedding(long), g.length)
    theta = torch.acos(g.cosine * (1 - 1e-6))  # as CHGNet's own, for a stable derivative
    angles = _Rows(model.angle_embedding(model.angle_basis_expansion.fourier_expansion(theta)), g.angle)
    found = []
    updates = [*zip(model.bond_conv_layers, model.angle_layers, strict=True), (None, None)]
    for atom_layer, (bond_layer, angle_layer) in zip(model.atom_conv_layers, updates, strict=True):
        found.append(_atom_convolution(atom_layer, atoms, bonds, weights["atom"], g))
        atoms = _merged(found[-1])
        if bond_layer is not None and len(g.vertex):
            bonds = _merged(_bond_convolution(bond_layer, atoms, bonds, angles, weights["bond"], g))
        if angle_layer is not None and len(g.vertex):
            angles = _angle_update(angle_layer, atoms, bonds, angles, g)
    return found


def _atom_convolution(
    layer: "AtomConv", atoms: _Rows, bonds: _Rows, weights: torch.Tensor, g: _Graph
) -> torch.Tensor:
    kinds = (atoms.kind[g.centre], bonds.kind[g.bond], atoms.kind[g.neighbour])
    length = g.length[g.bond]
    one_of, kind = _distinct(*kinds, length)
    inputs = [rows.values[k[one_of]] for rows, k in zip((atoms, bonds, atoms), kinds, strict=True)]
    messages = layer.twoBody_atom(torch.cat(inputs, dim=1)) * weights[length[one_of]]
    return _updated(layer, layer.atom_norm, atoms, _summed(messages, g.centre, kind, len(atoms.kind)))


def _bond_convolution(
    layer: "BondConv", atoms: _Rows, bonds: _Rows, angles: _Rows, weights: torch.Tensor, g: _Graph
) -> torch.Tensor:
    lengths = (g.length[g.first], g.length[g.second])
    one_of, kind = _distinct(*_angle_kinds(atoms, bonds, angles, g), *lengths)
    messages = layer.twoBody_bond(_angle_inputs(atoms, bonds, angles, g, one_of))
    messages = messages * weights[lengths[0][one_of]] * weights[lengths[1][one_of]]
    return _updated(layer, layer.bond_norm, bonds, _summed(messages, g.first, kind, len(bonds.kind)))


def _angle_update(layer: "AngleUpdate", atoms: _Rows, bonds: _Rows, angles: _Rows, g: _Graph) -> _Rows:
    one_of, kind = _distinct(*_angle_kinds(atoms, bonds, angles, g))
    values = layer.twoBody_bond(_angle_inputs(atoms, bonds, angles, g, one_of))
    if layer.resnet:
        values = values + angles.values[angles.kind[one_of]]
    return _Rows(values if layer.angle_norm is None else layer.angle_norm(values), kind)


def _angle_kinds(atoms: _Rows, bonds: _Rows, angles: _Rows, g: _Graph) -> Sequence[np.ndarray]:
    return bonds.kind[g.first], bonds.kind[g.second], angles.kind, atoms.kind[g.vertex]


def _angle_inputs(atoms: _Rows, bonds: _Rows, angles: _Rows, g: _Graph, one_of: np.ndarray) -> torch.Tensor:
    kinds = _angle_kinds(atoms, bonds, angles, g)
    rows = (bonds, bonds, angles, atoms)
    return torch.cat([r.values[k[one_of]] for r, k in zip(rows, kinds, strict=True)], dim=1)


def _summed(messages: torch.Tensor, owner: np.ndarray, kind: np.ndarray, n: int) -> torch.Tensor:
    """Return the sum of the messages that each of ``n`` owners receives, shape (n, d)."""
    count = csr_array((np.ones(len(owner), np.float32), (owner, kind)), shape=(n, len(messages)))
    return torch.as_tensor(count @ messages.numpy())


def _updated(
    layer: "AtomConv | BondConv", norm: torch.nn.Module | None, rows: _Rows, new: torch.Tensor
) -> torch.Tensor:
    """Finish a convolution as CHGNet does: dense layer, skip connection, norm, where the model has them."""
    if layer.use_mlp_out:
        new = layer.mlp_out(new)
    if layer.resnet:
        new = new + rows.values[rows.kind]
    return new if norm is None else norm(new)
