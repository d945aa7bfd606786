"""Training of one AtomSets network, with an early stop on rows that are held back."""

from collections.abc import Iterator, Sequence
from copy import deepcopy

import numpy as np
import torch
from torch.nn import functional

from sselib.atomsets.network import AtomSets, AtomSetsSettings, FittedAtomSets, as_batch, scaling
from sselib.errors import ParameterError
from sselib.features.site_features import SiteSet


def fit_atomsets(
    sets: Sequence[SiteSet],
    labels: np.ndarray,
    *,
    inner: np.ndarray,
    settings: AtomSetsSettings,
    seed: int,
    start: FittedAtomSets | None = None,
) -> FittedAtomSets:
    """Train a network on the rows where ``inner`` is False; the rows where it is True say when to stop.

    ``labels`` (n,) of 0 and 1, ``inner`` (n,) boolean, of a training part alone, so that nothing is chosen
    on rows that are predicted. ``start`` gives the first weights and the scaling (a model of the same
    settings, trained on another task). Raises `ParameterError` if a part has one class only.
    """
    inner, best, best_loss = np.asarray(inner, bool), None, np.inf
    _require_both_classes(labels, inner)
    run = train(sets, labels, rows=~inner, settings=settings, seed=seed, start=start)
    weight, target = _positive_weight(labels[~inner]), torch.as_tensor(labels[inner], dtype=torch.float32)
    held = [s for s, own in zip(sets, inner, strict=True) if own]
    for network in run:
        loss = functional.binary_cross_entropy_with_logits(network.logits(held), target, pos_weight=weight)
        if loss < best_loss:
            best, best_loss = deepcopy(network), float(loss)
        elif network.epoch - best.epoch >= max(settings.patience, 1):
            break
    return best


def train(
    sets: Sequence[SiteSet],
    labels: np.ndarray,
    *,
    rows: np.ndarray,
    settings: AtomSetsSettings,
    seed: int,
    start: FittedAtomSets | None = None,
) -> Iterator[FittedAtomSets]:
    """Train on ``rows`` (n,) boolean and yield the network as it is after every epoch, the same object.

    Torch's own random state stays as it is. Whoever picks an epoch by the labels of other rows has chosen
    on them.
    """
    rows = np.flatnonzero(rows)
    mean, scale = (start.mean, start.scale) if start else scaling([sets[i] for i in rows])
    target = torch.tensor(np.array(labels), dtype=torch.float32)
    weight, order = _positive_weight(np.asarray(labels)[rows]), np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AtomSets(len(mean), settings)
        state = torch.get_rng_state()
    if start:
        model.load_state_dict(start.model.state_dict())
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    for epoch in range(settings.max_epochs):
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(state)
            model.train()
            for batch in np.array_split(order.permutation(rows), -(-len(rows) // settings.batch_size)):
                optimiser.zero_grad()
                logits = model(*as_batch([sets[i] for i in batch], mean, scale))
                functional.binary_cross_entropy_with_logits(
                    logits, target[batch], pos_weight=weight
                ).backward()
                optimiser.step()
            state = torch.get_rng_state()
        yield FittedAtomSets(model, mean, scale, epoch, settings)


def _positive_weight(labels: np.ndarray) -> torch.Tensor:
    """Return the weight that lets both classes count alike."""
    positive = labels.sum()
    return torch.tensor(float((len(labels) - positive) / max(positive, 1.0)))


def _require_both_classes(labels: np.ndarray, inner: np.ndarray) -> None:
    for name, part in (("fit", labels[~inner]), ("stopping", labels[inner])):
        if len(np.unique(part)) < 2:
            raise ParameterError(
                f"the {name} part has one class only ({len(part)} rows): choose another split"
            )
