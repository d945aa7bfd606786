"""Conductivities from formulas and structures: what notebooks call, in one place."""

from sselib.columns import CONTROLS
from sselib.regression.conductivity_model import (
    load_conductivity_model,
    save_conductivity_model,
    train_conductivity_model,
    train_structure_model,
)
from sselib.regression.duplicate_rows import effect_of_duplicates, row_tables
from sselib.regression.evaluation import (
    Settings,
    all_features,
    bootstrap_groups,
    datasets,
    evaluate_all,
    family_errors,
    learning_curve,
    parity_points,
    plan,
    split_name,
)
from sselib.regression.explain import (
    AXES,
    axis_relabelling,
    importance,
    rank_stability,
    relabel_axes,
    shap_out_of_fold,
)
from sselib.regression.kim import kim_table
from sselib.regression.ledger import beside_ledger, load_ledger
from sselib.regression.models import ModelOptions, feature_columns
from sselib.regression.residuals import (
    binned_by_width,
    class_errors,
    compounds,
    coverage_by_family,
    interval_widths,
    rank_of_width,
    structure_gain,
)
from sselib.validation.splits import fold_sizes, protocol_splits, why_unavailable

__all__ = [
    "AXES",
    "CONTROLS",
    "ModelOptions",
    "Settings",
    "all_features",
    "axis_relabelling",
    "beside_ledger",
    "binned_by_width",
    "bootstrap_groups",
    "class_errors",
    "compounds",
    "coverage_by_family",
    "datasets",
    "effect_of_duplicates",
    "evaluate_all",
    "family_errors",
    "feature_columns",
    "fold_sizes",
    "importance",
    "interval_widths",
    "kim_table",
    "learning_curve",
    "load_conductivity_model",
    "load_ledger",
    "parity_points",
    "plan",
    "protocol_splits",
    "rank_of_width",
    "rank_stability",
    "relabel_axes",
    "row_tables",
    "save_conductivity_model",
    "shap_out_of_fold",
    "split_name",
    "structure_gain",
    "train_conductivity_model",
    "train_structure_model",
    "why_unavailable",
]
