"""Features of the composition alone: element fractions and statistics of element properties.

Everything is computed from mole fractions, so Z and the way a formula is written make no difference.
Element data are pymatgen's; where they lack a value (the ionic radius of hydrogen), the statistic is NaN.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import pandas as pd
from pymatgen.core import Element

from sselib.features.description import Feature, Group, described
from sselib.materials.composition import MODIFIED_PETTIFOR_ORDER, element_fractions

# name of the property: (attribute of pymatgen's Element, unit, words)
ELEMENT_PROPERTIES: dict[str, tuple[str, str, str]] = {
    "electronegativity": ("X", "1", "Pauling electronegativity"),
    "atomic_mass_u": ("atomic_mass", "u", "atomic mass"),
    "atomic_radius_angstrom": ("atomic_radius", "Angstrom", "atomic radius (Slater)"),
    "ionic_radius_angstrom": ("average_ionic_radius", "Angstrom", "ionic radius, mean over oxidation states"),
    "ionization_energy_ev": ("ionization_energy", "eV", "first ionization energy"),
    "period": ("row", "1", "period of the periodic table"),
    "group": ("group", "1", "group of the periodic table"),
}
ANIONS: frozenset[str] = frozenset({"F", "Cl", "Br", "I", "O", "S", "Se", "Te", "N"})
_OF_ALL = ("mean", "std")
_OF_FRAMEWORK = ("mean", "min", "max")


@lru_cache(maxsize=1)
def element_table() -> pd.DataFrame:
    """Return the properties of the elements; rows in the modified Pettifor order, NaN where unknown."""
    rows = {
        el: [_value(Element(el), attribute) for attribute, _, _ in ELEMENT_PROPERTIES.values()]
        for el in MODIFIED_PETTIFOR_ORDER
    }
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(ELEMENT_PROPERTIES), dtype=float)


def _value(element: Element, attribute: str) -> float:
    """Return a property; pymatgen writes 0, None or a warning with NaN for what is not known."""
    if attribute == "X" and element.Z in {2, 10, 18}:
        return np.nan
    found = getattr(element, attribute)
    return float(found) if found else np.nan


def fraction_features(formulas: Sequence[str]) -> tuple[pd.DataFrame, list[Feature]]:
    """Return the mole fraction of every element that occurs, columns ``fraction_Al``, ... by symbol."""
    table = element_fractions(formulas)
    present = sorted(el for el in table if (table[el] > 0).any())
    features = [
        Feature(f"fraction_{el}", Group.STOICHIOMETRIC, "1", f"mole fraction of {el}", kim=True)
        for el in present
    ]
    return table[present].set_axis([f.name for f in features], axis=1), features


def elemental_features(
    formulas: Sequence[str], *, mobile_ion: str = "Li"
) -> tuple[pd.DataFrame, list[Feature]]:
    """Return statistics of element properties weighted by mole fraction.

    Over all elements the mean and standard deviation, over the framework (all but the mobile ion) mean,
    minimum and maximum; then what tells anions from cations. An element counts as an anion if it is F,
    Cl, Br, I, O, S, Se, Te or N; where none of these is there, the most electronegative element is.
    """
    fractions = element_fractions(formulas)
    rest = _normalised(fractions.drop(columns=mobile_ion))
    parts = [
        _statistics(fractions, _OF_ALL, prefix="", of="all elements"),
        _statistics(rest, _OF_FRAMEWORK, prefix="framework_", of=f"all elements but {mobile_ion}"),
        _anion_features(fractions, mobile_ion),
    ]
    return pd.concat([table for table, _ in parts], axis=1), [f for _, found in parts for f in found]


def _normalised(fractions: pd.DataFrame) -> pd.DataFrame:
    """Scale rows to a sum of 1; NaN where nothing is left."""
    totals = fractions.sum(axis=1)
    return fractions.div(totals.where(totals > 0), axis=0)


def _statistics(
    fractions: pd.DataFrame, kinds: Sequence[str], *, prefix: str, of: str
) -> tuple[pd.DataFrame, list[Feature]]:
    """Return the statistics of every property; column names are ``<prefix><kind>_<property>``."""
    columns, features = {}, []
    for name, (_, unit, words) in ELEMENT_PROPERTIES.items():
        values = element_table().loc[fractions.columns, name].to_numpy()
        found = weighted_statistics(fractions.to_numpy(), values)
        for kind in kinds:
            columns[f"{prefix}{kind}_{name}"] = found[kind]
            text = f"{kind} over {of}: {words}"
            features.append(Feature(f"{prefix}{kind}_{name}", Group.ELEMENTAL, unit, text))
    return pd.DataFrame(columns, index=fractions.index), features


def weighted_statistics(weights: np.ndarray, values: np.ndarray) -> Mapping[str, np.ndarray]:
    """Return mean, std, min and max of ``values`` (m,) under ``weights`` (n, m), each of shape (n,).

    NaN in a row where an element that is present has no value, or where no element is present.
    """
    present = weights > 0
    known = present.any(axis=1) & ~(present & np.isnan(values)).any(axis=1)
    filled = np.nan_to_num(values)
    mean = weights @ filled
    spread = np.sqrt(np.maximum((weights * (filled - mean[:, None]) ** 2).sum(axis=1), 0.0))
    low = np.where(present, filled, np.inf).min(axis=1)
    high = np.where(present, filled, -np.inf).max(axis=1)
    found = {"mean": mean, "std": spread, "min": low, "max": high}
    return {kind: np.where(known, value, np.nan) for kind, value in found.items()}


def _anion_features(fractions: pd.DataFrame, mobile_ion: str) -> tuple[pd.DataFrame, list[Feature]]:
    """Return what tells anions from cations."""
    anions = fractions.where(is_anion(fractions), 0.0)
    others = fractions.where(~is_anion(fractions), 0.0).assign(**{mobile_ion: 0.0})
    mobile, total, cations = fractions[mobile_ion], anions.sum(axis=1), others.sum(axis=1)
    chi, radius = (element_table()[p].to_numpy() for p in ("electronegativity", "ionic_radius_angstrom"))
    anion_chi = weighted_statistics(_normalised(anions).to_numpy(), chi)["mean"]
    cation_chi = weighted_statistics(_normalised(others).to_numpy(), chi)["mean"]
    columns = {
        "n_elements": (fractions > 0).sum(axis=1).astype(float),
        "anion_fraction": total,
        "mobile_per_anion": mobile / total.where(total > 0),
        "mobile_per_other_cation": mobile / cations.where(cations > 0),
        "anion_electronegativity": anion_chi,
        "anion_ionic_radius_angstrom": weighted_statistics(_normalised(anions).to_numpy(), radius)["mean"],
        "electronegativity_difference": anion_chi - cation_chi,
    }
    features = described(Group.ELEMENTAL, ion=mobile_ion)
    return pd.DataFrame(columns, index=fractions.index), features


def is_anion(fractions: pd.DataFrame) -> np.ndarray:
    """Return which elements of each row are anions, shape (n, number of elements)."""
    present = fractions.to_numpy() > 0
    usual = present & fractions.columns.isin(list(ANIONS))
    chi = np.where(present, element_table()["electronegativity"].fillna(0.0).to_numpy(), -1.0)
    most = present & (chi == chi.max(axis=1, keepdims=True))
    return np.where(usual.any(axis=1, keepdims=True), usual, most)
