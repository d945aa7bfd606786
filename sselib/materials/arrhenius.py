"""Room-temperature equivalents of conductivities measured at other temperatures.

Between two temperatures sigma T = A exp(-Ea / k T) with one activation energy per family, taken from
compounds measured at several temperatures. A family with few of them is drawn towards the energy of all.
Source: standard; for instance Ohno et al., ACS Energy Lett. 5, 910 (2020), doi 10.1021/acsenergylett.9b02764.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from sselib.columns import Curated, Entry
from sselib.errors import DataError
from sselib.materials.composition import element_fractions, l1_distances
from sselib.materials.families import normalise_family

BOLTZMANN_EV_K = 8.617333e-5  # CODATA 2018
ROOM_K = 298.15
_ZERO_C_K = 273.15
_PRIOR_ROWS = 20  # rows of a family that weigh as much as the energy of all families
_NEW_L1 = 0.02  # a composition this close to a labelled one has a label already
_HEAT = "inverse_heat"  # 1 / (k T ln 10), 1/eV


@dataclass(frozen=True)
class Activation:
    """Activation energies in eV: of all rows, and by family; ``n_rows`` behind them."""

    overall_ev: float
    by_family_ev: dict[str, float]
    n_rows: int

    def of(self, family: str) -> float:
        """Return the energy of a family, that of all rows where the family has none of its own."""
        return self.by_family_ev.get(family, self.overall_ev)


def activation_energies(entries: pd.DataFrame) -> Activation:
    """Return activation energies from compositions measured at two or more temperatures.

    ``entries`` has the columns of `Entry`. Upper bounds and rows without a temperature are left out. Raises
    `DataError` where no composition has two temperatures.
    """
    rows = _usable(entries)
    several = rows.groupby(Entry.COMPOSITION)[_HEAT].transform("nunique") > 1
    rows = rows[several]
    if rows.empty:
        raise DataError("no composition was measured at two temperatures: no activation energy can be had")
    centred = rows[[_HEAT, "y"]] - rows.groupby(Entry.COMPOSITION)[[_HEAT, "y"]].transform("mean")
    products = pd.DataFrame({"xy": -centred[_HEAT] * centred["y"], "xx": centred[_HEAT] ** 2})
    overall = products["xy"].sum() / products["xx"].sum()
    sums = products.groupby(rows[Curated.FAMILY]).sum()
    prior = _PRIOR_ROWS * products["xx"].mean()
    by_family = (sums["xy"] + prior * overall) / (sums["xx"] + prior)
    return Activation(float(overall), {str(f): float(e) for f, e in by_family.items()}, len(rows))


def room_temperature_rows(
    entries: pd.DataFrame,
    labelled: pd.DataFrame,
    *,
    low_c: float = 20.0,
    high_c: float = 34.0,
    hottest_c: float = 400.0,
) -> pd.DataFrame:
    """Return compositions that were measured at other temperatures only, with their equivalent at 25 deg C.

    ``labelled`` are the curated rows: compositions within 0.02 (L1) of one of them are left out, and so is
    what was measured above ``hottest_c``. Of a composition the measurement nearest to room temperature
    counts. Columns: id, composition, doi, family, temperature_c, log10_sigma in log10(S/cm) at 25 deg C.
    """
    energies = activation_energies(entries)
    rows = _usable(entries)
    celsius = rows[Entry.TEMPERATURE_C]
    rows = rows[~celsius.between(low_c, high_c) & (celsius <= hottest_c)]
    order = (rows[Entry.TEMPERATURE_C] - 25).abs().sort_values(kind="stable").index
    rows = rows.loc[order].drop_duplicates(Entry.COMPOSITION).reset_index(drop=True)
    known = element_fractions(list(labelled[Entry.COMPOSITION])).to_numpy()
    far = (
        l1_distances(element_fractions(list(rows[Entry.COMPOSITION])).to_numpy(), known).min(axis=1) > _NEW_L1
    )
    rows = rows[far].reset_index(drop=True)
    energy = np.array([energies.of(f) for f in rows[Curated.FAMILY]])
    at_room = rows["y"] - energy * (_inverse_heat(ROOM_K) - rows[_HEAT]) - np.log10(ROOM_K)
    columns = [Entry.ID, Entry.COMPOSITION, Entry.DOI, Curated.FAMILY, Entry.TEMPERATURE_C]
    return rows[columns].assign(**{Entry.LOG10_SIGMA: at_room})


def _usable(entries: pd.DataFrame) -> pd.DataFrame:
    """Return rows with value, temperature and lithium; ``y`` is log10(sigma T), ``inverse_heat`` 1/eV."""
    known = entries[Entry.TEMPERATURE_C].notna() & entries[Entry.LOG10_SIGMA].notna()
    rows = entries[known & ~entries[Entry.CENSORED].astype(bool)]
    rows = rows[rows[Entry.COMPOSITION].str.contains(r"\bLi", na=False)]
    kelvin = rows[Entry.TEMPERATURE_C] + _ZERO_C_K
    pairs = zip(rows[Entry.FAMILY_RAW], rows[Entry.COMPOSITION], strict=True)
    return rows.assign(
        **{
            "y": rows[Entry.LOG10_SIGMA] + np.log10(kelvin),
            _HEAT: _inverse_heat(kelvin),
            str(Curated.FAMILY): [str(normalise_family(raw, formula)) for raw, formula in pairs],
        }
    )


def _inverse_heat(kelvin: float | pd.Series) -> float | pd.Series:
    return 1 / (BOLTZMANN_EV_K * np.log(10) * kelvin)
