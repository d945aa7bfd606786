"""MEGNet in torch, run from the published Keras files, for ordered and disordered crystals.

The HDF5 file of a MEGNet model holds its Keras layer graph and its weights. This module reads both and
evaluates the graph with torch, so that every published MEGNet model (formation energy, band gap, moduli,
multi-fidelity band gap) runs without TensorFlow. A disordered site enters as the occupancy-weighted sum of
its elements' embeddings; a vacancy contributes nothing.

Sources: Chen et al., Chem. Mater. 31, 3564 (2019), doi 10.1021/acs.chemmater.9b01294 (architecture);
Chen et al., Nat. Comput. Sci. 1, 46 (2021), doi 10.1038/s43588-020-00002-x (disorder, fidelity states);
McHaffie et al., Digital Discovery 4, 1518 (2025), doi 10.1039/d5dd00052a (features V0 to V3).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import torch
from pymatgen.core import Element, Structure

from sselib import registry
from sselib.errors import DataError, SSEError, nearest

N_ATOMIC_NUMBERS = 95  # rows of the species tensor; row 0 is unused, row 94 is Pu
_EMPTY_STATE = (0.0, 0.0)  # the state attributes that the single-fidelity models were trained with


class StructureNotSupportedError(SSEError, ValueError):
    """A structure holds an element that the model never saw, or no site at all."""


# Short names of the registry's models; the six disorder models differ in their training split only.
MODEL_FILES: Mapping[str, str] = {
    "formation_energy": "megnet/mp-2019.4.1/formation_energy.hdf5",
    "log10_shear_modulus": "megnet/mp-2019.4.1/log10G.hdf5",
    "log10_bulk_modulus": "megnet/mp-2019.4.1/log10K.hdf5",
    "band_gap": "megnet/mp-2018.6.1/band_gap_regression.hdf5",
    "is_insulator": "megnet/mp-2018.6.1/band_classification.hdf5",
    **{
        f"band_gap_disorder_{k}": f"megnet/mf_2020/pbe_gllb_hse_exp_disorder/{k}/best_model.hdf5"
        for k in range(6)
    },
}


def load_megnet(name: str) -> "MegnetModel":
    """Return a model of the registry by its short name, its files verified (see `MODEL_FILES`)."""
    if name not in MODEL_FILES:
        raise DataError(
            f"no MEGNet model {name!r}: expected one of {', '.join(MODEL_FILES)}."
            f"{nearest(name, list(MODEL_FILES))}"
        )
    key = MODEL_FILES[name]
    return MegnetModel(registry.locate(key).path, registry.locate(f"{key}.json").path)


@dataclass(frozen=True)
class GraphSettings:
    """How distances become bond attributes: Gaussian basis exp(-(d - c)^2 / width^2)."""

    cutoff_angstrom: float
    centres_angstrom: torch.Tensor  # shape (n_centres,)
    width_angstrom: float

    @classmethod
    def of(cls, converter: Mapping) -> "GraphSettings":
        """Read the graph converter of a model's JSON description."""
        bonds = converter["bond_converter"]
        centres = torch.as_tensor(bonds["centers"]["data"], dtype=torch.float32)
        return cls(float(converter["cutoff"]), centres, float(bonds["width"]))


@dataclass(frozen=True)
class CrystalGraphs:
    """A batch of crystals as one graph.

    ``species`` (n_sites, 95): occupancy by atomic number. ``first``, ``second`` (n_bonds,): site indices.
    ``distance_angstrom`` (n_bonds,). ``site_graph``, ``bond_graph``: number of the crystal each belongs to.
    """

    species: torch.Tensor
    first: torch.Tensor
    second: torch.Tensor
    distance_angstrom: torch.Tensor
    site_graph: torch.Tensor
    bond_graph: torch.Tensor
    n_graphs: int


def crystal_graphs(structures: Sequence[Structure], *, cutoff_angstrom: float) -> CrystalGraphs:
    """Build one batch of graphs; bonds are all pairs of sites within the cutoff, both directions.

    Raises `StructureNotSupportedError` for a structure without sites or with an element beyond Pu.
    """
    species = [site_species(structure) for structure in structures]
    bonds = [structure.get_neighbor_list(cutoff_angstrom, exclude_self=True) for structure in structures]
    n_sites, n_bonds = [len(s) for s in structures], [len(b[0]) for b in bonds]
    first, second, _, distance = (np.concatenate(parts) for parts in zip(*bonds, strict=True))
    offset, numbers = np.repeat(np.cumsum([0, *n_sites[:-1]]), n_bonds), np.arange(len(structures))
    return CrystalGraphs(
        species=torch.as_tensor(np.concatenate(species), dtype=torch.float32),
        first=torch.as_tensor(first + offset, dtype=torch.long),
        second=torch.as_tensor(second + offset, dtype=torch.long),
        distance_angstrom=torch.as_tensor(distance, dtype=torch.float32),
        site_graph=torch.as_tensor(np.repeat(numbers, n_sites)),
        bond_graph=torch.as_tensor(np.repeat(numbers, n_bonds)),
        n_graphs=len(structures),
    )


def site_species(structure: Structure) -> np.ndarray:
    """Return occupancies by atomic number, shape (n_sites, 95)."""
    if len(structure) == 0:
        raise StructureNotSupportedError("the structure has no sites")
    table = np.zeros((len(structure), N_ATOMIC_NUMBERS))
    for i, site in enumerate(structure):
        for specie, occupancy in site.species.items():
            number = Element(getattr(specie, "symbol", str(specie))).Z
            if number >= N_ATOMIC_NUMBERS:
                raise StructureNotSupportedError(
                    f"element {specie} (number {number}) is not among the 94 that MEGNet was trained on"
                )
            table[i, number] += occupancy
    return table


class MegnetModel(torch.nn.Module):
    """A published MEGNet model, evaluated layer by layer from its Keras graph."""

    def __init__(self, path: Path, description_path: Path) -> None:
        """Read the HDF5 file and its JSON description; `DataError` if this is no MEGNet model."""
        super().__init__()
        with h5py.File(path, "r") as file:
            config = json.loads(file.attrs["model_config"])["config"]
            self._layers = [_layer(entry) for entry in config["layers"]]
            self._inputs = [name for name, *_ in config["input_layers"]]
            self._output = config["output_layers"][0][0]
            stored = file["model_weights"]
            self._weights = {n.name: _weights(stored[n.name]) for n in self._layers if n.name in stored}
        description = json.loads(description_path.read_text(encoding="utf-8"))
        self.metadata: Mapping[str, object] = description["metadata"]
        self.settings = GraphSettings.of(description["graph_converter"])
        self._elements = _element_vectors(description["graph_converter"]["atom_converter"])
        if len(self._inputs) != 7:
            raise DataError(f"{path.name}: a MEGNet model has 7 inputs, this file has {len(self._inputs)}")

    def forward(self, structures: Sequence[Structure], *, fidelity: int | None = None) -> torch.Tensor:
        """Return the model's output for each structure, shape (n_structures,), in ``metadata['unit']``.

        ``fidelity`` (0 PBE, 1 GLLB-SC, 2 HSE, 3 experiment) is needed by multi-fidelity models only.
        """
        graphs = crystal_graphs(structures, cutoff_angstrom=self.settings.cutoff_angstrom)
        return self.evaluate(graphs, fidelity=fidelity)[self._output][:, 0]

    def site_features(self, graphs: CrystalGraphs) -> tuple[torch.Tensor, ...]:
        """Return V0 (n_sites, 16) and V1, V2, V3 (n_sites, 32), the atoms after each graph convolution.

        V1 to V3 are the outputs of the MEGNet layers before the skip connection is added.
        """
        values = self.evaluate(graphs)
        blocks = [layer.name for layer in self._layers if layer.kind == "MEGNetLayer"]
        table = self._elements
        if table is None:
            first = next(layer.name for layer in self._layers if layer.kind == "Embedding")
            table = self._weights[first]["embeddings"]
        return (graphs.species @ table, *(values[name][0] for name in blocks))

    @torch.no_grad()
    def evaluate(self, graphs: CrystalGraphs, *, fidelity: int | None = None) -> dict[str, object]:
        """Return the output of every layer of the Keras graph by name."""
        values: dict[str, object] = dict(zip(self._inputs, self._input_values(graphs, fidelity), strict=True))
        for layer in self._layers:
            if layer.kind != "InputLayer":
                given = [(values[name], position) for name, position in layer.inputs]
                arguments = [v[k] if isinstance(v, tuple) else v for v, k in given]
                weights = self._weights.get(layer.name, {})
                values[layer.name] = _APPLY[layer.kind](weights, layer, arguments, graphs)
        return values

    def _input_values(self, graphs: CrystalGraphs, fidelity: int | None) -> list[torch.Tensor]:
        """Return the seven inputs: atoms, bonds, state, two bond indices, two graph indices."""
        atoms = graphs.species if self._elements is None else graphs.species @ self._elements
        state = self._state(graphs.n_graphs, fidelity)
        apart = graphs.distance_angstrom[:, None] - self.settings.centres_angstrom
        bonds = torch.exp(-((apart / self.settings.width_angstrom) ** 2))
        return [atoms, bonds, state, graphs.first, graphs.second, graphs.site_graph, graphs.bond_graph]

    def _state(self, n_graphs: int, fidelity: int | None) -> torch.Tensor:
        n_fidelities = len(self.metadata.get("fidelities", ()))
        if not n_fidelities:
            return torch.tensor(_EMPTY_STATE).expand(n_graphs, -1)
        if fidelity is None or not 0 <= fidelity < n_fidelities:
            raise ValueError(
                f"fidelity is {fidelity}: this model needs 0 to {n_fidelities - 1} "
                f"({', '.join(self.metadata['fidelities'])})"
            )
        return torch.nn.functional.one_hot(torch.full((n_graphs,), fidelity), n_fidelities).float()


@dataclass(frozen=True)
class _Layer:
    """One layer of the Keras graph: what it is, and whose outputs (name, position) it takes."""

    name: str
    kind: str
    activation: str
    inputs: tuple[tuple[str, int], ...]
    steps: int  # T of Set2Set


def _layer(entry: Mapping) -> _Layer:
    config = entry["config"]
    nodes = entry["inbound_nodes"][0] if entry["inbound_nodes"] else []
    inputs, activation = tuple((n[0], n[2]) for n in nodes), str(config.get("activation", "linear"))
    return _Layer(entry["name"], entry["class_name"], activation, inputs, steps=int(config.get("T", 0)))


def _weights(group: h5py.Group) -> dict[str, torch.Tensor]:
    """Return the weights of a layer by their short name (``kernel``, ``weight_e_0`` ...)."""
    found: dict[str, torch.Tensor] = {}

    def collect(key: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            name = key.rsplit("/", 1)[-1].removesuffix(":0")
            found[name] = torch.as_tensor(item[()], dtype=torch.float32)

    group.visititems(collect)
    return found


def _element_vectors(converter: Mapping) -> torch.Tensor | None:
    """Return fixed element vectors (95, 16) of the disorder models, None where the model embeds itself."""
    if "embedding_dict" not in converter:
        return None
    table = torch.zeros(N_ATOMIC_NUMBERS, 16)
    for symbol, vector in converter["embedding_dict"].items():
        table[Element(symbol).Z] = torch.tensor(vector)
    return table


def _softplus2(x: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.softplus(x) - np.log(2.0)


_ACTIVATIONS = {"softplus2": _softplus2, "linear": lambda x: x, "sigmoid": torch.sigmoid}


def _dense(weights: Mapping, layer: _Layer, inputs: list[torch.Tensor], _: CrystalGraphs) -> torch.Tensor:
    return _ACTIVATIONS[layer.activation](inputs[0] @ weights["kernel"] + weights["bias"])


def _mlp(weights: Mapping, letter: str, x: torch.Tensor) -> torch.Tensor:
    """Three dense layers; the last one is linear."""
    for depth in range(3):
        x = x @ weights[f"weight_{letter}_{depth}"] + weights[f"bias_{letter}_{depth}"]
        x = _softplus2(x) if depth < 2 else x
    return x


def _mean_by(x: torch.Tensor, index: torch.Tensor, n: int) -> torch.Tensor:
    """Mean of the rows of ``x`` by index, shape (n, n_columns); 0 where an index does not occur."""
    total = torch.zeros(n, x.shape[1]).index_add_(0, index, x)
    return total / torch.bincount(index, minlength=n).clamp(min=1)[:, None]


def _megnet_block(
    weights: Mapping, _: _Layer, inputs: list[torch.Tensor], graphs: CrystalGraphs
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Update bonds, then atoms, then the state (Chen et al. 2019, equations 1 to 7)."""
    atoms, bonds, state = inputs[:3]
    edge = torch.cat([atoms[graphs.first], atoms[graphs.second], bonds, state[graphs.bond_graph]], dim=1)
    bonds = _mlp(weights, "e", edge)
    node = torch.cat([_mean_by(bonds, graphs.first, len(atoms)), atoms, state[graphs.site_graph]], dim=1)
    atoms = _mlp(weights, "v", node)
    pairs = ((bonds, graphs.bond_graph), (atoms, graphs.site_graph))
    means = [_mean_by(x, index, graphs.n_graphs) for x, index in pairs]
    return atoms, bonds, _mlp(weights, "u", torch.cat([*means, state], dim=1))


def _set2set(
    weights: Mapping, layer: _Layer, inputs: list[torch.Tensor], graphs: CrystalGraphs
) -> torch.Tensor:
    """Pool a set by T attention steps (Vinyals et al. 2015); the cell state starts from 0 at every step."""
    values = inputs[0] @ weights["x_to_m_weight"] + weights["x_to_m_bias"]
    index, n, width = inputs[1], graphs.n_graphs, weights["x_to_m_weight"].shape[1]
    query = torch.zeros(n, 2 * width)
    for _ in range(layer.steps):
        gates = query @ weights["recurrent_kernel"] + weights["recurrent_bias"]
        take, _forget, candidate, out = gates.split(width, dim=1)
        hidden = _hard_sigmoid(out) * torch.tanh(_hard_sigmoid(take) * torch.tanh(candidate))
        attention = _softmax_by((values * hidden[index]).sum(1), index, n)
        read = torch.zeros(n, width).index_add_(0, index, attention[:, None] * values)
        query = torch.cat([hidden, read], dim=1)
    return query


def _hard_sigmoid(x: torch.Tensor) -> torch.Tensor:
    """Keras' piecewise linear sigmoid, which is not torch's."""
    return torch.clamp(0.2 * x + 0.5, 0.0, 1.0)


def _softmax_by(x: torch.Tensor, index: torch.Tensor, n: int) -> torch.Tensor:
    """Softmax within each index."""
    largest = torch.full((n,), -torch.inf).scatter_reduce(0, index, x, "amax")
    weight = torch.exp(x - largest[index])
    return weight / torch.zeros(n).index_add_(0, index, weight)[index]


# By kind of layer: (weights, layer, inputs, graphs) -> output. An embedding of occupancies, or of a one-hot
# state, is a weighted sum of rows.
_APPLY = {
    "Dense": _dense,
    "Embedding": lambda weights, _, inputs, __: inputs[0] @ weights["embeddings"],
    "Add": lambda _, __, inputs, ___: inputs[0] + inputs[1],
    "Concatenate": lambda _, __, inputs, ___: torch.cat(inputs, dim=-1),
    "MEGNetLayer": _megnet_block,
    "Set2Set": _set2set,
}
