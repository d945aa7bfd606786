"""Counterparts of the summary tables that the papers print about their data sets."""

from collections.abc import Sequence

import pandas as pd

from sselib.columns import Curated, Entry
from sselib.materials.composition import element_fractions
from sselib.materials.conductivity import CLASS_LIMITS
from sselib.materials.disorder import DisorderClass
from sselib.materials.structures import FINDINGS
from sselib.validation.clusters import composition_clusters
from sselib.validation.metrics import LOG_UNIT

# Kim et al., Table 5 and the text above it: 499 structures, generated ones included.
KIM_FAMILY_RATIOS: dict[str, float] = {
    "nasicon": 0.21,
    "garnet": 0.15,
    "perovskite": 0.12,
    "argyrodite": 0.12,
    "lisicon": 0.08,
    "thio_lisicon": 0.05,
}
KIM_CLASS_COUNTS: dict[str, int] = {"low": 186, "moderate": 146, "high": 103, "superionic": 64}
# McHaffie et al., Table 1: unique structures from the ICSD.
MCHAFFIE_COUNTS: dict[str, int] = {
    "materials with a structure": 548,
    "space groups": 72,
    "ordered": 112,
    "disordered": 436,
    "sigma of at least 1e-4 S/cm": 211,
    "sigma below 1e-4 S/cm": 337,
}

_N_SHOWN = 7  # ids that the table of findings names


def family_table(table: pd.DataFrame) -> pd.DataFrame:
    """Return rows and ratio of each family beside Kim et al.'s Table 5, the largest first."""
    counts = table[Curated.FAMILY].value_counts().rename_axis("family").reset_index(name="rows")
    published = counts["family"].map(KIM_FAMILY_RATIOS)
    return counts.assign(ratio=(counts["rows"] / len(table)).round(2), ratio_kim=published)


def class_table(table: pd.DataFrame) -> pd.DataFrame:
    """Return rows and share of each conductivity class beside Kim et al.'s 499 structures."""
    names = [*CLASS_LIMITS, "superionic", "undecided"]
    rows = table[Curated.CONDUCTIVITY_CLASS].value_counts().reindex(names, fill_value=0)
    published = pd.Series(KIM_CLASS_COUNTS).reindex(names).astype("Int64")
    return pd.DataFrame(
        {
            "class": names,
            "rows": rows.to_numpy(),
            "share": (rows / len(table)).round(2).to_numpy(),
            "rows_kim": published.to_numpy(),
            "share_kim": (published / published.sum()).round(2).to_numpy(),
        }
    )


def structure_table(table: pd.DataFrame) -> pd.DataFrame:
    """Return the counts of McHaffie et al.'s Table 1 for the rows with a structure."""
    rows = table.dropna(subset=[Curated.DISORDER_CLASS])
    ordered = int((rows[Curated.DISORDER_CLASS] == DisorderClass.NONE).sum())
    found = {
        "materials with a structure": len(rows),
        "space groups": rows[Entry.SPACE_GROUP_NUMBER].nunique(),
        "ordered": ordered,
        "disordered": len(rows) - ordered,
        "sigma of at least 1e-4 S/cm": int(rows[Curated.SUPERIONIC].fillna(False).sum()),
        "sigma below 1e-4 S/cm": int((~rows[Curated.SUPERIONIC].fillna(True)).sum()),
    }
    return pd.DataFrame(
        [(k, v, MCHAFFIE_COUNTS[k]) for k, v in found.items()], columns=["what", "here", "McHaffie"]
    )


def finding_table(table: pd.DataFrame) -> pd.DataFrame:
    """Return how many structures have each quality finding, and the ids of the first."""
    flags = table[Curated.STRUCTURE_FLAGS].str.split(";")
    rows = []
    for name, meaning in FINDINGS.items():
        ids = table.loc[flags.map(lambda found, name=name: name in found), Entry.SOURCE_ID]
        more = " ..." if len(ids) > _N_SHOWN else ""
        rows.append((name, len(ids), meaning, " ".join(ids[:_N_SHOWN]) + more))
    return pd.DataFrame(rows, columns=["finding", "structures", "meaning", "source ids"])


def cluster_table(table: pd.DataFrame, *, seeds: Sequence[int]) -> pd.DataFrame:
    """Return how the clusters of composition change with the seed of the map, one row per seed.

    The content of the unit cell is used where known, because it is exact: rounding mole fractions in
    the sixth decimal, as the column ``composition`` does, is enough to change the clusters.
    """
    formulas = table[Entry.CELL_FORMULA].fillna(table[Entry.COMPOSITION])
    fractions = element_fractions(list(formulas)).to_numpy()
    superionic = table[Curated.SUPERIONIC].fillna(False).to_numpy(dtype=bool)
    rows = []
    for seed in seeds:
        labels = pd.Series(composition_clusters(fractions, seed=seed).labels)
        clustered = labels[labels >= 0]
        sizes, hits = clustered.value_counts(), pd.Series(superionic).groupby(clustered).sum()
        rows.append(
            (seed, len(sizes), sizes.min(), sizes.max(), int((hits == 0).sum()), int((labels < 0).sum()))
        )
    names = [
        "seed",
        "clusters",
        "smallest",
        "largest",
        "clusters without a superionic row",
        "rows in no cluster",
    ]
    return pd.DataFrame(rows, columns=names)


def answer_lines(
    curated: pd.DataFrame, counts: pd.DataFrame, noise: pd.DataFrame, leakage: pd.DataFrame
) -> list[str]:
    """Return the answer of notebook 01: what is usable, how noisy it is, and what splits leak."""
    strict = (noise["grouping"] == "composition and space group") & (noise["measure"] == "mean_abs_deviation")
    floor = noise[strict].dropna(subset=["value"]).nlargest(1, "n_groups")
    near = leakage[leakage["criterion"] == "within 5% in composition"].set_index("protocol")["share"]
    structures = int(curated[Curated.DISORDER_CLASS].notna().sum())
    fast = curated[Curated.SUPERIONIC].fillna(False).mean()
    noisy = [
        f"Repeats of one polymorph ({r.n_groups} in {r.source}) lie on average {r.value:.2f} log units from "
        f"their median ({r.ci_low:.2f} to {r.ci_high:.2f}): no model can honestly be more accurate."
        for r in floor.itertuples()
    ]
    return [
        f"{len(curated)} of {counts['input'].sum()} input rows are materials with a usable label, "
        f"{structures} of them with a structure; {fast:.0%} reach 1e-4 S/cm.",
        *(noisy or ["No source of this run measures one polymorph twice, so it gives no noise floor."]),
        f"{near.get('random_stratified', float('nan')):.0%} of a random test set have a training row within "
        f"5 % in composition, against {near.min():.0%} in {near.idxmin()}: partly a test of memory.",
    ]


def metric_records(noise: pd.DataFrame, leakage: pd.DataFrame, *, seed: int) -> list[dict[str, object]]:
    """Return the label noise and the leakage as records of `metrics.json`; what has no value is left out."""
    common = {"model": "none", "features": "none", "seed": seed}
    records = [
        {**common, "dataset": r.source, "protocol": f"repeats of {r.grouping}", 
         "metric": f"noise_{r.measure}",
         "value": r.value, "ci_low": r.ci_low, "ci_high": r.ci_high, "n": r.n_measurements, "unit": LOG_UNIT}
        for r in noise.dropna(subset=["value"]).itertuples()]  # fmt: skip
    records += [
        {**common, "dataset": "audited rows", "protocol": r.protocol, "metric": f"leakage: {r.criterion}",
         "value": r.share, "ci_low": r.ci_low, "ci_high": r.ci_high, "n": r.n, "unit": "1"}
        for r in leakage.dropna(subset=["share"]).itertuples()]  # fmt: skip
    return records
