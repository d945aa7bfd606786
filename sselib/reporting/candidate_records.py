"""Everything that is known of a candidate, as a plain record for its page in the report.

Notebook 07 writes the records, `sselib.reporting.candidate_pages` reads them for `sse report`.
"""

import json
from collections.abc import Mapping, Sequence

import pandas as pd

from sselib.columns import Entry
from sselib.figures import house_style
from sselib.plots.screening import waterfall
from sselib.screening.explanation import Explanation, with_unit
from sselib.screening.filters import FilterSettings, filter_details

_FORMULA_ENDS = ("sigma_formula_lower", "sigma_formula_upper")

# What a page lists: words with unit, column, format, and the columns of an interval or of a spread.
SCORES: Sequence[tuple[str, str, str, tuple[str, ...]]] = (
    ("log10(σ / S cm⁻¹) at room temperature", "log10_sigma", ".2f", ("lower", "upper")),
    (
        "the same from the formula alone",
        "sigma_formula",
        ".2f",
        ("sigma_formula_lower", "sigma_formula_upper"),
    ),
    ("P(superionic), σ ≥ 10⁻⁴ S cm⁻¹", "p_superionic", ".3f", ("p_superionic_sd",)),
    ("the same from the formula alone", "p_formula", ".3f", ("p_formula_sd",)),
    ("distance to the nearest composition of the superionic model (L1, 0 to 2)", "d_training", ".2f", ()),
    ("distance to the nearest training composition (L1, 0 to 2)", "d_composition", ".3f", ()),
    ("band gap (MEGNet, PBE) / eV", "band_gap_ev", ".2f", ("band_gap_sd_ev",)),
    ("formation energy (MEGNet) / (eV atom⁻¹)", "formation_energy_ev_atom", ".2f", ()),
    ("energy above the hull / (eV atom⁻¹)", "energy_above_hull_ev_atom", ".3f", ()),
    ("bulk modulus (MEGNet) / GPa", "bulk_modulus_gpa", ".0f", ()),
    ("shear modulus (MEGNet) / GPa", "shear_modulus_gpa", ".0f", ()),
    ("density / (g cm⁻³)", "density_g_cm3", ".2f", ()),
    ("cost of the elements / (USD kg⁻¹)", "element_cost_usd_kg", ".0f", ()),
    ("toxic elements", "toxic_elements", "", ()),
    ("critical raw materials", "critical_elements", "", ()),
    ("charge imbalance per atom / e", "imbalance_per_atom", ".3f", ()),
    ("data-mined probability of the substitution", "probability", ".3f", ()),
    ("Pareto front", "pareto_front", "", ()),
    ("score (weighted mean of ranks, 0 to 1)", "score", ".3f", ()),
)
_NOTES = {
    "sigma_model": "conductivity by the model",
    "note": "from the formula",
    "structure_note": "from the structure",
    "property_note": "MEGNet",
    "relaxation": "geometry",
}


def page_records(
    rows: pd.DataFrame, explanations: Sequence[Explanation], settings: FilterSettings
) -> list[dict[str, object]]:
    """Return one record per row of a ranked list and its explanation, ready for JSON.

    ``rows`` has the columns of notebook 07's ranked list; a score that it lacks, or that has no value, is
    left out of the record. Raises `ValueError` where rows and explanations differ in number.
    """
    return [
        {
            "rank": int(row["rank"]),
            "id": row["id"],
            "formula": row["formula"],
            "origin": _origin(row),
            "sentence": found.sentence,
            "scores": _scores(row),
            "filters": filter_details(row, settings).to_dict("records"),
            "nearest": _nearest(found.nearest),
            "outside": [{**r, "feature": with_unit(r["feature"])} for r in found.outside.to_dict("records")],
            "notes": [f"{origin}: {row[c]}" for c, origin in _NOTES.items() if _has_value(row.get(c))],
            "waterfall": json.loads(house_style(waterfall(found)).to_json()),
        }
        for row, found in zip(rows.to_dict("records"), explanations, strict=True)
    ]


def _origin(row: Mapping[str, object]) -> str:
    """Return how the candidate was made, in words."""
    host = f"from {row['parent']}" if row["parent"] else ""
    return ", ".join(filter(None, (str(row["source"]), str(row["change"]), host)))


def _has_value(value: object) -> bool:
    return value is not None and value is not pd.NA and value == value and value != ""


def _scores(row: Mapping[str, object]) -> list[dict[str, str]]:
    found = []
    for label, column, spec, ends in SCORES:
        if not _has_value(row.get(column)):
            continue
        values = [format(row[c], spec) for c in ends if _has_value(row.get(c))]
        around = f"{values[0]} to {values[1]}" if len(values) == 2 else "".join(f"± {v}" for v in values)
        found.append({"label": label, "value": format(row[column], spec), "interval": around})
    return found


def _nearest(nearest: pd.DataFrame) -> list[dict[str, object]]:
    """Return formula, id, measured value in words and distance of each training compound."""
    return [
        {
            "formula": row[Entry.FORMULA],
            "id": row[Entry.ID],
            "measured": f"{'≤ ' if row[Entry.CENSORED] else ''}{row[Entry.LOG10_SIGMA]:.2f}",
            "distance": f"{row['distance']:.3f}",
        }
        for row in nearest.to_dict("records")
    ]
