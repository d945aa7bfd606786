"""Atom features of CHGNet after each of its layers, for ordered and disordered crystals.

CHGNet (Deng et al., Nat. Mach. Intell. 5, 1031 (2023), doi 10.1038/s42256-023-00716-3) is the second parent
beside MEGNet; its weights ship with the package, so nothing is downloaded. A disordered site enters as the
occupancy-weighted sum of its elements' embeddings; a vacancy contributes nothing. Sites closer than
`CLOSE_SITES_ANGSTROM` cannot both be filled (split sites), so they are not each other's neighbours: CHGNet
never saw atoms that close. CHGNet adds up messages where MEGNet takes their mean, so that a site with many
partially filled neighbours lies further from what it was trained on.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from chgnet.graph.crystalgraph import CrystalGraph
from chgnet.model.model import BatchedGraph, CHGNet
from pymatgen.core import Structure

from sselib.errors import DataError
from sselib.megnet import site_species
from sselib.structures import CLOSE_SITES_ANGSTROM

if TYPE_CHECKING:
    from chgnet.graph.converter import CrystalGraphConverter

CHGNET_MODEL = "0.3.0"
_MAX_ANGLES = 150_000  # of a structure's graph; the largest of OBELiX has 67,000


@lru_cache(maxsize=1)
def load_chgnet() -> CHGNet:
    """Return the pretrained model on the CPU."""
    return CHGNet.load(model_name=CHGNET_MODEL, use_device="cpu", verbose=False).eval()


def chgnet_layers(structure: Structure) -> dict[str, np.ndarray]:
    """Return V0 (the embedding) and V1 to V4 (after each convolution) per site, shape (n_sites, 64) each.

    V4 is taken before the readout's normalisation. `sselib.representations.primitive_cell` first makes it
    cheaper. Raises `StructureNotSupportedError` for an element beyond Pu and `DataError` where sites are so
    dense that the graph would not fit in memory.
    """
    model = load_chgnet()
    embedded = _embedded(structure, model)
    graph = _graph(structure, model.graph_converter)
    with torch.no_grad():
        batch = BatchedGraph.from_graphs(
            [graph],
            bond_basis_expansion=model.bond_basis_expansion,
            angle_basis_expansion=model.angle_basis_expansion,
        )
        layers = [embedded, *_convolved(model, embedded, batch)]
    return {f"V{k}": values.numpy() for k, values in enumerate(layers)}


def _embedded(structure: Structure, model: CHGNet) -> torch.Tensor:
    """Return the occupancy-weighted embeddings, shape (n_sites, 64); row 0 of CHGNet's table is hydrogen."""
    occupancy = torch.as_tensor(site_species(structure)[:, 1:], dtype=torch.float32)
    table = model.atom_embedding.embedding.weight.detach()
    return occupancy @ table[: occupancy.shape[1]]


def _graph(structure: Structure, converter: "CrystalGraphConverter") -> CrystalGraph:
    """Return CHGNet's graph of the sites, whatever occupies them, without bonds between split sites."""
    centre, neighbour, image, distance = structure.get_neighbor_list(
        converter.atom_graph_cutoff, numerical_tol=1e-8
    )
    kept = distance >= CLOSE_SITES_ANGSTROM
    centre, neighbour, image, distance = (x[kept] for x in (centre, neighbour, image, distance))
    short = np.bincount(centre[distance < converter.bond_graph_cutoff], minlength=len(structure))
    n_angles = int((short * (short - 1)).sum())
    if n_angles > _MAX_ANGLES:
        raise DataError(
            f"{len(structure)} sites have {n_angles} bond angles: expected at most {_MAX_ANGLES}; use a "
            "smaller cell"
        )
    graph = converter.create_graph(len(structure), centre, neighbour, image, distance)
    atoms, to_undirected = graph.adjacency_list()
    angles, to_directed = graph.line_graph_adjacency_list(cutoff=converter.bond_graph_cutoff)
    integer = {"dtype": torch.int32}
    return CrystalGraph(
        atomic_number=torch.ones(len(structure), **integer),  # not used: the embedding is given
        atom_frac_coord=torch.tensor(structure.frac_coords, dtype=torch.float32),
        atom_graph=torch.tensor(atoms, **integer),
        neighbor_image=torch.tensor(image, dtype=torch.float32),
        directed2undirected=torch.tensor(to_undirected, **integer),
        undirected2directed=torch.tensor(to_directed, **integer),
        bond_graph=torch.tensor(angles, **integer),
        lattice=torch.tensor(structure.lattice.matrix, dtype=torch.float32),
        atom_graph_cutoff=converter.atom_graph_cutoff,
        bond_graph_cutoff=converter.bond_graph_cutoff,
    )


def _convolved(model: CHGNet, atoms: torch.Tensor, g: BatchedGraph) -> list[torch.Tensor]:
    """Return the atom features after each convolution; the order of updates is CHGNet's own."""
    bonds, angles = model.bond_embedding(g.bond_bases_ag), None
    weights: Mapping[str, torch.Tensor] = {
        "atom": model.bond_weights_ag(g.bond_bases_ag),
        "bond": model.bond_weights_bg(g.bond_bases_bg),
    }
    if len(g.angle_bases):
        angles = model.angle_embedding(g.angle_bases)
    found = []
    updates = [*zip(model.bond_conv_layers, model.angle_layers, strict=True), (None, None)]
    for atom_layer, (bond_layer, angle_layer) in zip(model.atom_conv_layers, updates, strict=True):
        atoms = atom_layer(
            atom_feas=atoms,
            bond_feas=bonds,
            bond_weights=weights["atom"],
            atom_graph=g.batched_atom_graph,
            directed2undirected=g.directed2undirected,
        )
        found.append(atoms)
        if angles is None or bond_layer is None:
            continue
        common = {"atom_feas": atoms, "angle_feas": angles, "bond_graph": g.batched_bond_graph}
        bonds = bond_layer(bond_feas=bonds, bond_weights=weights["bond"], **common)
        if angle_layer is not None:
            angles = angle_layer(bond_feas=bonds, **common)
    return found
