"""AtomSets: a classifier on the set of a structure's site features.

Dense layers act on each site, a set2set readout pools the sites, dense layers and a sigmoid give the
probability of being superionic. Symmetry-equivalent sites have equal features, so a structure enters as its
unique rows with multiplicities, which changes no result and makes training an order of magnitude cheaper.

Sources: Chen and Ong, npj Comput. Mater. 7, 173 (2021), doi 10.1038/s41524-021-00639-w (AtomSets);
Vinyals et al., arXiv 1511.06391 (set2set); McHaffie et al., Digital Discovery 4, 1518 (2025) (dropout, L2).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from sselib.errors import ParameterError
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
    inner_fraction: float = 0.15  # part of the training data that decides when to stop


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
        self.model.eval()
        with torch.no_grad():
            return torch.sigmoid(self.model(*_batch(_scaled(sets, self.mean, self.scale)))).numpy()


def fit_atomsets(
    sets: Sequence[SiteSet],
    labels: np.ndarray,
    *,
    inner: np.ndarray,
    settings: AtomSetsSettings,
    seed: int,
    start: FittedAtomSets | None = None,
) -> FittedAtomSets:
    """Train on the rows where ``inner`` is False; the rows where it is True say when to stop.

    ``labels`` (n,) of 0 and 1, ``inner`` (n,) boolean. The caller makes ``inner`` from the training part
    alone, so nothing is chosen on held-out rows. ``start`` gives the first weights and the scaling (a model
    pretrained on another task, of the same settings). Raises `ParameterError` if a part has one class only.
    """
    labels, inner = np.asarray(labels, float), np.asarray(inner, bool)
    for name, part in (("fit", labels[~inner]), ("stopping", labels[inner])):
        if len(np.unique(part)) < 2:
            raise ParameterError(
                f"the {name} part has one class only ({len(part)} rows): choose another split"
            )
    training = _Training(sets, labels, held=inner, settings=settings, seed=seed, start=start)
    best, best_epoch, best_state = np.inf, 0, None
    for epoch in range(settings.max_epochs):
        training.run_epoch()
        score = training.held_loss()
        if score < best:
            best, best_epoch = score, epoch
            best_state = {k: v.clone() for k, v in training.model.state_dict().items()}
        elif epoch - best_epoch >= settings.patience:
            break
    training.model.load_state_dict(best_state)
    return FittedAtomSets(training.model, training.mean, training.scale, best_epoch, settings)


def training_epochs(
    sets: Sequence[SiteSet], labels: np.ndarray, *, held: np.ndarray, settings: AtomSetsSettings, seed: int
) -> Iterator[np.ndarray]:
    """Train on the rows where ``held`` is False and yield P(superionic) of the others after each epoch.

    Whoever picks an epoch by the labels of the held rows has chosen on them.
    """
    training = _Training(
        sets, np.asarray(labels, float), held=np.asarray(held, bool), settings=settings, seed=seed
    )
    for _ in range(settings.max_epochs):
        training.run_epoch()
        yield training.held_probability()


class _Training:
    """A model in training: weighted cross entropy, AdamW, shuffled batches."""

    def __init__(
        self,
        sets: Sequence[SiteSet],
        labels: np.ndarray,
        *,
        held: np.ndarray,
        settings: AtomSetsSettings,
        seed: int,
        start: FittedAtomSets | None = None,
    ) -> None:
        if start is None:
            self.mean, self.scale = _scaling([s for s, h in zip(sets, held, strict=True) if not h])
        else:
            self.mean, self.scale = start.mean, start.scale
        self.sets, self.settings = _scaled(sets, self.mean, self.scale), settings
        torch.manual_seed(seed)
        self.model, self.rng = AtomSets(len(self.mean), settings), np.random.default_rng(seed)
        if start is not None:
            self.model.load_state_dict(start.model.state_dict())
        self.optimiser = torch.optim.AdamW(
            self.model.parameters(),
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
            fused=True,
        )
        self.rows, self.target = np.flatnonzero(~held), torch.as_tensor(labels, dtype=torch.float32)
        negative, positive = (float((labels[self.rows] == c).sum()) for c in (0, 1))
        self.loss_of = nn.BCEWithLogitsLoss(pos_weight=torch.tensor(negative / max(positive, 1.0)))
        self.held_rows = np.flatnonzero(held)
        self.held = _batch([self.sets[i] for i in self.held_rows])

    def run_epoch(self) -> None:
        """Go once over the training rows."""
        self.model.train()
        for rows in _batches(self.rows, self.settings.batch_size, self.rng):
            self.optimiser.zero_grad()
            self.loss_of(self.model(*_batch([self.sets[i] for i in rows])), self.target[rows]).backward()
            self.optimiser.step()

    def held_loss(self) -> float:
        """Return the loss of the held rows."""
        self.model.eval()
        with torch.no_grad():
            return float(self.loss_of(self.model(*self.held), self.target[self.held_rows]))

    def held_probability(self) -> np.ndarray:
        """Return P(superionic) of the held rows, shape (n_held,)."""
        self.model.eval()
        with torch.no_grad():
            return torch.sigmoid(self.model(*self.held)).numpy()


def _batches(rows: np.ndarray, size: int, rng: np.random.Generator) -> list[np.ndarray]:
    order = rng.permutation(rows)
    return [order[i : i + size] for i in range(0, len(order), size)]


def _batch(sets: Sequence[SiteSet]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, int]:
    features = torch.as_tensor(np.concatenate([s.features for s in sets]), dtype=torch.float32)
    multiplicity = torch.as_tensor(np.concatenate([s.multiplicity for s in sets]), dtype=torch.float32)
    index = torch.repeat_interleave(
        torch.arange(len(sets)), torch.tensor([len(s.multiplicity) for s in sets])
    )
    return features, multiplicity, index, len(sets)


def _scaling(sets: Sequence[SiteSet]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the training sites; each structure weighs the same."""
    weight = np.concatenate([s.multiplicity / s.multiplicity.sum() for s in sets])
    rows = np.concatenate([s.features for s in sets])
    mean = np.average(rows, axis=0, weights=weight)
    spread = np.sqrt(np.average((rows - mean) ** 2, axis=0, weights=weight))
    return mean, np.where(spread > 1e-8, spread, 1.0)


def _scaled(sets: Sequence[SiteSet], mean: np.ndarray, scale: np.ndarray) -> list[SiteSet]:
    return [replace(s, features=((s.features - mean) / scale).astype(np.float32)) for s in sets]
