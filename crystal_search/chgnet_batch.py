"""CHGNet for many small crystals at once: energies, forces and stresses of a batch in one pass.

The numbers are those of the `chgnet` package (Deng et al., Nat. Mach. Intell. 5, 1031 (2023), doi
10.1038/s42256-023-00716-3), whose trained layers are called; only the order of the arithmetic differs:

- The first layer of each gated perceptron is linear in the features it joins, so it is applied to atoms
  and undirected bonds before they are gathered, not to each directed bond and angle after.
- Bonds beyond the cutoff of the bond graph are left out of the bond convolution (it does not change them),
  and so is the update of the angles that no layer reads.
- The neighbour graph is made with whole arrays; the derivatives are taken once, with respect to the bond
  vectors, and forces and stress follow from them.
"""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from chgnet.model import CHGNet
from chgnet.model.functions import GatedMLP
from torch import Tensor, nn
from torch.nn.functional import silu

from crystal_search.errors import SearchError
from crystal_search.evaluations import Evaluation
from crystal_search.neighbours import near_pairs

MODELS: tuple[str, ...] = ("0.3.0", "r2scan")


@lru_cache(maxsize=2)
def chgnet_model(name: str) -> CHGNet:
    """Return a frozen CHGNet on the CPU; its messages to stdout are dropped.

    Raises `SearchError` for a name that is not in `MODELS`; the weights ship with the package.
    """
    if name not in MODELS:
        raise SearchError(
            f"model_name '{name}': expected one of {', '.join(MODELS)}; CHGNet 0.2.0 has other layers and "
            "runs as potential 'chgnet.model.dynamics:CHGNetCalculator'"
        )
    with contextlib.redirect_stdout(io.StringIO()):
        model = CHGNet.load(model_name=name, use_device="cpu", verbose=False)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    return model.eval()


@dataclass(frozen=True, kw_only=True)
class BondGraph:
    """Bonds and angles of a batch of crystals, numbered through.

    ``vectors`` (n_bonds, 3): each bond once, in Angstrom, from the second to the first of its two atoms
    ``ends`` (n_bonds, 2). ``short`` (n_short,): the bonds within the cutoff of the bond graph. Angles are
    ordered pairs of short bonds that leave one atom: ``angle_centres`` (n_angles,), ``left`` and ``right``
    (n_angles,), places in ``short``, and ``signs`` (n_angles, 1), that of the product of the directions in
    which they leave.
    """

    numbers: Tensor  # (n_atoms,) atomic numbers
    vectors: np.ndarray
    ends: np.ndarray
    short: Tensor
    angle_centres: Tensor
    left: Tensor
    right: Tensor
    signs: Tensor

    @property
    def both_ways(self) -> tuple[Tensor, Tensor]:
        """Return the atoms that each bond leaves and those that it leads to, first as given, then back."""
        return torch.as_tensor(self.ends.T.ravel()), torch.as_tensor(self.ends[:, ::-1].T.ravel())


def bond_graph(batch: Sequence[Atoms], *, cutoff: float, short_cutoff: float) -> BondGraph:
    """Return the neighbour graph of a batch; cutoffs in Angstrom of the atom graph and the bond graph."""
    pairs = [near_pairs(a, cutoff) for a in batch]
    i, j, vectors, _ = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    firsts = np.cumsum([0, *(len(a) for a in batch[:-1])])
    ends = np.column_stack([i, j]) + np.repeat(firsts, [len(p[0]) for p in pairs])[:, None]
    short = np.flatnonzero(np.linalg.norm(vectors, axis=1) < short_cutoff)
    centres = ends[short].T.ravel()  # every short bond leaves both of its atoms
    bonds, signs = np.tile(np.arange(len(short)), 2), np.repeat([1.0, -1.0], len(short))
    left, right = _ordered_pairs(centres)
    return BondGraph(
        numbers=torch.as_tensor(np.concatenate([a.numbers for a in batch])),
        vectors=vectors,
        ends=ends,
        short=torch.as_tensor(short),
        angle_centres=torch.as_tensor(centres[left]),
        left=torch.as_tensor(bonds[left]),
        right=torch.as_tensor(bonds[right]),
        signs=torch.as_tensor(signs[left] * signs[right], dtype=torch.float32)[:, None],
    )


def _ordered_pairs(groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return all ordered pairs of different entries that share a group."""
    order = np.argsort(groups, kind="stable")
    _, starts, counts = np.unique(groups[order], return_index=True, return_counts=True)
    begin, width = np.repeat(starts, counts), np.repeat(counts, counts)
    left = np.repeat(np.arange(len(order)), width)
    within = np.arange(len(left)) - np.repeat(np.cumsum(width) - width, width)
    right = np.repeat(begin, width) + within
    different = left != right
    return order[left[different]], order[right[different]]


def chgnet_evaluations(batch: Sequence[Atoms], *, model_name: str = "0.3.0") -> list[Evaluation]:
    """Return CHGNet's energy, forces and stress of each crystal; the order is kept."""
    model = chgnet_model(model_name)
    encoder = model.bond_basis_expansion
    graph = bond_graph(
        batch,
        cutoff=1 / encoder.rbf_expansion_ag.inv_cutoff,
        short_cutoff=1 / encoder.rbf_expansion_bg.inv_cutoff,
    )
    vectors = torch.tensor(graph.vectors, dtype=torch.float32, requires_grad=True)
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # on graphs this small more cost more than they save
    torch.set_flush_denormal(True)  # near the cutoff numbers become so small that arithmetic slows down
    try:
        per_atom = _site_energies(model, graph, vectors)
        (gradient,) = torch.autograd.grad(per_atom.sum(), [vectors], allow_unused=True)
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(n_threads)
    pull = np.zeros_like(graph.vectors) if gradient is None else gradient.numpy().astype(float)
    return _shared_out(batch, graph, per_atom.detach().numpy().astype(float), pull)


def _shared_out(
    batch: Sequence[Atoms], graph: BondGraph, per_atom: np.ndarray, pull: np.ndarray
) -> list[Evaluation]:
    """Return the results of each crystal from site energies and derivatives by bond vectors."""
    forces = np.zeros((len(graph.numbers), 3))
    np.add.at(forces, graph.ends[:, 0], -pull)
    np.add.at(forces, graph.ends[:, 1], pull)
    owners = np.repeat(np.arange(len(batch)), [len(a) for a in batch])
    virial = np.zeros((len(batch), 3, 3))
    np.add.at(virial, owners[graph.ends[:, 0]], graph.vectors[:, :, None] * pull[:, None, :])
    energies = np.bincount(owners, weights=per_atom, minlength=len(batch))
    bounds = np.cumsum([len(a) for a in batch])[:-1]
    return [
        Evaluation(energy=float(e), forces=f, stress=(v + v.T) / (2 * a.get_volume()))
        for a, e, f, v in zip(batch, energies, np.split(forces, bounds), virial, strict=True)
    ]


def _site_energies(model: CHGNet, graph: BondGraph, vectors: Tensor) -> Tensor:
    """Return the energy of each atom in eV, composition part included, shape (n_atoms,)."""
    elements, lengths, between = graph.numbers - 1, vectors.norm(dim=1), graph.both_ways
    bases = model.bond_basis_expansion.rbf_expansion_ag(lengths)
    atoms, bonds = model.atom_embedding(elements), model.bond_embedding(bases)
    weights = model.bond_weights_ag(bases).repeat(2, 1)
    angles, angle_weights = _angles(model, graph, vectors, lengths)
    last = len(model.bond_conv_layers) - 1
    for k, (convolve, update) in enumerate(zip(model.bond_conv_layers, model.angle_layers, strict=True)):
        atoms = _atom_convolution(model.atom_conv_layers[k], atoms, bonds, weights, between)
        if not len(angles):
            continue
        short = bonds.index_select(0, graph.short)
        messages = _angle_messages(convolve.twoBody_bond, short, atoms, angles, graph) * angle_weights
        summed = torch.zeros_like(short).index_add(0, graph.left, messages)
        bonds = bonds.index_add(0, graph.short, convolve.mlp_out(summed))
        if k < last:
            short = bonds.index_select(0, graph.short)
            angles = angles + _angle_messages(update.twoBody_bond, short, atoms, angles, graph)
    atoms = _atom_convolution(model.atom_conv_layers[-1], atoms, bonds, weights, between)
    per_atom = model.mlp(model.readout_norm(atoms)).view(-1)
    return per_atom + model.composition_model.fc.weight[0, elements]


def _angles(model: CHGNet, at: BondGraph, vectors: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Return the embedded angles between pairs of short bonds and their weights, each (n_angles, 64)."""
    short = lengths.index_select(0, at.short)
    unit = vectors.index_select(0, at.short) / short[:, None]
    basis = model.angle_basis_expansion(
        unit.index_select(0, at.left) * at.signs, unit.index_select(0, at.right)
    )
    weights = model.bond_weights_bg(model.bond_basis_expansion.rbf_expansion_bg(short))
    product = weights.index_select(0, at.left) * weights.index_select(0, at.right)
    return model.angle_embedding(basis), product


def _atom_convolution(
    layer: nn.Module, atoms: Tensor, bonds: Tensor, weights: Tensor, between: tuple[Tensor, Tensor]
) -> Tensor:
    """Return the atom features after one convolution; a bond speaks to both of its atoms."""
    parts, (centres, neighbours) = [], between
    for first, *rest in _branches(layer.twoBody_atom):
        centre, bond, neighbour = first.weight.split([atoms.shape[1], bonds.shape[1], atoms.shape[1]], dim=1)
        shared = torch.addmm(first.bias, bonds, bond.T).repeat(2, 1)
        own = (atoms @ centre.T).index_select(0, centres)
        other = (atoms @ neighbour.T).index_select(0, neighbours)
        parts.append(_finished(shared + own + other, rest))
    messages = silu(parts[0]) * torch.sigmoid(parts[1]) * weights
    return atoms + layer.mlp_out(torch.zeros_like(atoms).index_add(0, centres, messages))


def _angle_messages(gated: GatedMLP, bonds: Tensor, atoms: Tensor, angles: Tensor, at: BondGraph) -> Tensor:
    """Return the gated perceptron's output for each angle; it reads two bonds, the angle and its centre."""
    parts, sizes = [], [bonds.shape[1], bonds.shape[1], angles.shape[1], atoms.shape[1]]
    for first, *rest in _branches(gated):
        left, right, angle, centre = first.weight.split(sizes, dim=1)
        hidden = torch.addmm(first.bias, angles, angle.T)
        for values, weight, where in (
            (bonds, left, at.left),
            (bonds, right, at.right),
            (atoms, centre, at.angle_centres),
        ):
            hidden = hidden + (values @ weight.T).index_select(0, where)
        parts.append(_finished(hidden, rest))
    return silu(parts[0]) * torch.sigmoid(parts[1])


def _branches(gated: GatedMLP) -> list[list[nn.Module]]:
    """Return the linear layers of core and gate, each followed by its normalisation."""
    core = (*gated.mlp_core.layers, gated.bn1)
    gate = (*gated.mlp_gate.layers, gated.bn2)
    return [[m for m in part if isinstance(m, nn.Linear | nn.LayerNorm)] for part in (core, gate)]


def _finished(hidden: Tensor, layers: Sequence[nn.Module]) -> Tensor:
    """Return the output of a branch from that of its first layer."""
    for layer in layers:
        hidden = layer(silu(hidden) if isinstance(layer, nn.Linear) else hidden)
    return hidden


class CHGNetFast(Calculator):
    """CHGNet's energy, forces and stress, for one crystal or for a batch, see the module.

    The numbers are those of the package's own calculator (within 1e-3 eV/Angstrom and 1e-4 eV/atom for
    random crystals) in about a third of the time.
    """

    implemented_properties = ("energy", "free_energy", "forces", "stress")

    def __init__(self, *, model_name: str = "0.3.0") -> None:
        """Load the weights that ship with the package; ``model_name`` is 0.3.0 or r2scan."""
        super().__init__()
        chgnet_model(model_name)
        self._model_name = model_name

    def evaluate_many(self, batch: Sequence[Atoms]) -> list[Evaluation]:
        """Return the evaluation of each crystal; small ones together cost less than one by one."""
        return chgnet_evaluations(batch, model_name=self._model_name)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Fill ``results``: eV, eV/Angstrom, eV/Angstrom^3 (ASE's conventions)."""
        super().calculate(atoms, properties, system_changes)
        self.results.update(self.evaluate_many([self.atoms])[0].results())
