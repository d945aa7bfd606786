"""Schemas of the tables that pass between notebooks, checked when written and when read.

`validate` turns what pandera reports into one `SchemaError` that names the table, the column, the
rows, what was found and what was expected. Extra columns are refused, so that a misspelt one shows.
"""

import numpy as np
import pandas as pd
import pandera.pandas as pa
from pandera.errors import SchemaErrors

from sselib.columns import Audit, ClassPrediction, Curated, Entry, Prediction, Reject, StructureTable
from sselib.errors import SchemaError
from sselib.materials.conductivity import CLASS_LIMITS, LOG10_SIGMA_MAX, LOG10_SIGMA_MIN
from sselib.materials.disorder import DisorderClass
from sselib.materials.families import Family

_N_SHOWN = 5  # failing rows that an error names


def text(*, required: bool = False, unique: bool = False, among: tuple[str, ...] = ()) -> pa.Column:
    """Return a column of text; unless ``required`` it may be missing. ``among`` lists what it may hold."""
    expected = f"one of {', '.join(among)}" if among else "text"
    check = pa.Check(
        lambda s: s.map(lambda v: isinstance(v, str) and (not among or v in among)),
        error=expected,
        ignore_na=True,
    )
    return pa.Column(None, check, nullable=not required, unique=unique)


def number(
    low: float | None = None, high: float | None = None, *, required: bool = False, dtype: str = "float64"
) -> pa.Column:
    """Return a column of numbers between ``low`` and ``high`` (both allowed, None: no limit)."""
    checks = [pa.Check.ge(low, error=f"a value of at least {low}")] if low is not None else []
    checks += [pa.Check.le(high, error=f"a value of at most {high}")] if high is not None else []
    return pa.Column(dtype, checks, nullable=not required)


def flag() -> pa.Column:
    """Return a column that holds True or False in every row."""
    return pa.Column(bool)


ENTRY_COLUMNS: dict[str, pa.Column] = {
    Entry.ID: text(required=True, unique=True),
    Entry.SOURCE: text(required=True),
    Entry.SOURCE_ID: text(required=True),
    Entry.FORMULA: text(required=True),
    Entry.COMPOSITION: text(required=True),
    Entry.LOG10_SIGMA: number(LOG10_SIGMA_MIN, LOG10_SIGMA_MAX, required=True),
    Entry.CENSORED: flag(),
    Entry.TEMPERATURE_C: number(-273.15, 3000),
    Entry.DOI: text(),
    Entry.FAMILY_RAW: text(),
    Entry.CONDUCTIVITY_KIND: text(required=True, among=("bulk", "total", "unknown")),
    Entry.SPACE_GROUP_SYMBOL: text(),
    Entry.SPACE_GROUP_NUMBER: number(1, 230, dtype="Int64"),
    Entry.A_ANGSTROM: number(0.5, 1000),
    Entry.B_ANGSTROM: number(0.5, 1000),
    Entry.C_ANGSTROM: number(0.5, 1000),
    Entry.ALPHA_DEG: number(1, 179),
    Entry.BETA_DEG: number(1, 179),
    Entry.GAMMA_DEG: number(1, 179),
    Entry.CELL_FORMULA: text(),
    Entry.STRUCTURE_ID: text(),
    Entry.CLOSE_MATCH: flag(),
    Entry.OFFICIAL_SPLIT: text(among=("train", "test")),
    Entry.SAME_AS: text(),
    Entry.NOTE: text(),
}

ENTRIES = pa.DataFrameSchema(ENTRY_COLUMNS, strict=True, name="entries")

REJECTS = pa.DataFrameSchema(
    {
        Reject.SOURCE: text(required=True),
        Reject.SOURCE_ID: text(),
        Reject.ROW: number(1, dtype="Int64"),
        Reject.REASON: text(required=True),
        Reject.TEXT: text(),
    },
    strict=True,
    name="rejects",
)

STRUCTURES = pa.DataFrameSchema(
    {
        StructureTable.STRUCTURE_ID: text(required=True, unique=True),
        StructureTable.STRUCTURE_JSON: text(required=True),
        StructureTable.SOURCE: text(required=True),
        StructureTable.SHA256: text(required=True),
        StructureTable.ORIGIN: text(required=True),
    },
    strict=True,
    name="structures",
)


CURATED = pa.DataFrameSchema(
    {
        **ENTRY_COLUMNS,
        Curated.FAMILY: text(required=True, among=tuple(Family)),
        Curated.CHEMICAL_SYSTEM: text(required=True),
        Curated.CONDUCTIVITY_CLASS: text(required=True, among=(*CLASS_LIMITS, "superionic", "undecided")),
        Curated.SUPERIONIC: pa.Column("boolean", nullable=True),
        Curated.DISORDER_CLASS: text(among=tuple(DisorderClass)),
        Curated.N_MEASUREMENTS: number(1, required=True, dtype="int64"),
        Curated.LABEL_STD: number(0),
        Curated.MERGED_IDS: text(required=True),
        Curated.DUPLICATE_GROUP: number(0, required=True, dtype="int64"),
        Curated.CLUSTER: number(-1, required=True, dtype="int64"),
        Curated.MAP_X: number(required=True),
        Curated.MAP_Y: number(required=True),
        Curated.STRUCTURE_FLAGS: text(required=True),
    },
    strict=True,
    name="curated",
)

MEASUREMENTS = pa.DataFrameSchema({**ENTRY_COLUMNS, "merged_into": text()}, strict=True, name="measurements")

AUDIT = pa.DataFrameSchema(
    {
        Audit.SOURCE: text(required=True),
        Audit.SOURCE_ID: text(),
        Audit.ACTION: text(required=True, among=("kept", "merged", "dropped", "rejected")),
        Audit.REASON: text(required=True),
        Audit.INTO: text(),
    },
    strict=True,
    name="audit",
)

_INTERVAL = {"value": number(), "ci_low": number(), "ci_high": number()}
NOISE = pa.DataFrameSchema(
    {
        "source": text(required=True),
        "grouping": text(required=True),
        "measure": text(required=True),
        **_INTERVAL,
        "n_groups": number(0, required=True, dtype="int64"),
        "n_measurements": number(0, required=True, dtype="int64"),
    },
    strict=True,
    name="noise",
)

LEAKAGE = pa.DataFrameSchema(
    {
        "protocol": text(required=True),
        "criterion": text(required=True),
        "share": number(0, 1),
        "ci_low": number(0, 1),
        "ci_high": number(0, 1),
        "n": number(0, required=True, dtype="int64"),
    },
    strict=True,
    name="leakage",
)

PREDICTIONS = pa.DataFrameSchema(
    {
        Prediction.ID: text(required=True),
        Prediction.DATASET: text(required=True),
        Prediction.MODEL: text(required=True),
        Prediction.FEATURES: text(required=True),
        Prediction.PROTOCOL: text(required=True),
        Prediction.REPEAT: number(0, required=True, dtype="int64"),
        Prediction.FOLD: number(0, required=True, dtype="int64"),
        Prediction.Y_TRUE: number(-25, 3, required=True),
        Prediction.CENSORED: flag(),
        Prediction.Y_PRED: number(-30, 10, required=True),
        Prediction.LOWER: number(),
        Prediction.UPPER: number(),
        Prediction.P_SUPERIONIC: number(0, 1),
    },
    strict=True,
    name="predictions",
    unique=[
        Prediction.DATASET,
        Prediction.MODEL,
        Prediction.FEATURES,
        Prediction.PROTOCOL,
        Prediction.REPEAT,
        Prediction.ID,
    ],
)

CLASS_PREDICTIONS = pa.DataFrameSchema(
    {
        **{c: text(required=True) for c in list(ClassPrediction)[:5]},
        ClassPrediction.REPEAT: number(0, required=True, dtype="int64"),
        ClassPrediction.FOLD: number(0, required=True, dtype="int64"),
        ClassPrediction.LOG10_SIGMA: number(LOG10_SIGMA_MIN, LOG10_SIGMA_MAX, required=True),
        ClassPrediction.SUPERIONIC: flag(),
        ClassPrediction.P_SUPERIONIC: number(0, 1, required=True),
    },
    strict=True,
    name="class predictions",
    unique=["dataset", "model", "features", "protocol", "repeat", "id"],
)

METRICS = pa.DataFrameSchema(
    {
        **{c: text(required=True) for c in ("dataset", "model", "features", "protocol", "metric")},
        "value": number(required=True),
        "ci_low": number(),
        "ci_high": number(),
        "n": number(1, required=True, dtype="int64"),
        "unit": text(required=True, among=("log10(S/cm)", "1")),
        "seed": number(required=True, dtype="int64"),
    },
    strict=True,
    name="metrics",
    unique=["dataset", "model", "features", "protocol", "metric"],
)


FEATURES = pa.DataFrameSchema(
    {
        Entry.ID: text(required=True, unique=True),
        "^(?!id$).+": pa.Column(
            "float64", pa.Check(np.isfinite, error="a finite number or NaN"), nullable=True, regex=True
        ),
    },
    strict=True,
    name="features",
)

FEATURE_GROUPS = pa.DataFrameSchema(
    {
        "feature": text(required=True, unique=True),
        "group": text(
            required=True,
            among=(
                "stoichiometric",
                "elemental",
                "geometric",
                "pores",
                "lattice_invariant",
                "disorder",
                "symmetry",
            ),
        ),
        "kim": flag(),
        "unit": text(required=True),
        "description": text(required=True),
    },
    strict=True,
    name="feature groups",
)

FAILURES = pa.DataFrameSchema(
    {
        Entry.ID: text(required=True),
        "block": text(required=True, among=("structure", "lattice", "pores", "disorder", "symmetry")),
        "reason": text(required=True),
    },
    strict=True,
    name="failures",
)

GENERATED = pa.DataFrameSchema(
    {
        "id": text(required=True, unique=True),
        "formula": text(required=True),
        "n_atoms": number(1, required=True, dtype="int64"),
        "enthalpy_ev_atom": number(required=True),
        "energy_ev_atom": number(required=True),
        "pressure_gpa": number(required=True),
        "volume_angstrom3_atom": number(0, required=True),
        "space_group_number": number(1, 230, required=True, dtype="int64"),
        "plausible": flag(),
        "potential": text(required=True),
        "provenance": text(required=True),
        "structure_json": text(required=True),
    },
    strict=True,
    name="generated structures",
)


def validate(table: pd.DataFrame, schema: pa.DataFrameSchema, *, what: str) -> pd.DataFrame:
    """Return ``table`` if it fits ``schema``, else raise one `SchemaError`.

    ``what`` names the table for the reader, for example "01_curation/curated.parquet". The error
    lists every column that fails with its first rows (0-based), what they hold and what was expected.
    """
    try:
        return schema.validate(table, lazy=True)
    except SchemaErrors as error:
        groups = _first_causes(error.failure_cases).groupby(["column", "check"], dropna=False, sort=False)
        lines = "\n".join(f"- {_explain(group, table)}" for _, group in groups)
        raise SchemaError(f"{what} does not fit its schema '{schema.name}':\n{lines}") from error


def _first_causes(cases: pd.DataFrame) -> pd.DataFrame:
    """Drop what only follows from a wrong type: range checks of a column of the wrong type."""
    is_dtype = cases["check"].astype(str).str.startswith("dtype")
    return cases[is_dtype | ~cases["column"].isin(cases.loc[is_dtype, "column"])]


def _explain(group: pd.DataFrame, table: pd.DataFrame) -> str:
    """Describe one failed check of one column in a line."""
    column, check, found = group.iloc[0][["column", "check", "failure_case"]]
    if check == "column_in_dataframe":
        return f"column '{found}' is missing; found {', '.join(map(str, table.columns))}"
    if check == "column_in_schema":
        return f"column '{found}' is not expected here"
    if str(check).startswith("dtype"):
        return f"column '{column}' is of type {table[column].dtype} (for example {found!r}), expected {check}"
    shown = group.head(_N_SHOWN)
    more = f" and {len(group) - _N_SHOWN} more" if len(group) > _N_SHOWN else ""
    expected = {"not_nullable": "a value", "field_uniqueness": "each value once"}.get(check, check)
    return (
        f"column '{column}', row {', '.join(map(str, shown['index']))}{more}: "
        f"found {', '.join(map(repr, shown['failure_case']))}, expected {expected}"
    )
