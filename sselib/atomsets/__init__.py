"""Superionic or not: AtomSets, simpler classifiers and the saved model; what notebooks call, in one place."""

from sselib.atomsets.classification import (
    by_third_of_spread,
    classification_records,
    fold_scores,
    paper_records,
)
from sselib.atomsets.classifiers import (
    BASELINE,
    CLASSIFIERS,
    CONTROL_CASES,
    FRESH,
    SUITE,
    ClassifierSettings,
    class_splits,
    classifier_inputs,
    cluster_summary,
    clusters_by_seed,
    possible_models,
    read_structures,
    sendek_table,
    site_inputs,
    structure_rows,
)
from sselib.atomsets.findings import atomsets_sentence, choice_sentence, suite_sentence
from sselib.atomsets.held_out import class_predictions, saved_model_predictions
from sselib.atomsets.ordering import compare_ordered
from sselib.atomsets.representation_grid import LAYERS, compare_representations
from sselib.atomsets.superionic_model import FOLDER, fit_superionic_model, save_superionic_model
from sselib.atomsets.tuning import choose_by_clusters, random_settings
from sselib.columns import CONTROLS
from sselib.materials.oxidation import rule_counts
from sselib.validation.splits import fold_sizes, why_unavailable

__all__ = [
    "BASELINE",
    "CLASSIFIERS",
    "CONTROLS",
    "CONTROL_CASES",
    "FOLDER",
    "FRESH",
    "LAYERS",
    "SUITE",
    "ClassifierSettings",
    "atomsets_sentence",
    "by_third_of_spread",
    "choice_sentence",
    "choose_by_clusters",
    "class_predictions",
    "class_splits",
    "classification_records",
    "classifier_inputs",
    "cluster_summary",
    "clusters_by_seed",
    "compare_ordered",
    "compare_representations",
    "fit_superionic_model",
    "fold_scores",
    "fold_sizes",
    "paper_records",
    "possible_models",
    "random_settings",
    "read_structures",
    "rule_counts",
    "save_superionic_model",
    "saved_model_predictions",
    "sendek_table",
    "site_inputs",
    "structure_rows",
    "suite_sentence",
    "why_unavailable",
]
