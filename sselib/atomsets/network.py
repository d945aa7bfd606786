"""AtomSets: a classifier on the set of a structure's site features.

Dense layers act on each site, a set2set readout pools the sites, dense layers and a sigmoid give the
probability of being superionic. Symmetry-equivalent sites have equal features, so a structure enters as its
unique rows with multiplicities, which changes no result and makes training an order of magnitude cheaper.

Sources: Chen and Ong, npj Comput. Mater. 7, 173 (2021), doi 10.1038/s41524-021-00639-w (AtomSets);
Vinyals et al., arXiv 1511.06391 (set2set); McHaffie et al., Digital Discovery 4, 1518 (2025) (dropout, L2).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from sselib.features.site_features import SiteSet


@dataclass(frozen=True)
class AtomSetsSettings:
    """Architecture and training of one classifier. Units: epochs, dimensionless rates."""

    site_layers: tuple[int, ...] = (64, 64)
    readout_width: int = 32
    readout_steps: int = 2
    head_layers: tuple[int, ...] = (32,)
    dropout: float = 0.2
    weight_decay: float = 1.0e-3  # L2 penalty
    learning_rate: float = 1.0e-3
    batch_size: int = 64
    max_epochs: int = 300
    patience: int = 50  # epochs without a better inner score before training stops


class AtomSets(nn.Module):
    """Site layers, set2set, head; the output is a logit, shape (n_structures,)."""

    def __init__(self, n_features: int, settings: AtomSetsSettings) -> None:
        super().__init__()
        self.sites, width = _dense_stack(n_features, settings.site_layers, settings.dropout)
        self.readout = WeightedSet2Set(width, settings.readout_width, settings.readout_steps)
        self.head, width = _dense_stack(2 * settings.readout_width, settings.head_layers, settings.dropout)
        self.out = nn.Linear(width, 1)

    def forward(
        self, features: torch.Tensor, multiplicity: torch.Tensor, index: torch.Tensor, n: int
    ) -> torch.Tensor:
        """``features`` (n_sites, d), ``multiplicity`` (n_sites,), ``index`` (n_sites,) structure number."""
        pooled = self.readout(self.sites(features), multiplicity, index, n)
        return self.out(self.head(pooled))[:, 0]


def _dense_stack(width: int, layers: Sequence[int], dropout: float) -> tuple[nn.Sequential, int]:
    modules: list[nn.Module] = []
    for units in layers:
        modules += [nn.Linear(width, units), nn.SiLU(), nn.Dropout(dropout)]
        width = units
    return nn.Sequential(*modules), width


class WeightedSet2Set(nn.Module):
    """Set2set in which a row counts ``multiplicity`` times; output width is twice ``width``."""

    def __init__(self, n_features: int, width: int, steps: int) -> None:
        super().__init__()
        self.project = nn.Linear(n_features, width)
        self.cell = nn.LSTMCell(2 * width, width)
        self.steps, self.width = steps, width

    def forward(
        self, x: torch.Tensor, multiplicity: torch.Tensor, index: torch.Tensor, n: int
    ) -> torch.Tensor:
        """Pool the rows of each structure, shape (n, 2 * width)."""
        values = self.project(x)
        query = x.new_zeros(n, 2 * self.width)
        hidden = cell = x.new_zeros(n, self.width)
        for _ in range(self.steps):
            hidden, cell = self.cell(query, (hidden, cell))
            score = (values * hidden[index]).sum(1)
            weight = multiplicity * torch.exp(score - _largest_by(score, index, n)[index])
            total = x.new_zeros(n).index_add_(0, index, weight)
            read = x.new_zeros(n, self.width).index_add_(0, index, (weight / total[index])[:, None] * values)
            query = torch.cat([hidden, read], dim=1)
        return query


def _largest_by(score: torch.Tensor, index: torch.Tensor, n: int) -> torch.Tensor:
    empty = score.new_full((n,), -torch.inf)
    return empty.scatter_reduce(0, index, score.detach(), "amax")


@dataclass(frozen=True)
class FittedAtomSets:
    """A trained classifier with the scaling of its inputs and the epoch at which training stopped."""

    model: AtomSets
    mean: np.ndarray
    scale: np.ndarray
    epoch: int
    settings: AtomSetsSettings

    def probability(self, sets: Sequence[SiteSet]) -> np.ndarray:
        """Return P(superionic) per structure, shape (n_structures,)."""
        return torch.sigmoid(self.logits(sets)).numpy()

    def logits(self, sets: Sequence[SiteSet]) -> torch.Tensor:
        """Return the logit per structure, shape (n_structures,)."""
        self.model.eval()
        with torch.no_grad():
            return self.model(*as_batch(sets, self.mean, self.scale))


def as_batch(
    sets: Sequence[SiteSet], mean: np.ndarray, scale: np.ndarray
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, int]:
    """Return what `AtomSets.forward` takes."""
    features = torch.from_numpy(scaled_features(np.concatenate([s.features for s in sets]), mean, scale))
    multiplicity = torch.as_tensor(np.concatenate([s.multiplicity for s in sets]), dtype=torch.float32)
    index = torch.repeat_interleave(
        torch.arange(len(sets)), torch.tensor([len(s.multiplicity) for s in sets])
    )
    return features, multiplicity, index, len(sets)


def scaling(sets: Sequence[SiteSet]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the training sites; each structure weighs the same."""
    weight = np.concatenate([s.multiplicity / s.multiplicity.sum() for s in sets])
    rows = np.concatenate([s.features for s in sets])
    mean = np.average(rows, axis=0, weights=weight)
    spread = np.sqrt(np.average((rows - mean) ** 2, axis=0, weights=weight))
    return mean, np.where(spread > 1e-8, spread, 1.0)


def scaled_features(features: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return site features (n_sites, d) as a network sees them."""
    return ((features - mean) / scale).astype(np.float32)
