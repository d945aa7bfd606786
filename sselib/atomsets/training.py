"""Training of AtomSets: many networks of one architecture side by side, as one batched model.

One network is so small that a step is mostly the overhead of its calls. Members of an ensemble, folds or
clusters therefore train together: their weights lie side by side in one tensor, each network has its own
rows, scaling, order of rows, dropout and early stop, and none sees another. What a network becomes depends
neither on how many train beside it nor on which, up to rounding (`tests/test_atomsets_training.py`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from sselib.atomsets.network import AtomSets, AtomSetsSettings, FittedAtomSets, scaled_features, scaling
from sselib.errors import ParameterError
from sselib.features.site_features import SiteSet

SIDE_BY_SIDE = 8  # networks at a time: with more their activations leave the processor's cache


@dataclass(frozen=True)
class Fit:
    """One network to train: positions of the rows it learns from and of those ``held`` back, and its seed.

    ``start`` gives the first weights and the scaling (a model of the same settings, trained on another task).
    """

    rows: np.ndarray
    held: np.ndarray
    seed: int
    start: FittedAtomSets | None = None


def fit_atomsets(
    sets: Sequence[SiteSet],
    labels: np.ndarray,
    *,
    inner: np.ndarray,
    settings: AtomSetsSettings,
    seed: int,
    start: FittedAtomSets | None = None,
) -> FittedAtomSets:
    """Train one network on the rows where ``inner`` is False; the rows where it is True say when to stop.

    ``labels`` (n,) of 0 and 1, ``inner`` (n,) boolean. See `fit_many`.
    """
    held = np.asarray(inner, bool)
    fit = Fit(np.flatnonzero(~held), np.flatnonzero(held), seed, start)
    return fit_many(sets, labels, [fit], settings=settings)[0]


def fit_many(
    sets: Sequence[SiteSet], labels: np.ndarray, fits: Sequence[Fit], *, settings: AtomSetsSettings
) -> list[FittedAtomSets]:
    """Return a network for each of ``fits``, with the weights of the epoch at which its held rows fit best.

    ``labels`` (n,) of 0 and 1. The caller makes ``held`` from a training part alone, so nothing is chosen
    on rows that are predicted. Raises `ParameterError` if a part has one class only.
    """
    labels = np.asarray(labels, float)
    for fit in fits:
        _require_both_classes(labels, fit)
    sites, found = _Sites(sets), {}
    waiting = sorted(range(len(fits)), key=lambda k: len(fits[k].rows))  # the longest epochs go first
    stack = _Stack([], settings)
    while waiting or stack.members:
        while waiting and len(stack.members) < SIDE_BY_SIDE:
            number = waiting.pop()
            stack = _Stack([*stack.members, _Member(sites, labels, fits[number], settings, number)], settings)
        stack.run_epoch()
        stack.note_best()
        done = [m for m in stack.members if m.is_done(settings)]
        found |= {m.number: m.fitted(settings) for m in done}
        if done:
            stack = _Stack([m for m in stack.members if m not in done], settings)
    return [found[k] for k in range(len(fits))]


def epochs_of_many(
    sets: Sequence[SiteSet], labels: np.ndarray, fits: Sequence[Fit], *, settings: AtomSetsSettings
) -> Iterator[list[np.ndarray]]:
    """Train all ``fits`` in step and yield P(superionic) of the held rows of each after every epoch.

    Whoever picks an epoch by the labels of the held rows has chosen on them.
    """
    sites = _Sites(sets)
    stack = _Stack([_Member(sites, np.asarray(labels, float), f, settings, 0) for f in fits], settings)
    for _ in range(settings.max_epochs):
        stack.run_epoch()
        logits = torch.sigmoid(stack.held_logits())
        yield [logits[k, : len(f.held)].numpy() for k, f in enumerate(fits)]


def _require_both_classes(labels: np.ndarray, fit: Fit) -> None:
    for name, part in (("fit", labels[fit.rows]), ("stopping", labels[fit.held])):
        if len(np.unique(part)) < 2:
            raise ParameterError(
                f"the {name} part has one class only ({len(part)} rows): choose another split"
            )


class _Sites:
    """The sites of all structures in one table."""

    def __init__(self, sets: Sequence[SiteSet]) -> None:
        self.sets = sets
        self.multiplicity = np.concatenate([s.multiplicity for s in sets]).astype(np.float32)
        self.counts = np.array([len(s.multiplicity) for s in sets])
        self.starts = np.cumsum(self.counts) - self.counts

    def of(self, structures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows of the table that belong to ``structures``, and whose each is (0, 1, ...)."""
        counts = self.counts[structures]
        index = np.repeat(np.arange(len(structures)), counts)
        return np.arange(counts.sum()) + (self.starts[structures] - np.cumsum(counts) + counts)[index], index


class _Member:
    """One network in training: what it sees, its weights as one vector, and how far it is."""

    def __init__(
        self, sites: _Sites, labels: np.ndarray, fit: Fit, settings: AtomSetsSettings, number: int
    ) -> None:
        self.sites, self.fit, self.number = sites, fit, number
        self.mean, self.scale = (
            (fit.start.mean, fit.start.scale) if fit.start else scaling([sites.sets[i] for i in fit.rows])
        )
        table = np.concatenate([s.features for s in sites.sets])
        self.features = torch.from_numpy(scaled_features(table, self.mean, self.scale))
        self.labels = labels.astype(np.float32)
        positive = labels[fit.rows].sum()
        self.positive_weight = float((len(fit.rows) - positive) / max(positive, 1.0))
        network = _new_network(len(self.mean), settings, fit.seed)
        state = (fit.start.model if fit.start else network).state_dict()
        self.shapes = {name: value.shape for name, value in state.items()}
        self.weights = torch.nn.Parameter(torch.cat([v.detach().reshape(-1) for v in state.values()]))
        self.optimiser_state: dict[str, object] = {}
        self.order, self.noise = np.random.default_rng(fit.seed), np.random.default_rng([fit.seed, 1])
        self.epoch, self.best, self.best_epoch, self.best_weights = -1, np.inf, 0, None

    def batches(self, size: int) -> list[np.ndarray]:
        """Return the structures of each batch of the next epoch."""
        self.epoch += 1
        order = self.order.permutation(self.fit.rows)
        return [order[i : i + size] for i in range(0, len(order), size)]

    def kept(self, shape: tuple[int, int], dropout: float) -> np.ndarray:
        """Return which units of a layer dropout keeps, shape as given; the share is exact to 2^-16."""
        n = shape[0] * shape[1]
        drawn = self.noise.integers(0, 2**64 - 1, size=-(-n // 4), dtype=np.uint64, endpoint=True)
        return drawn.view(np.uint16)[:n].reshape(shape) >= round(dropout * 2**16)

    def note(self, loss: float) -> None:
        """Keep the weights if the held rows fit better than ever."""
        if loss < self.best:
            self.best, self.best_epoch = loss, self.epoch
            self.best_weights = self.weights.detach().clone()

    def is_done(self, settings: AtomSetsSettings) -> bool:
        """True after the last epoch, or without a better score for as long as the settings allow."""
        last = self.epoch + 1 >= settings.max_epochs
        return last or self.epoch - self.best_epoch >= max(settings.patience, 1)

    def fitted(self, settings: AtomSetsSettings) -> FittedAtomSets:
        """Return the network with its best weights."""
        model = _new_network(len(self.mean), settings, self.fit.seed)
        parts = self.best_weights.split([shape.numel() for shape in self.shapes.values()])
        model.load_state_dict({n: p.reshape(s) for (n, s), p in zip(self.shapes.items(), parts, strict=True)})
        return FittedAtomSets(model, self.mean, self.scale, self.best_epoch, settings)


def _new_network(n_features: int, settings: AtomSetsSettings, seed: int) -> AtomSets:
    """Return an untrained network; torch's own random state stays as it is."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AtomSets(n_features, settings)


@dataclass(frozen=True)
class _Batch:
    """Structures of k networks, padded to the same number of rows.

    ``features`` (k, rows, d); ``multiplicity`` and ``index``, the structure of each row, (k * rows,). Each
    network has ``n`` structures, of which the last is empty or holds the padding; ``target`` and ``weight``
    (k, n): labels, and what each counts in the loss (0 for what is no structure).
    """

    features: torch.Tensor
    multiplicity: torch.Tensor
    index: torch.Tensor
    n: int
    target: torch.Tensor
    weight: torch.Tensor
    n_rows: tuple[int, ...]
    n_structures: tuple[int, ...]


def _batch(members: Sequence[_Member], structures: Sequence[np.ndarray]) -> _Batch:
    """Return one batch: ``structures`` of each member, which may be none."""
    found = [m.sites.of(s) for m, s in zip(members, structures, strict=True)]
    n_rows, n_structures = tuple(len(r) for r, _ in found), tuple(len(s) for s in structures)
    k, most, n = len(members), max(n_rows), max(n_structures) + 1
    features = torch.zeros(k, most, members[0].features.shape[1])
    multiplicity, index = np.ones((k, most), np.float32), np.full((k, most), n - 1)
    target, weight = np.zeros((k, n), np.float32), np.zeros((k, n), np.float32)
    for j, (member, (rows, own), which) in enumerate(zip(members, found, structures, strict=True)):
        torch.index_select(member.features, 0, torch.from_numpy(rows), out=features[j, : len(rows)])
        multiplicity[j, : len(rows)], index[j, : len(rows)] = member.sites.multiplicity[rows], own
        target[j, : len(which)], weight[j, : len(which)] = member.labels[which], 1 / max(len(which), 1)
    index += np.arange(k)[:, None] * n
    flat = [torch.from_numpy(a.reshape(-1)) for a in (multiplicity, index)]
    return _Batch(
        features, *flat, n, torch.from_numpy(target), torch.from_numpy(weight), n_rows, n_structures
    )


class _Stack:
    """Networks in training with their weights side by side in one tensor, shape (members, weights)."""

    def __init__(self, members: Sequence[_Member], settings: AtomSetsSettings) -> None:
        self.members, self.settings = list(members), settings
        if not self.members:
            return
        together = torch.stack([m.weights.detach() for m in self.members])
        shapes = self.members[0].shapes
        views = together.split([shape.numel() for shape in shapes.values()], dim=1)
        self.weights = {
            name: view.view(-1, *shape).requires_grad_()
            for (name, shape), view in zip(shapes.items(), views, strict=True)
        }
        for k, member in enumerate(self.members):
            member.weights = torch.nn.Parameter(together[k])
        self.optimiser = torch.optim.AdamW(
            [m.weights for m in self.members],
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
            fused=True,
        )
        for member in self.members:
            self.optimiser.state[member.weights] = member.optimiser_state
        self.positive_weight = torch.tensor([[m.positive_weight] for m in self.members])
        self.held = _batch(self.members, [m.fit.held for m in self.members])

    def run_epoch(self) -> None:
        """Go once over the training rows of every network."""
        batches = [m.batches(self.settings.batch_size) for m in self.members]
        for step in range(max(map(len, batches))):
            self._step([own[step] if step < len(own) else own[0][:0] for own in batches])

    def _step(self, structures: Sequence[np.ndarray]) -> None:
        """Improve every network on its batch; one without a batch stays as it is."""
        batch = _batch(self.members, structures)
        loss = self._losses(self._logits(batch, train=True), batch).sum()
        # with one step of the readout its LSTM is never asked: then its gradient is zero
        parts = torch.autograd.grad(loss, list(self.weights.values()), materialize_grads=True)
        gradient = torch.cat([part.flatten(1) for part in parts], dim=1)
        for member, own, found in zip(self.members, structures, gradient, strict=True):
            member.weights.grad = found if len(own) else None
        self.optimiser.step()

    def held_logits(self) -> torch.Tensor:
        """Return the logits of the held rows of every network, shape (members, at least n_held)."""
        with torch.no_grad():
            return self._logits(self.held, train=False)

    def note_best(self) -> None:
        """Let every network keep its weights if its held rows fit better than ever."""
        for member, loss in zip(
            self.members, self._losses(self.held_logits(), self.held).tolist(), strict=True
        ):
            member.note(loss)

    def _losses(self, logits: torch.Tensor, batch: _Batch) -> torch.Tensor:
        """Return the mean weighted cross entropy of each network, shape (members,)."""
        return functional.binary_cross_entropy_with_logits(
            logits, batch.target, weight=batch.weight, pos_weight=self.positive_weight, reduction="none"
        ).sum(1)

    def _logits(self, batch: _Batch, *, train: bool) -> torch.Tensor:
        """Return what `AtomSets.forward` of each network gives, shape (members, batch.n)."""
        n_site, n_head = len(self.settings.site_layers), len(self.settings.head_layers)
        x = self._readout(self._dense(batch.features, "sites", n_site, batch.n_rows, train), batch)
        x = self._dense(x, "head", n_head, batch.n_structures, train)
        return self._linear(x, "out")[..., 0]

    def _linear(self, x: torch.Tensor, name: str) -> torch.Tensor:
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return torch.baddbmm(bias[:, None], x, weight.transpose(1, 2))

    def _dense(
        self, x: torch.Tensor, name: str, n_layers: int, lengths: Sequence[int], train: bool
    ) -> torch.Tensor:
        for layer in range(n_layers):
            x = functional.silu(self._linear(x, f"{name}.{3 * layer}"))
            if train and self.settings.dropout:
                x = x * self._mask(x.shape, lengths)
        return x

    def _mask(self, shape: torch.Size, lengths: Sequence[int]) -> torch.Tensor:
        """Return the dropout of a layer, scaled; each network draws for its own rows only."""
        mask, scale = np.zeros(shape, np.float32), np.float32(1 / (1 - self.settings.dropout))
        for own, member, n in zip(mask, self.members, lengths, strict=True):
            np.multiply(member.kept((n, shape[2]), self.settings.dropout), scale, out=own[:n])
        return torch.from_numpy(mask)

    def _readout(self, x: torch.Tensor, batch: _Batch) -> torch.Tensor:
        """Return what `WeightedSet2Set.forward` of each network gives, shape (members, n, 2 * width)."""
        k, n, width = len(self.members), batch.n, self.settings.readout_width
        values = self._linear(x, "readout.project").reshape(-1, width)
        weights = {part: self.weights[f"readout.cell.{part}"] for part in ("weight_ih", "weight_hh")}
        bias = (self.weights["readout.cell.bias_ih"] + self.weights["readout.cell.bias_hh"])[:, None]
        hidden, cell = _lstm(bias, None)  # the first query and state are zero
        hidden, cell, query = hidden.expand(k, n, width), cell.expand(k, n, width), None
        for step in range(self.settings.readout_steps):
            if step:
                gates = torch.baddbmm(bias, query, weights["weight_ih"].transpose(1, 2))
                gates = torch.baddbmm(gates, hidden, weights["weight_hh"].transpose(1, 2))
                hidden, cell = _lstm(gates, cell)
            score = (values * hidden.reshape(k * n, width).index_select(0, batch.index)).sum(1)
            largest = score.new_full((k * n,), -torch.inf)
            largest = largest.scatter_reduce(0, batch.index, score.detach(), "amax")
            weight = batch.multiplicity * torch.exp(score - largest.index_select(0, batch.index))
            total = score.new_zeros(k * n).index_add(0, batch.index, weight).clamp_min(1e-12)
            read = values.new_zeros(k * n, width).index_add(0, batch.index, weight[:, None] * values)
            query = torch.cat([hidden, (read / total[:, None]).view(k, n, width)], dim=2)
        return query


def _lstm(gates: torch.Tensor, cell: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Return hidden and cell state of an LSTM from its gates (in, forget, cell, out; last axis)."""
    entry, forget, new, out = gates.chunk(4, dim=-1)
    now = torch.sigmoid(entry) * torch.tanh(new)
    now = now if cell is None else now + torch.sigmoid(forget) * cell
    return torch.sigmoid(out) * torch.tanh(now), now
