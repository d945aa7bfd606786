"""Functions of a crystal in which an energy is linear: of pairs, and of moments of the surroundings of atoms.

The surroundings of atom i are described by moments M of the directions u to its neighbours j of each element,
M[n, rank] = sum_j R_n(r_ij) u_ij x ... x u_ij (as often as the rank says), and the functions are contractions
of two of them: sums over pairs of neighbours of R_n(r_ij) R_m(r_ik) cos(angle jik)^rank. That is the part of
a moment tensor potential with up to three atoms (Shapeev, Multiscale Model. Simul. 14, 1153 (2016), doi
10.1137/15M1054183). To them come functions of pairs, which reach further, and a constant.
"""

from dataclasses import dataclass
from functools import cached_property
from math import factorial

import numpy as np
from ase import Atoms
from numpy.polynomial import chebyshev

from crystal_search.evaluations import VOIGT
from crystal_search.neighbours import near_pairs

PAIR_CUTOFF_ANGSTROM = 6.0
MOMENT_CUTOFF_ANGSTROM = 4.5
INNER_ANGSTROM = 0.8  # where the radial functions begin to resolve distances
N_PAIR_FUNCTIONS = 14  # radial functions of each kind of pair
N_RADIAL = 4  # radial functions of the moments
LARGEST_RANK = 3

# Components of the moments: powers of x, y and z; their sum, the rank; how often each stands in the tensor.
_RANKS = range(LARGEST_RANK + 1)
POWERS = np.array([(a, b, r - a - b) for r in _RANKS for a in range(r, -1, -1) for b in range(r - a, -1, -1)])
RANKS = POWERS.sum(axis=1)
MULTIPLICITIES = np.array([factorial(sum(p)) / np.prod([factorial(k) for k in p]) for p in POWERS.tolist()])


@dataclass(frozen=True, kw_only=True)
class Design:
    """What each function adds to the energy (p,), the forces (3 n_atoms, p), stress times volume (6, p)."""

    energy: np.ndarray
    forces: np.ndarray
    virial: np.ndarray


@dataclass(frozen=True, kw_only=True)
class MomentBasis:
    """The functions for crystals of some elements, given by their atomic numbers in rising order."""

    elements: tuple[int, ...]

    @cached_property
    def n_channels(self) -> int:
        """Return the number of moments of one rank: radial functions times elements of the neighbours."""
        return len(self.elements) * N_RADIAL

    @cached_property
    def channel_pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Return both channels of each contraction, those of two equal ones included."""
        return np.triu_indices(self.n_channels)

    @cached_property
    def n_contractions(self) -> int:
        """Return the number of contractions, of all elements and ranks."""
        return len(self.elements) * (LARGEST_RANK + 1) * len(self.channel_pairs[0])

    @cached_property
    def n_kinds(self) -> int:
        """Return the number of kinds of pairs."""
        return len(self.elements) * (len(self.elements) + 1) // 2

    def __len__(self) -> int:
        """Return the number of functions."""
        return self.n_contractions + self.n_kinds * N_PAIR_FUNCTIONS + 1

    def design(self, atoms: Atoms) -> Design:
        """Return the contribution of each function with coefficient 1."""
        near = _Neighbours.of(atoms, self.elements)
        moments, slopes = _moments(near)
        parts = [self._contractions(near, moments, slopes), _pair_functions(near, self.n_kinds)]
        n = near.n_atoms
        parts.append(Design(energy=np.array([n]), forces=np.zeros((3 * n, 1)), virial=np.zeros((6, 1))))
        return Design(
            **{k: np.hstack([getattr(p, k) for p in parts]) for k in ("energy", "forces", "virial")}
        )

    def _contractions(self, near: "_Neighbours", moments: np.ndarray, slopes: np.ndarray) -> Design:
        """Return the part of the design that the moments make: by element, rank and pair of channels."""
        shape = (len(self.elements), LARGEST_RANK + 1, len(self.channel_pairs[0]))
        n, weights = near.n_atoms, np.where(self.channel_pairs[0] == self.channel_pairs[1], 1.0, 2.0)
        energy, forces, virial = np.zeros(shape), np.zeros((n, 3, *shape)), np.zeros((3, 3, *shape))
        for rank in range(LARGEST_RANK + 1):
            m = rank == RANKS
            weighted = moments[:, :, m] * MULTIPLICITIES[m]
            products = np.einsum("iqm,ipm->iqp", weighted, moments[:, :, m])[:, *self.channel_pairs]
            np.add.at(energy[:, rank], near.kinds, products * weights)
            pulls = self._pulls(near, weighted, slopes[:, :, m]) * weights
            for kind in range(len(self.elements)):
                mine = near.kinds[near.centre] == kind
                np.add.at(forces[:, :, kind, rank], near.centre[mine], pulls[mine])
                np.add.at(forces[:, :, kind, rank], near.neighbour[mine], -pulls[mine])
                virial[:, :, kind, rank] = np.einsum("pa,pbf->abf", near.toward[mine], pulls[mine])
        size = self.n_contractions
        virial = virial.reshape(9, size)[VOIGT]
        return Design(energy=energy.ravel(), forces=forces.reshape(3 * n, size), virial=virial)

    def _pulls(self, near: "_Neighbours", weighted: np.ndarray, slopes: np.ndarray) -> np.ndarray:
        """Return the slope of each product of moments by the vectors to neighbours, (pairs, 3, products)."""
        changed = np.einsum("pqm,pnmk->pnqk", weighted[near.centre], slopes)
        everyone = np.arange(len(changed))
        full = np.zeros((len(changed), self.n_channels, self.n_channels, 3))
        for n in range(N_RADIAL):
            full[everyone, near.kinds[near.neighbour] * N_RADIAL + n] += changed[:, n]
        full += full.swapaxes(1, 2)
        return full[:, *self.channel_pairs].swapaxes(1, 2)

    def evaluate(self, atoms: Atoms, coefficients: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Return energy (eV), forces (n_atoms, 3), stress (3, 3) of the potential with these coefficients."""
        near = _Neighbours.of(atoms, self.elements)
        moments, slopes = _moments(near)
        strength = self._strengths(coefficients)
        fields = np.empty_like(moments)
        for kind in range(len(self.elements)):
            mine = near.kinds == kind
            fields[mine] = np.einsum("mqp,ipm->iqm", strength[kind], moments[mine])
        by_channel = fields.reshape(near.n_atoms, len(self.elements), N_RADIAL, len(RANKS))
        pulls = 2 * np.einsum("pnm,pnmk->pk", by_channel[near.centre, near.kinds[near.neighbour]], slopes)
        pair_energy, pair_pulls = _pair_energy(near, coefficients[self.n_contractions : -1])
        energy = float((fields * moments).sum() + pair_energy + coefficients[-1] * near.n_atoms)
        forces = _forces(near.n_atoms, near.centre, near.neighbour, pulls)
        forces += _forces(near.n_atoms, near.second, near.first, pair_pulls)
        virial = near.toward.T @ pulls + near.vector.T @ pair_pulls
        return energy, forces, (virial + virial.T) / 2 / near.volume

    def _strengths(self, coefficients: np.ndarray) -> np.ndarray:
        """Return the coefficients of the contractions as symmetric matrices, (elements, components, q, q)."""
        shape = (len(self.elements), LARGEST_RANK + 1)
        matrix = np.zeros((*shape, self.n_channels, self.n_channels))
        matrix[:, :, *self.channel_pairs] = coefficients[: self.n_contractions].reshape(*shape, -1)
        diagonal = np.arange(self.n_channels)
        matrix += matrix.swapaxes(2, 3)
        matrix[:, :, diagonal, diagonal] /= 2
        return matrix[:, RANKS] * MULTIPLICITIES[:, None, None]


@dataclass(frozen=True, kw_only=True)
class _Neighbours:
    """Near pairs of a crystal: each once with ``vector`` from second to first, and near ones both ways.

    ``toward`` points from ``centre`` to ``neighbour``; ``kinds``: the place of each atom's element.
    """

    n_atoms: int
    n_elements: int
    volume: float
    kinds: np.ndarray
    first: np.ndarray
    second: np.ndarray
    vector: np.ndarray
    length: np.ndarray
    centre: np.ndarray
    neighbour: np.ndarray
    toward: np.ndarray
    distance: np.ndarray

    @classmethod
    def of(cls, atoms: Atoms, elements: tuple[int, ...]) -> "_Neighbours":
        """Return the pairs of a crystal of these elements."""
        i, j, vector, length = near_pairs(atoms, PAIR_CUTOFF_ANGSTROM)
        near = length < MOMENT_CUTOFF_ANGSTROM
        return cls(
            n_atoms=len(atoms),
            n_elements=len(elements),
            volume=atoms.get_volume(),
            kinds=np.searchsorted(elements, atoms.numbers),
            first=i,
            second=j,
            vector=vector,
            length=length,
            centre=np.concatenate([i[near], j[near]]),
            neighbour=np.concatenate([j[near], i[near]]),
            toward=np.concatenate([-vector[near], vector[near]]),
            distance=np.concatenate([length[near], length[near]]),
        )

    def pair_kinds(self) -> np.ndarray:
        """Return the kind of each pair, counted over unordered pairs of elements."""
        ends = np.sort([self.kinds[self.first], self.kinds[self.second]], axis=0)
        return ends[0] * self.n_elements - ends[0] * (ends[0] - 1) // 2 + ends[1] - ends[0]


def _radial(r: np.ndarray, n: int, cutoff: float) -> tuple[np.ndarray, np.ndarray]:
    """Return ``n`` Chebyshev polynomials that go smoothly to zero at the cutoff, and slopes, (pairs, n)."""
    x = 2 * (r - INNER_ANGSTROM) / (cutoff - INNER_ANGSTROM) - 1
    values = chebyshev.chebvander(x, n - 1)
    second, slopes = np.ones_like(values), np.zeros_like(values)
    for k in range(1, n):  # polynomials of the second kind are the slopes of the first
        slopes[:, k] = k * second[:, k - 1]
        second[:, k] = 2 * x * second[:, k - 1] - (second[:, k - 2] if k > 1 else 0.0)
    slopes *= 2 / (cutoff - INNER_ANGSTROM)
    fading, fading_slope = (1 - r / cutoff) ** 2, -2 * (1 - r / cutoff) / cutoff
    return values * fading[:, None], slopes * fading[:, None] + values * fading_slope[:, None]


def _components(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the components of the moments of unit vectors, (pairs, components), and slopes by each axis."""
    powers = u[None] ** np.arange(LARGEST_RANK + 1)[:, None, None]  # (power, pairs, axis)
    x, y, z = (powers[POWERS[:, axis], :, axis] for axis in range(3))
    lower = np.maximum(POWERS - 1, 0)
    dx, dy, dz = (POWERS[:, [axis]] * powers[lower[:, axis], :, axis] for axis in range(3))
    return (x * y * z).T, np.stack([dx * y * z, x * dy * z, x * y * dz], axis=-1).swapaxes(0, 1)


def _moments(near: _Neighbours) -> tuple[np.ndarray, np.ndarray]:
    """Return the moments (n_atoms, channels, components) and the slopes of each neighbour's share in them.

    The slopes are by the vector to the neighbour, (pairs, radial functions, components, 3).
    """
    radial, radial_slopes = _radial(near.distance, N_RADIAL, MOMENT_CUTOFF_ANGSTROM)
    u = near.toward / near.distance[:, None]
    components, by_direction = _components(u)
    across = by_direction - (by_direction @ u[:, :, None]) * u[:, None, :]
    across /= near.distance[:, None, None]
    slopes = radial_slopes[:, :, None, None] * components[:, None, :, None] * u[:, None, None, :]
    slopes += radial[:, :, None, None] * across[:, None]
    moments = np.zeros((near.n_atoms * near.n_elements, N_RADIAL, len(RANKS)))
    place = near.centre * near.n_elements + near.kinds[near.neighbour]
    np.add.at(moments, place, radial[:, :, None] * components[:, None, :])
    return moments.reshape(near.n_atoms, near.n_elements * N_RADIAL, len(RANKS)), slopes


def _pair_functions(near: _Neighbours, n_kinds: int) -> Design:
    """Return the part of the design that the functions of pairs make."""
    values, slopes = _radial(near.length, N_PAIR_FUNCTIONS, PAIR_CUTOFF_ANGSTROM)
    pulls = (near.vector / near.length[:, None])[:, :, None] * slopes[:, None, :]
    n, kinds = near.n_atoms, near.pair_kinds()
    energy = np.zeros((n_kinds, N_PAIR_FUNCTIONS))
    forces = np.zeros((n, 3, n_kinds, N_PAIR_FUNCTIONS))
    virial = np.zeros((3, 3, n_kinds, N_PAIR_FUNCTIONS))
    np.add.at(energy, kinds, values)
    for kind in range(n_kinds):
        mine = kinds == kind
        np.add.at(forces[:, :, kind], near.first[mine], -pulls[mine])
        np.add.at(forces[:, :, kind], near.second[mine], pulls[mine])
        virial[:, :, kind] = np.einsum("pa,pbf->abf", near.vector[mine], pulls[mine])
    size = energy.size
    virial = virial.reshape(9, size)[VOIGT]
    return Design(energy=energy.ravel(), forces=forces.reshape(3 * n, size), virial=virial)


def _pair_energy(near: _Neighbours, coefficients: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the energy of the functions of pairs and its slope by each vector, (pairs, 3)."""
    values, slopes = _radial(near.length, N_PAIR_FUNCTIONS, PAIR_CUTOFF_ANGSTROM)
    mine = coefficients.reshape(-1, N_PAIR_FUNCTIONS)[near.pair_kinds()]
    along = (mine * slopes).sum(axis=1) / near.length
    return float((mine * values).sum()), along[:, None] * near.vector


def _forces(n_atoms: int, start: np.ndarray, end: np.ndarray, pulls: np.ndarray) -> np.ndarray:
    """Return the forces (n_atoms, 3) from slopes by the vectors that point from start to end."""
    forces = np.zeros((n_atoms, 3))
    np.add.at(forces, start, pulls)
    np.add.at(forces, end, -pulls)
    return forces
