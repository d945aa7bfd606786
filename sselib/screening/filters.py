"""Filters of a screening: what a candidate must pass, and which filter dropped it.

The first three are those of McHaffie et al., Digital Discovery 4, 1518 (2025), doi 10.1039/d5dd00052a,
section 2.4: band gap above 1 eV, novelty, no intermetallics. A filter judges only what is known: a missing
value drops nothing and is named in ``not_judged``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from pymatgen.core import Element

from sselib.materials.composition import parse_formula

_BLOCK = 500  # candidates compared with the training compositions at a time


@dataclass(frozen=True)
class FilterSettings:
    """Limits of the filters; None switches one off.

    ``min_band_gap_ev`` (eV, PBE-like), ``novelty_tolerance`` (relative, per element; see `is_known`),
    ``drop_open_d_shell`` (ions with a partly filled d shell, which conduct electrons, such as Rh4+),
    ``max_imbalance_per_atom`` (elementary charges), ``max_lithium_filling`` (of what the lithium sites can
    hold, see `sselib.materials.lithium_sites`), ``min_d_better`` (L1 of a proposal to a better one),
    ``min_d_composition`` (L1, 0 to 2: a wider novelty), ``max_element_cost_usd_kg``,
    ``max_energy_above_hull_ev_atom``; ``excluded_elements`` are symbols the user does not want.
    """

    min_band_gap_ev: float | None = 1.0
    novelty_tolerance: float | None = 0.05
    drop_intermetallics: bool = True
    drop_radioactive: bool = True
    drop_toxic: bool = False
    drop_open_d_shell: bool = True
    max_imbalance_per_atom: float | None = 0.02
    max_lithium_filling: float | None = 1.005
    min_d_better: float | None = 0.05
    min_d_composition: float | None = None
    max_element_cost_usd_kg: float | None = None
    max_energy_above_hull_ev_atom: float | None = None
    excluded_elements: Sequence[str] = field(default_factory=tuple)


@dataclass(frozen=True)
class Rule:
    """One filter: the column that it reads, the setting that it compares with, how a value passes, its unit.

    With "no" a value passes that is false or an empty text; ``is_flag``: whatever ``passes`` says.
    """

    column: str
    setting: str = ""
    passes: str = "no"
    unit: str = ""
    is_flag: bool = False


_RULES: Mapping[str, Rule] = {
    "cannot be read": Rule("problem"),
    "charge not balanced": Rule("imbalance_per_atom", "max_imbalance_per_atom", "at most", "e per atom"),
    "intermetallic": Rule("is_intermetallic", "drop_intermetallics"),
    "open d shell": Rule("open_d_shell_ions", "drop_open_d_shell"),
    "more lithium than its sites hold": Rule("lithium_filling", "max_lithium_filling", "at most"),
    "known": Rule("is_known", "novelty_tolerance"),
    "band gap": Rule("band_gap_ev", "min_band_gap_ev", "at least", "eV"),
    "radioactive": Rule("radioactive_elements", "drop_radioactive"),
    "toxic": Rule("toxic_elements", "drop_toxic"),
    "unwanted element": Rule("formula", "excluded_elements", "none of"),
    "close to training": Rule("d_composition", "min_d_composition", "at least", "(L1)"),
    "cost": Rule("element_cost_usd_kg", "max_element_cost_usd_kg", "at most", "USD/kg"),
    "energy above hull": Rule(
        "energy_above_hull_ev_atom", "max_energy_above_hull_ev_atom", "at most", "eV/atom"
    ),
    "variant of a better one": Rule(
        "variant_of", "min_d_better", "at least", "(L1) from a better one", is_flag=True
    ),
    "not among the best by formula": Rule("left_out"),
}


def is_intermetallic(formula: str) -> bool:
    """Return whether every element is a metal; B, Si, Ge, As, Sb and Te count as non-metals.

    So LiCaAs, LiSrAlSb2 and LiBSi2 of McHaffie et al.'s Table 2 pass, as they did there.
    """
    return all(Element(el.symbol).is_metal for el in parse_formula(formula).elements)


def open_d_shell_ions(states: Mapping[str, float]) -> str:
    """Return the ions whose d shell is neither empty nor full, such as "Rh4+", joined by a blank.

    ``states`` are oxidation states by element. Such ions change their charge or share their electrons, so
    that a solid conducts electrons as well; an average state counts as partly filled. Metals (state 0 or
    below) and f electrons are not judged.
    """
    found = []
    for symbol, state in states.items():
        element = Element(symbol)
        if element.is_transition_metal and not element.is_rare_earth and state > 0:
            electrons = element.group - state
            if 0.05 < electrons < 9.95:
                found.append(f"{symbol}{state:.3g}+")
    return " ".join(found)


def is_known(fractions: np.ndarray, training: np.ndarray, *, tolerance: float = 0.05) -> np.ndarray:
    """Return which compositions are known, (n,): every element within 5 % of one training composition.

    ``fractions`` (n, elements) and ``training`` (m, elements) are mole fractions. "Within 5 %" is read as
    relative to the training fraction, element by element, so an element that is new, or gone, makes a
    composition novel. That reading lets Li9.9SnP2S11.9Cl0.1 pass beside Li10SnP2S12, as in their Table 2.
    """
    margin = tolerance * training + 1e-6
    known = np.zeros(len(fractions), dtype=bool)
    for start in range(0, len(fractions), _BLOCK):
        block = fractions[start : start + _BLOCK]
        close = np.ones((len(block), len(training)), dtype=bool)
        for k in np.flatnonzero((training > 0).any(axis=0) | (block > 0).any(axis=0)):
            close &= np.abs(block[:, k, None] - training[None, :, k]) <= margin[None, :, k]
        known[start : start + _BLOCK] = close.any(axis=1)
    return known


def apply_filters(scores: pd.DataFrame, settings: FilterSettings) -> pd.DataFrame:
    """Return the scores with ``dropped_by``, ``not_judged`` (both joined by "; ") and ``kept``.

    Every filter judges every row, so that ``dropped_by`` names all that would drop it. Columns that
    ``scores`` lacks judge nothing and make their filter unable to judge any row.
    """
    dropped = np.full((len(scores), len(_RULES)), False)
    unknown = np.full_like(dropped, False)
    seen = scores.assign(
        formula=scores["formula"].where(scores["problem"] == ""),
        variant_of=scores["variant_of"].fillna("") if "variant_of" in scores else "",
        left_out=_left_out(scores),
    )
    for j, rule in enumerate(_RULES.values()):
        limit = getattr(settings, rule.setting) if rule.setting else True
        if _is_on(limit):
            found = _dropped(rule, seen, limit)
            dropped[:, j] = found.fillna(False).to_numpy(bool)
            unknown[:, j] = found.isna().to_numpy()
    names = np.array(list(_RULES))
    return scores.assign(
        dropped_by=["; ".join(names[row]) for row in dropped],
        not_judged=["; ".join(names[row]) for row in unknown],
        kept=~dropped.any(axis=1),
    )


def _is_on(limit: object) -> bool:
    return limit is not None and limit is not False and limit not in ((), [])


def _left_out(scores: pd.DataFrame) -> pd.Series | bool:
    """Return whose structure could have been scored and was not, once others were."""
    if "scored_from" not in scores or not (scores["scored_from"] == "structure").any():
        return False
    return scores["has_structure"] & (scores["scored_from"] == "formula")


def _dropped(rule: Rule, scores: pd.DataFrame, limit: object) -> pd.Series:
    """Return whom a rule drops, missing where it cannot judge."""
    values = scores[rule.column] if rule.column in scores else pd.Series(np.nan, index=scores.index)
    if rule.passes == "none of":
        unwanted = set(limit)
        found = values.map(
            lambda f: bool(unwanted & {e.symbol for e in parse_formula(f)}), na_action="ignore"
        )
    elif rule.passes == "no" or rule.is_flag:
        found = values.map(bool, na_action="ignore")
    else:
        found = values < limit if rule.passes == "at least" else values > limit
    return found.astype("boolean").where(values.notna(), pd.NA)


def filter_details(row: Mapping[str, object], settings: FilterSettings) -> pd.DataFrame:
    """Return what each filter that is on says of one row of `apply_filters`.

    Columns: filter; value and limit as text; verdict ("passes", "drops" or "not judged").
    """
    dropped, unknown = str(row["dropped_by"]).split("; "), str(row["not_judged"]).split("; ")
    found = []
    for name, rule in _RULES.items():
        limit = getattr(settings, rule.setting) if rule.setting else None
        if name in dropped or _is_on(limit):
            verdict = "drops" if name in dropped else "not judged" if name in unknown else "passes"
            found.append((name, _shown(row.get(rule.column)), _limit_text(rule, limit), verdict))
    return pd.DataFrame(found, columns=["filter", "value", "limit", "verdict"])


def _shown(value: object) -> str:
    """Return a value as text: three digits, yes or no, a dash where there is none."""
    if pd.isna(value) or value == "":
        return "–"
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    return value if isinstance(value, str) else f"{round(float(value), 4):.3g}"


def _limit_text(rule: Rule, limit: object) -> str:
    """Return the limit of a rule in words; a flag's limit is how it passes."""
    if rule.passes == "no":
        return rule.passes
    shown = " ".join(limit) if rule.passes == "none of" else f"{limit:g} {rule.unit}".strip()
    return f"{rule.passes} {shown}"


def filter_summary(filtered: pd.DataFrame) -> pd.DataFrame:
    """Return per filter how many rows it drops, how many only it drops, and how many it could not judge."""
    drops, unknown = (
        filtered[column].str.get_dummies("; ").reindex(columns=list(_RULES), fill_value=0)
        for column in ("dropped_by", "not_judged")
    )
    alone = drops[drops.sum(axis=1) == 1]
    table = pd.DataFrame({"drops": drops.sum(), "drops_alone": alone.sum(), "not_judged": unknown.sum()})
    return table[table[["drops", "not_judged"]].any(axis=1)].rename_axis("filter").reset_index()
