"""How far the MEGNet properties can be believed: common crystals with measured values, beside a control.

Source of the values and of the models' published errors: `data/property_controls.yaml`.
"""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
import yaml
from pymatgen.core import Composition, Lattice, Structure

from sselib.errors import DataError
from sselib.paths import project_root
from sselib.screening.material_properties import EXPERIMENT, PropertyModels, band_gaps, material_properties
from sselib.validation.metrics import resample_counts

KJ_MOL_PER_EV = 96.485
# What is compared: property -> words with unit.
COMPARED: Mapping[str, str] = {
    "formation_energy_ev_atom": "formation energy / (eV/atom)",
    "band_gap_ev": "band gap, fidelity experiment / eV",
    "log10_bulk_modulus": "log10(bulk modulus / GPa)",
    "log10_shear_modulus": "log10(shear modulus / GPa)",
}
# What follows from a value of the file: field -> properties.
_DERIVED: Mapping[str, tuple[str, ...]] = {
    "formation_enthalpy_kj_mol": ("formation_energy_ev_atom",),
    "band_gap_ev": ("band_gap_ev",),
    "elastic_constants_gpa": ("log10_bulk_modulus", "log10_shear_modulus"),
}


def _content() -> Mapping[str, object]:
    return yaml.safe_load((project_root() / "data" / "property_controls.yaml").read_text(encoding="utf-8"))


def control_crystals() -> pd.DataFrame:
    """Return the crystals: formula, structure, and their measured properties (`COMPARED`; NaN if unknown)."""
    crystals = [{k: v for k, v in fields.items() if k != "compared"} for fields in _content()["crystals"]]
    return pd.DataFrame([_crystal(**fields) for fields in crystals])


def compared_sources() -> dict[tuple[str, str], str]:
    """Return the source that a measured value was compared with, by property and formula; others are missing.

    Raises `DataError` for a source that `data/property_controls.yaml` does not describe.
    """
    content, found = _content(), {}
    for fields in content["crystals"]:
        for name, source in fields.get("compared", {}).items():
            if source not in content["sources"] or name not in fields:
                raise DataError(f"{fields['formula']}: no source {source!r} or no value of {name}")
            found |= {(name, fields["formula"]): content["sources"][source] for name in _DERIVED[name]}
    return found


def _crystal(
    *,
    formula: str,
    prototype: str,
    a: float,
    c: float = float("nan"),
    formation_enthalpy_kj_mol: float = float("nan"),
    band_gap_ev: float = float("nan"),
    elastic_constants_gpa: tuple[float, float, float] | None = None,
) -> dict[str, object]:
    if prototype not in _PROTOTYPES:
        raise DataError(f"{formula}: no prototype {prototype!r}: expected one of {', '.join(_PROTOTYPES)}")
    bulk, shear = hill_moduli_gpa(*elastic_constants_gpa) if elastic_constants_gpa else (np.nan, np.nan)
    energy_ev = formation_enthalpy_kj_mol / KJ_MOL_PER_EV
    return {
        "formula": formula,
        "structure": _PROTOTYPES[prototype](formula, a, c),
        "formation_energy_ev_atom": energy_ev / Composition(formula).num_atoms,
        "band_gap_ev": band_gap_ev,
        "log10_bulk_modulus": np.log10(bulk),
        "log10_shear_modulus": np.log10(shear),
    }


def hill_moduli_gpa(c11: float, c12: float, c44: float) -> tuple[float, float]:
    """Return bulk and shear modulus of a polycrystal of a cubic material, GPa (Voigt-Reuss-Hill).

    Source: Hill, Proc. Phys. Soc. A 65, 349 (1952), doi 10.1088/0370-1298/65/5/307.
    """
    voigt = (c11 - c12 + 3 * c44) / 5
    reuss = 5 * (c11 - c12) * c44 / (4 * c44 + 3 * (c11 - c12))
    return (c11 + 2 * c12) / 3, (voigt + reuss) / 2


def _elements(formula: str) -> list[str]:
    return [el.symbol for el in Composition(formula).elements]


_CENTRED = np.array([(0, 0, 0), (0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0)])  # of an fcc lattice


def _fcc(*sites: tuple[int, float]) -> Callable[[str, float, float], Structure]:
    """Return a builder of a cubic F cell. A site: its element's number in the formula, and x of (x, x, x)."""

    def build(formula: str, a: float, _c: float) -> Structure:
        """Return the cubic crystal with edge ``a``, Angstrom."""
        species = [_elements(formula)[k] for k, _ in sites for _ in _CENTRED]
        positions = np.concatenate([_CENTRED + x for _, x in sites])
        return Structure(Lattice.cubic(a), species, positions)

    return build


def _hexagonal(*sites: tuple[int, tuple[float, float, float]]) -> Callable[[str, float, float], Structure]:
    """Return a builder of a hexagonal cell; a site is its element's number in the formula and a position."""

    def build(formula: str, a: float, c: float) -> Structure:
        """Return the hexagonal crystal with edges ``a`` and ``c``, Angstrom."""
        species = [_elements(formula)[k] for k, _ in sites]
        return Structure(Lattice.hexagonal(a, c), species, [position for _, position in sites])

    return build


def _corundum(formula: str, a: float, c: float) -> Structure:
    positions = [[0, 0, 0.352], [0.306, 0, 0.25]]
    return Structure.from_spacegroup("R-3c", Lattice.hexagonal(a, c), _elements(formula), positions)


_A, _B = (1 / 3, 2 / 3), (2 / 3, 1 / 3)
_PROTOTYPES: Mapping[str, Callable[[str, float, float], Structure]] = {
    "rock_salt": _fcc((0, 0.0), (1, 0.5)),
    "antifluorite": _fcc((0, 0.25), (0, 0.75), (1, 0.0)),
    "zinc_blende": _fcc((0, 0.0), (1, 0.25)),
    "diamond": _fcc((0, 0.0), (0, 0.25)),
    "wurtzite": _hexagonal((0, (*_A, 0.0)), (0, (*_B, 0.5)), (1, (*_A, 0.38)), (1, (*_B, 0.88))),
    "lithium_nitride": _hexagonal((0, (0, 0, 0.5)), (0, (*_A, 0.0)), (0, (*_B, 0.0)), (1, (0, 0, 0))),
    "corundum": _corundum,
}


def compare_properties(models: PropertyModels) -> pd.DataFrame:
    """Return one row per crystal and measured property: property, formula, measured, predicted, source.

    Band gaps are those at the fidelity of experiment; ``predicted`` is NaN where the models are missing.
    ``source`` is what the measured value was compared with, an empty text where it was not.
    """
    crystals = control_crystals()
    structures = dict(zip(crystals["formula"], crystals["structure"], strict=True))
    found = material_properties(structures, models)
    predicted = pd.DataFrame(
        {
            "formation_energy_ev_atom": found["formation_energy_ev_atom"],
            "band_gap_ev": band_gaps(list(structures.values()), models, fidelity=EXPERIMENT),
            "log10_bulk_modulus": np.log10(found["bulk_modulus_gpa"]),
            "log10_shear_modulus": np.log10(found["shear_modulus_gpa"]),
        },
        index=found.index,
    )
    keys, columns = ["property", "formula"], {"id_vars": "formula", "var_name": "property"}
    measured = crystals[["formula", *COMPARED]].melt(**columns, value_name="measured").dropna()
    found = predicted.rename_axis("formula").reset_index().melt(**columns, value_name="predicted")
    merged = measured.merge(found, on=keys, validate="one_to_one")[[*keys, "measured", "predicted"]]
    sources = compared_sources()
    return merged.assign(source=[sources.get(key, "") for key in merged[keys].itertuples(index=False)])


def property_errors(table: pd.DataFrame, *, n_bootstrap: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Return the mean absolute error per property with its 95 % interval, beside two numbers.

    ``table`` is that of `compare_properties`. ``mean_control``: the error of the mean of the other crystals;
    ``published_mae``: the model's own on held-out crystals, against DFT. Columns: property, n, mae, ci_low,
    ci_high, mean_control, published_mae, in the units of `COMPARED`; ``n_compared`` values were compared with
    their source.
    """
    published, rows = _content()["published_mae"], []
    for name in COMPARED:
        part = table[table["property"] == name]
        error = (part["predicted"] - part["measured"]).abs().to_numpy(float)
        y, n = part["measured"].to_numpy(float), len(part)
        maes = error @ resample_counts(n, n_bootstrap=n_bootstrap, seed=seed) / n
        control = np.abs(y - (y.sum() - y) / (n - 1)).mean()
        ends = np.quantile(maes[1:], [0.025, 0.975])
        n_compared = int((part["source"] != "").sum())
        rows.append((name, n, n_compared, maes[0], *ends, control, published[name]))
    columns = ["property", "n", "n_compared", "mae", "ci_low", "ci_high", "mean_control", "published_mae"]
    return pd.DataFrame(rows, columns=columns)
