"""Numbers that Kim, Lee, Hong, Kim, Chung published of their boosting (`data/kim_boosting.yaml`)."""

from functools import cache

import pandas as pd
import pandera.pandas as pa
import yaml

from sselib.errors import SchemaError
from sselib.paths import project_root
from sselib.schemas import number, text, validate

FILE = "data/kim_boosting.yaml"
_SCHEMAS = {
    "feature_sets": {"features": text(required=True, unique=True), "kim_mae": number(0, 5, required=True)},
    "families": {
        "family": text(required=True, unique=True),
        "kim_n": number(1, required=True, dtype="int64"),
        "kim_mae": number(0, 5, required=True),
    },
    "compounds": {
        "formula": text(required=True, unique=True),
        "kim_experiment": number(-20, 1, required=True),
        "kim_gbr": number(-20, 1, required=True),
    },
}


@cache
def _content() -> dict[str, object]:
    return yaml.safe_load((project_root() / FILE).read_text(encoding="utf-8"))


def kim_table(name: str) -> pd.DataFrame:
    """Return a table of theirs: "feature_sets" (Fig. 7), "families" (Table 8) or "compounds" (Table 9).

    Raises `SchemaError` where the file does not hold it in its form.
    """
    table = pd.DataFrame(_content()[name])
    return validate(table, pa.DataFrameSchema(_SCHEMAS[name], strict=True, name=name), what=f"{FILE}, {name}")


def kim_settings() -> dict[str, float]:
    """Return the settings of their Table 1. Raises `SchemaError` where one is no positive number."""
    settings = dict(_content()["settings"])
    wrong = {k: v for k, v in settings.items() if not isinstance(v, int | float) or v <= 0}
    if wrong:
        raise SchemaError(f"{FILE}, settings: {wrong}: expected numbers above 0")
    return settings
