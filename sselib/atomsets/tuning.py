"""McHaffie et al.'s choice of settings and epoch on the held-out clusters, and the same choice without them.

They choose out of 250 configurations on each cluster (Digital Discovery 4, 1518 (2025), doi
10.1039/d5dd00052a, section 4.4). The ranges are in a supplement that was not at hand; those below are ours
and enclose the fixed settings.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from sselib.atomsets.classification import auc_pr, best_of_random, mcc, mixed_clusters
from sselib.atomsets.classifiers import ATOMSETS
from sselib.columns import SELECTION_CONTROL
from sselib.features.site_features import SiteSet
from sselib.kept import kept_arrays
from sselib.threads import in_processes

if TYPE_CHECKING:  # torch is an extra: this module must import without it
    from sselib.atomsets.network import AtomSetsSettings

N_PUBLISHED = 250  # configurations that McHaffie et al. choose from


def random_settings(n: int, *, seed: int, max_epochs: int) -> "list[AtomSetsSettings]":
    """Return ``n`` settings of AtomSets drawn at random."""
    from sselib.atomsets.network import AtomSetsSettings

    rng = np.random.default_rng(seed)
    return [
        AtomSetsSettings(
            site_layers=(int(rng.choice([16, 32, 64, 128])),) * int(rng.integers(1, 4)),
            readout_width=int(rng.choice([8, 16, 32, 64])),
            readout_steps=int(rng.integers(1, 5)),
            head_layers=(int(rng.choice([16, 32, 64])),) * int(rng.integers(1, 3)),
            dropout=float(rng.uniform(0.0, 0.6)),
            weight_decay=float(10 ** rng.uniform(-5, -1)),
            learning_rate=float(10 ** rng.uniform(-3.7, -2)),
            batch_size=int(rng.choice([32, 64, 128])),
            max_epochs=max_epochs,
        )
        for _ in range(n)
    ]


# Model and features, with the number of choices and a table of scores per cluster.
Ways = dict[tuple[str, str], tuple[int, pd.DataFrame]]


def choose_by_clusters(
    sets: Sequence[SiteSet],
    y: np.ndarray,
    clusters: np.ndarray,
    *,
    settings: "Sequence[AtomSetsSettings]",
    seed: int = 0,
    n_jobs: int = 1,
    parts: Path | None = None,
) -> Ways:
    """Return the scores on held-out clusters of each way to choose a setting and an epoch.

    ``clusters`` (n,), -1 for rows in none, which always train. A network for each cluster and setting trains
    on the other rows and is scored on the cluster after every epoch. Chosen on the cluster: the best of all
    settings and epochs as seen there, which is no measure of a model. Chosen on the others: the setting and
    epoch with the best mean over the other clusters. Beside them the best of as many random scores, and of
    250, the published number of configurations. Tables: cluster, n, auc_pr, mcc. ``parts`` keeps what is
    finished.
    """
    y, mixed = np.asarray(y, int), mixed_clusters(y, clusters)
    ways: Ways = {}
    if settings and mixed:
        scores = np.array([_scores(sets, y, clusters, mixed, s, seed, n_jobs, parts) for s in settings])
        flat = scores.transpose(1, 0, 2, 3).reshape(len(mixed), -1, 2)  # cluster, choice, metric
        others = [np.delete(flat, k, axis=0).mean(axis=0).argmax(axis=0) for k in range(len(mixed))]
        elsewhere = np.array([flat[k, choice, [0, 1]] for k, choice in enumerate(others)])
        n = [int((clusters == c).sum()) for c in mixed]
        for where, found in (("the cluster", flat.max(axis=1)), ("the other clusters", elsewhere)):
            table = pd.DataFrame({"cluster": mixed, "n": n, "auc_pr": found[:, 0], "mcc": found[:, 1]})
            ways[ATOMSETS, f"MEGNet V1, chosen on {where}"] = (flat.shape[1], table)
        ways |= _of_chance(y, clusters, [flat.shape[1], len(settings)], seed)
    return ways | _of_chance(y, clusters, [N_PUBLISHED], seed)


def _of_chance(y: np.ndarray, clusters: np.ndarray, budgets: Sequence[int], seed: int) -> Ways:
    tables = {n: best_of_random(y, clusters, n_tries=n, seed=seed) for n in budgets}
    return {(SELECTION_CONTROL, f"best of {n}"): (n, table) for n, table in tables.items()}


def _scores(
    sets: Sequence[SiteSet],
    y: np.ndarray,
    clusters: np.ndarray,
    mixed: Sequence[int],
    settings: "AtomSetsSettings",
    seed: int,
    n_jobs: int,
    parts: Path | None,
) -> np.ndarray:
    """Return both metrics on every cluster after every epoch, shape (clusters, epochs, 2)."""

    def compute() -> dict[str, np.ndarray]:
        """Train on all but each cluster in turn."""
        work = partial(_epochs, sets, y, clusters, settings, seed)
        return {"scores": np.array(in_processes(work, list(mixed), n_jobs=n_jobs))}

    return kept_arrays(parts, [list(sets), y, clusters, list(mixed), settings, seed], compute)["scores"]


def _epochs(
    sets: Sequence[SiteSet],
    y: np.ndarray,
    clusters: np.ndarray,
    settings: "AtomSetsSettings",
    seed: int,
    held_out: Sequence[int],
) -> list[np.ndarray]:
    """Return, for each held-out cluster, both metrics after every epoch, shape (epochs, 2)."""
    import torch

    from sselib.atomsets.training import train

    torch.set_num_threads(1)  # of this worker process
    found = []
    for c in held_out:
        held = [s for s, own in zip(sets, clusters == c, strict=True) if own]
        truth, ones = y[clusters == c].astype(float), np.ones((len(held), 1))
        networks = train(sets, y, rows=clusters != c, settings=settings, seed=seed)
        p = [network.probability(held) for network in networks]
        found.append(np.array([[float(f(truth, q, ones)[0]) for f in (auc_pr, mcc)] for q in p]))
    return found
