"""Properties of candidate structures from published MEGNet models: band gap, formation energy, moduli.

Disordered structures enter as they are (occupancy-weighted element vectors). The band gap is the mean of
six multi-fidelity models that differ in their training split, at the fidelity PBE, because the limit of
1 eV in McHaffie et al. (section 2.4) is meant for gaps that underestimate experiment as PBE does; their
standard deviation says how far the six agree. Source of the models: see `sselib.features.megnet`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from pymatgen.core import Structure

from sselib.errors import DataError, SSEError

if TYPE_CHECKING:  # torch is an extra: this module must import without it
    from sselib.features.megnet import MegnetModel

PBE = 0  # number of this fidelity in the multi-fidelity models
GAP_MODELS: tuple[str, ...] = tuple(f"band_gap_disorder_{k}" for k in range(6))
SINGLE_MODELS: Mapping[str, str] = {
    "formation_energy_ev_atom": "formation_energy",
    "bulk_modulus_gpa": "log10_bulk_modulus",
    "shear_modulus_gpa": "log10_shear_modulus",
}
PROPERTIES: tuple[str, ...] = ("band_gap_ev", "band_gap_sd_ev", *SINGLE_MODELS, "density_g_cm3")
MAX_SITES = 1000
_SITES_PER_BATCH = 400


@dataclass(frozen=True)
class PropertyModels:
    """``gaps``: the band-gap models; ``singles``: the others by property; or ``why_missing``."""

    gaps: "Sequence[MegnetModel]" = ()
    singles: "Mapping[str, MegnetModel]" = field(default_factory=dict)
    why_missing: str = ""

    @property
    def names(self) -> list[str]:
        """Which models there are; the registry pins their weights."""
        return [*GAP_MODELS[: len(self.gaps)], *self.singles]


def load_property_models(*, n_gap_models: int = 6) -> PropertyModels:
    """Return the models, or why they cannot be had (no torch, or no weights in mirror, cache or network).

    ``n_gap_models`` (0 to 6) band-gap models are averaged; 0 means that no MEGNet is wanted at all.
    """
    if n_gap_models == 0:
        return PropertyModels(why_missing="MEGNet is not wanted (n_gap_models is 0)")
    try:
        from sselib.features.megnet import load_megnet

        return PropertyModels(
            gaps=[load_megnet(name) for name in GAP_MODELS[:n_gap_models]],
            singles={name: load_megnet(model) for name, model in SINGLE_MODELS.items()},
        )
    except ModuleNotFoundError as error:
        return PropertyModels(why_missing=f"{error.name} is not installed (pip install -e '.[atomsets]')")
    except DataError as error:
        return PropertyModels(why_missing=str(error))


def material_properties(structures: Mapping[str, Structure], models: PropertyModels) -> pd.DataFrame:
    """Return the columns `PROPERTIES` and ``property_note`` by structure id, in order.

    eV, eV/atom, GPa (from the models' log10), g/cm3. A value is NaN where a model is missing or fails on
    the structure (an element that MEGNet never saw, more than 1,000 sites); the note says why.
    """
    table = pd.DataFrame(np.nan, index=list(structures), columns=list(PROPERTIES))
    table["density_g_cm3"] = [float(s.density) for s in structures.values()]
    notes = pd.Series({k: _unsupported(s) or models.why_missing for k, s in structures.items()}, dtype=object)
    usable = notes.index[notes == ""] if models.names else []
    batch = np.cumsum([len(structures[key]) for key in usable]) // _SITES_PER_BATCH  # memory stays flat
    for _, keys in pd.Series(usable, dtype=object).groupby(batch):
        values = _values([structures[key] for key in keys], models)
        table.loc[keys, list(values)] = np.column_stack(list(values.values()))
    return table.assign(property_note=notes)


def _unsupported(structure: Structure) -> str:
    """Return why MEGNet cannot take a structure, empty if it can."""
    if len(structure) > MAX_SITES:
        return f"{len(structure)} sites: expected at most {MAX_SITES}"
    try:
        from sselib.features.megnet import site_species

        site_species(structure)
    except SSEError as error:
        return str(error)
    except ModuleNotFoundError:
        pass  # said by `PropertyModels.why_missing`
    return ""


def _values(structures: Sequence[Structure], models: PropertyModels) -> dict[str, np.ndarray]:
    found = {}
    if models.gaps:
        gaps = np.array([m(structures, fidelity=PBE).numpy() for m in models.gaps])
        found["band_gap_ev"] = np.maximum(gaps, 0.0).mean(axis=0)
        found["band_gap_sd_ev"] = np.maximum(gaps, 0.0).std(axis=0, ddof=min(1, len(gaps) - 1))
    for name, model in models.singles.items():
        value = model(structures).numpy()
        found[name] = 10.0**value if name.endswith("_gpa") else value
    return found
