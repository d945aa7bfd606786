"""Models trained anew without the relatives of some candidates, for a test that the saved models cannot give.

The saved models of notebooks 04 and 06 have seen most published candidates, or compounds next to them.
Here the same kinds of model, of the same size, are trained on the rows that are left once every row near a
candidate is out: conductivity from the formula and from the structure, blend and networks of the ensemble.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from sselib.atomsets.saved_blend import fit_blend, geometry_of_rows
from sselib.atomsets.superionic_model import (
    SuperionicModel,
    fit_networks,
    pooled_space,
    training_table,
)
from sselib.columns import Curated, Entry, StructureTable
from sselib.features.site_features import SiteSet, site_sets
from sselib.features.structure import with_environment
from sselib.materials.composition import element_fractions, l1_distances
from sselib.materials.structures import structure_from_json
from sselib.regression.conductivity_model import train_conductivity_model, train_structure_model
from sselib.screening.scoring import ScreeningModels, Training
from sselib.validation.splits import row_groups

if TYPE_CHECKING:  # torch is an extra: this module must import without it
    from sselib.atomsets.network import FittedAtomSets


@dataclass(frozen=True)
class Retrained:
    """Models trained without the relatives of candidates, and what is left of the training rows.

    ``n_removed`` (n,) is the number of rows near each candidate; all of them are left out for all.
    """

    models: ScreeningModels
    training: Training
    n_removed: np.ndarray


def without_relatives(
    formulas: Sequence[str],
    models: ScreeningModels,
    *,
    curated: pd.DataFrame,
    structures: pd.DataFrame,
    features: pd.DataFrame,
    groups: pd.DataFrame,
    distance: float,
    seed: int,
) -> Retrained:
    """Return models like ``models``, trained without every material within ``distance`` of a formula.

    ``distance`` is the L1 distance of mole fractions (0 to 2). ``curated`` and ``structures`` are tables of
    notebook 01, ``features`` and ``groups`` of notebook 03. Sizes are those of the saved models, and so are
    the three numbers that held-out groups decided: the two calibrations and the weight of the networks.
    Networks start from random weights, also where the saved ones were pretrained.
    """
    fractions = element_fractions(list(formulas)).to_numpy()
    known = element_fractions(list(curated[Entry.COMPOSITION])).to_numpy()
    close = l1_distances(fractions, known) <= distance
    left = ~close.any(axis=0)
    rest = curated[left].reset_index(drop=True)
    conductivity = train_conductivity_model(rest, seed=seed)
    from_structure = known_features = None
    if models.structure_conductivity or models.superionic.blend.structure:
        own = features[features["id"].isin(rest[Entry.ID])]
        known_features, _ = with_environment(own, groups, rest, structures)
    if models.structure_conductivity:
        from_structure = train_structure_model(rest, known_features, fallback=conductivity, seed=seed)
    again = replace(
        models,
        conductivity=conductivity,
        structure_conductivity=from_structure,
        superionic=_ensemble(rest, structures, known_features, models.superionic, seed=seed),
    )
    return Retrained(again, Training(rest, known[left]), close.sum(axis=1))


def _ensemble(
    rest: pd.DataFrame,
    structures: pd.DataFrame,
    features: pd.DataFrame | None,
    saved: SuperionicModel,
    *,
    seed: int,
) -> SuperionicModel:
    """Return an ensemble like the saved one, trained on other rows."""
    rows = rest[rest[Curated.SUPERIONIC].notna()].reset_index(drop=True)
    geometry = geometry_of_rows(features, rows[Entry.ID]) if saved.blend.structure else None
    blend = fit_blend(rows, geometry=geometry, n_versions=len(saved.blend.bags), seed=seed)
    sets = _site_sets(rows, structures, saved) if saved.networks else {}
    return replace(
        saved,
        training=training_table(rows, with_structure=list(sets)),
        blend=blend,
        networks=_networks(rows, sets, saved, seed=seed) if sets else (),
        space=pooled_space(list(sets.values())) if sets else None,
    )


def _site_sets(rows: pd.DataFrame, structures: pd.DataFrame, saved: SuperionicModel) -> dict[str, SiteSet]:
    """Return the site features of the rows whose structure trained the saved networks, in their order."""
    with_structure = saved.training[saved.training["has_structure"]][Entry.ID]
    own = rows[rows[Entry.ID].isin(with_structure)]
    texts = structures.set_index(StructureTable.STRUCTURE_ID)[StructureTable.STRUCTURE_JSON]
    crystals = {
        row_id: structure_from_json(texts[key])
        for row_id, key in zip(own[Entry.ID], own[Entry.STRUCTURE_ID], strict=True)
    }
    sites = saved.sites
    return site_sets(
        crystals, parent=sites.parent, representation=sites.representation, layers=sites.layers
    ).sets


def _networks(
    rows: pd.DataFrame, sets: dict[str, SiteSet], saved: SuperionicModel, *, seed: int
) -> "tuple[FittedAtomSets, ...]":
    """Return as many networks as the saved model has, of the same settings."""
    own = rows.set_index(Entry.ID, drop=False).loc[list(sets)]
    settings = tuple(dict.fromkeys(network.settings for network in saved.networks))
    return fit_networks(
        list(sets.values()),
        own[Curated.SUPERIONIC].to_numpy(int),
        row_groups("duplicates", own).to_numpy(),
        settings=settings,
        n_seeds=max(1, len(saved.networks) // len(settings)),
        seed=seed,
    )
