"""Features of a formula in fixed columns, fast enough to screen thousands of formulas a second.

The columns do not depend on which formulas come together, so that a saved model can be given any. Beside
the mole fractions stand properties of the ions, each element in one nominal oxidation state: the highest
common one where it acts as a cation, the lowest where it acts as an anion. (`sselib.materials.oxidation`
balances every formula on its own; it is five times slower, and as input of the model here it predicts no
better.)
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import pandas as pd
from pymatgen.core import Element

from sselib.columns import Entry
from sselib.features.description import Feature, Group, groups_frame
from sselib.features.stoichiometry import is_anion, weighted_statistics
from sselib.materials.composition import MODIFIED_PETTIFOR_ORDER, element_fractions
from sselib.materials.families import Family, family_from_composition
from sselib.materials.oxidation import common_states

FRACTION_COLUMNS: tuple[str, ...] = tuple(f"mole_fraction_{el}" for el in MODIFIED_PETTIFOR_ORDER)
_ION_PROPERTIES: dict[str, str] = {  # with their units
    "state": "1",  # nominal oxidation state
    "radius_angstrom": "Angstrom",  # ionic radius in the nominal state (Shannon)
    "potential_per_angstrom": "1/Angstrom",  # state divided by radius
    "field_per_angstrom2": "1/Angstrom^2",  # state divided by squared radius
}
SIZE_COLUMN = "log_whole_formula_atoms"  # natural logarithm of `whole_formula_atoms`
_MOST_ATOMS, _ATOMS_OFF = 300, 0.03  # of a whole-number formula: its largest size, and the rounding allowed
_CHUNK = 256  # formulas whose sizes are tried at a time
FAMILY_COLUMNS: tuple[str, ...] = tuple(f"suggests_{f}" for f in Family if f is not Family.GLASS)


def formula_features(formulas: Sequence[str], *, mobile_ion: str = "Li") -> pd.DataFrame:
    """Return features of formulas that `sselib.materials.composition.parse_formula` reads, shape (n, 161).

    First the mole fraction of every element (`FRACTION_COLUMNS`, modified Pettifor order), then
    statistics over the cations other than the mobile ion and over the anions, charge balance and size
    ratios, the size of the whole-number formula, and one flag per family that the composition suggests.
    NaN where a kind of ion is absent.
    Raises `FormulaError` for a formula that cannot be read.
    """
    fractions = element_fractions(formulas)
    x = fractions.to_numpy()
    mobile = x[:, list(fractions.columns).index(mobile_ion)]
    anions = np.where(is_anion(fractions), x, 0.0)
    cations = np.where(fractions.columns == mobile_ion, 0.0, x - anions)
    columns = dict(zip(FRACTION_COLUMNS, x.T, strict=True))
    for kind, weights, sign in (("cation", cations, 1), ("anion", anions, -1)):
        columns |= _ion_statistics(kind, weights, ions=_nominal_ions(sign))
    columns |= _balance(columns, mobile) | {SIZE_COLUMN: np.log(whole_formula_atoms(x))}
    families = np.array([_suggested_family(f) for f in formulas])
    columns |= {name: (families == name.removeprefix("suggests_")).astype(float) for name in FAMILY_COLUMNS}
    return pd.DataFrame(columns)


@lru_cache(maxsize=4_000)  # more than the formulas of a chunk, which several models ask about
def _suggested_family(formula: str) -> str:
    return str(family_from_composition(formula))


def whole_formula_atoms(fractions: np.ndarray) -> np.ndarray:
    """Return the number of atoms in the smallest whole-number formula, shape (n,).

    ``fractions`` are mole fractions, shape (n, elements). Each number of atoms may be off by 0.03, which
    forgives rounding ("Li0.33"). A line compound has few atoms (Li3PS4: 8), a doped one or a solid
    solution, whose carriers are made by substitution, many (Li1.3Al0.3Ti1.7P3O12: 183). Where none up to
    300 fits, 600.
    """
    n_present = max(1, int((fractions > 0).sum(axis=1).max(initial=1)))
    parts = -np.sort(-fractions, axis=1)[:, :n_present, None]
    counts, found = np.arange(1, _MOST_ATOMS + 1), np.full(len(parts), 2 * _MOST_ATOMS)
    for start in range(0, len(parts), _CHUNK):
        atoms = parts[start : start + _CHUNK] * counts
        fits = (np.abs(atoms - np.rint(atoms)) <= _ATOMS_OFF) & ((atoms == 0) | (atoms > 0.5))
        whole = fits.all(axis=1)
        rows = np.flatnonzero(whole.any(axis=1))
        found[start + rows] = counts[whole[rows].argmax(axis=1)]
    return found


def with_formula_features(
    features: pd.DataFrame, groups: pd.DataFrame, table: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the features of notebook 03 and their groups with those of the formula before them.

    ``features`` has ``id`` and a column per feature, ``groups`` the columns of `feature_groups`, ``table``
    the curated rows. The formula's columns come first, in the order of `formula_features`.
    """
    own = formula_features(list(table[Entry.COMPOSITION])).assign(id=table[Entry.ID].to_numpy())
    found = own.merge(features, on="id", how="left", validate="one_to_one")
    return found, pd.concat([groups_frame(formula_descriptions()), groups], ignore_index=True)


def formula_descriptions() -> list[Feature]:
    """Return the description of every column of `formula_features`, in its order."""
    units = {c: next((u for k, u in _ION_PROPERTIES.items() if c.endswith(k)), "1") for c in FORMULA_COLUMNS}
    return [Feature(name, Group.FORMULA, unit, name.replace("_", " ")) for name, unit in units.items()]


@lru_cache(maxsize=2)
def _nominal_ions(sign: int) -> pd.DataFrame:
    """Return state, radius, potential and field of every element as cation (1) or anion (-1)."""
    states = [max((s * sign for s in common_states(el)), default=1) for el in MODIFIED_PETTIFOR_ORDER]
    state = np.maximum(np.array(states, float), 1.0) * sign
    radius = np.array([_radius(el, s) for el, s in zip(MODIFIED_PETTIFOR_ORDER, state, strict=True)])
    values = [state, radius, state / radius, state / radius**2]
    return pd.DataFrame(dict(zip(_ION_PROPERTIES, values, strict=True)), index=list(MODIFIED_PETTIFOR_ORDER))


def _radius(symbol: str, state: float) -> float:
    """Return the radius of the nearest tabulated state, else the atomic radius, Angstrom."""
    element = Element(symbol)
    if element.ionic_radii:
        return float(element.ionic_radii[min(element.ionic_radii, key=lambda s: abs(s - state))])
    return float(element.atomic_radius or 1.0)


def _ion_statistics(kind: str, weights: np.ndarray, *, ions: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return statistics of ion properties, charge and volume per atom; ``weights`` (n, elements)."""
    total = weights.sum(axis=1)
    shares = weights / np.where(total > 0, total, np.nan)[:, None]
    found = {
        f"{kind}_{statistic}_{name}": values
        for name in _ION_PROPERTIES
        for statistic, values in weighted_statistics(np.nan_to_num(shares), ions[name].to_numpy()).items()
    }
    return found | {
        f"{kind}_share": total,
        f"{kind}_charge_per_atom": weights @ ions["state"].to_numpy(),
        f"{kind}_volume_angstrom3": weights @ ions["radius_angstrom"].to_numpy() ** 3,
    }


def _balance(columns: dict[str, np.ndarray], mobile: np.ndarray) -> dict[str, np.ndarray]:
    """Return how charge and size of the ions compare, each of shape (n,)."""
    anion_charge = -columns["anion_charge_per_atom"]
    volume = columns["anion_volume_angstrom3"]
    ratio = columns["cation_mean_radius_angstrom"] / columns["anion_mean_radius_angstrom"]
    return {
        "charge_imbalance_per_atom": mobile + columns["cation_charge_per_atom"] - anion_charge,
        "cation_to_anion_radius": ratio,
        "mobile_charge_share": mobile / np.where(anion_charge > 0, anion_charge, np.nan),
        "mobile_per_anion_volume": mobile / np.where(volume > 0, volume, np.nan),
    }


FORMULA_COLUMNS: tuple[str, ...] = tuple(formula_features(["Li3PS4"]).columns)
