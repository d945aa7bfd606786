"""Pretraining of AtomSets on metal or non-metal, a task with 106,113 labels, as McHaffie et al. do.

The data are Matbench's ``matbench_mp_is_metal`` (Dunn et al., npj Comput. Mater. 6, 138 (2020), doi
10.1038/s41524-020-00406-3): structures of the Materials Project and whether they are metals. The file is
large, so it is fetched only on request; the pretrained weights then start the training on conductors
(`sselib.atomsets.training.fit_atomsets`, argument ``start``).
"""

import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import numpy as np
import pooch
import requests
from pymatgen.core import Structure
from sklearn.model_selection import ShuffleSplit

from sselib import registry
from sselib.errors import DataError
from sselib.features.site_features import site_sets

if TYPE_CHECKING:  # torch is an extra: this module must import without it
    from sselib.atomsets.network import AtomSetsSettings, FittedAtomSets

URL = "https://ml.materialsproject.org/projects/matbench_mp_is_metal.json.gz"
SHA256 = "9a028ed5750a4c76ca36e9f3c8d48fe0bf3fb21b76ec2289e58ae7048d527919"
COLUMNS = ("structure", "is_metal")
_STOPPING_SHARE = 0.1  # part of the structures that says when pretraining stops


@dataclass(frozen=True)
class IsMetal:
    """``structures`` and ``is_metal`` (n,) of 0 and 1; ``n_rows`` of the whole file."""

    structures: tuple[Structure, ...]
    is_metal: np.ndarray
    n_rows: int


def fetch_is_metal() -> Path:
    """Return the data file from the cache or by download, its sha256 checked.

    Raises `DataError` where it cannot be had, with what to do.
    """
    folder = registry.cache_folder() / "matbench"
    path = folder / Path(URL).name
    advice = f"download {URL} yourself and put it at {path}, or run without pretraining"
    if registry.offline() and not path.is_file():
        raise DataError(f"pretraining needs {path.name}, and downloads are switched off: {advice}")
    try:
        return Path(pooch.retrieve(URL, known_hash=f"sha256:{SHA256}", fname=path.name, path=folder))
    except (OSError, ValueError) as error:
        no_way = isinstance(error, requests.exceptions.ConnectionError)
        reason = (
            f"no connection to {urlsplit(URL).hostname}" if no_way else " ".join(str(error).split())[:200]
        )
        raise DataError(f"pretraining needs {path.name}, which cannot be had ({reason}): {advice}") from error


def read_is_metal(path: Path, *, n_rows: int | None = None, seed: int = 0) -> IsMetal:
    """Return all structures of a file in Matbench's format, or ``n_rows`` of them drawn at random.

    The format is pandas' "split" as gzipped JSON: columns ``structure`` (pymatgen's dictionary) and
    ``is_metal``. Raises `DataError` for a file that is none.
    """
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            content = json.load(file)
        order = [content["columns"].index(name) for name in COLUMNS]
        rows = content["data"]
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is not Matbench's matbench_mp_is_metal ({type(error).__name__}: {error}): expected "
            f"gzipped JSON with the columns {', '.join(COLUMNS)}"
        ) from error
    wanted = np.arange(len(rows))
    if n_rows is not None and n_rows < len(rows):
        wanted = np.sort(np.random.default_rng(seed).choice(len(rows), n_rows, replace=False))
    structures = tuple(Structure.from_dict(rows[k][order[0]]) for k in wanted)
    return IsMetal(structures, np.array([int(rows[k][order[1]]) for k in wanted]), len(rows))


def pretrain(
    data: IsMetal,
    *,
    parent: str,
    representation: str,
    layers: Sequence[str],
    settings: "AtomSetsSettings",
    seed: int = 0,
) -> "FittedAtomSets":
    """Return a network trained to tell metals from the rest, to be the start of another training.

    A random tenth of the structures says when to stop. Structures without site features are left out.
    """
    from sselib.atomsets.training import fit_atomsets

    found = site_sets(
        dict(enumerate(data.structures)), parent=parent, representation=representation, layers=layers
    )
    if len(found.sets) < 20:
        raise DataError(
            f"{len(found.sets)} of {len(data.structures)} structures have site features: too few to pretrain"
        )
    sets, labels = list(found.sets.values()), data.is_metal[list(found.sets)]
    splitter = ShuffleSplit(1, test_size=_STOPPING_SHARE, random_state=seed)
    inner = np.isin(np.arange(len(sets)), next(splitter.split(labels))[1])
    return fit_atomsets(sets, labels, inner=inner, settings=settings, seed=seed)


def pretrained_starts(
    networks: "Sequence[AtomSetsSettings]",
    *,
    n_rows: int,
    parent: str,
    representation: str,
    layers: Sequence[str],
    seed: int = 0,
) -> "tuple[tuple[FittedAtomSets, ...], str]":
    """Return a pretrained network for each of ``networks``, and what happened in words.

    ``n_rows`` structures of the data take part; 0 asks for none. Where the file cannot be had there is no
    start, and the text says why, so that a notebook goes on without.
    """
    if not n_rows or not networks:
        return (), "No pretraining was asked for."
    try:
        data = read_is_metal(fetch_is_metal(), n_rows=n_rows, seed=seed)
    except DataError as error:
        return (), f"Not pretrained: {error}."
    options = {"parent": parent, "representation": representation, "layers": layers, "seed": seed}
    starts = tuple(pretrain(data, settings=s, **options) for s in networks)
    return starts, f"Pretrained on {len(data.structures)} of {data.n_rows} structures (metal or not)."
