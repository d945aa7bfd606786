"""The column names of every table, in one place, with units in the names.

`Entry` holds one measurement of one source, `Curated` one labelled material after merging,
`Reject` one row that could not be used, `Audit` what happened to each input row.
"""

from enum import StrEnum


class Entry(StrEnum):
    """One measurement as a source gives it, in common names and units."""

    ID = "id"  # "<source>:<source_id>", unique over all sources
    SOURCE = "source"  # obelix, liion, reference, generated or the user's name
    SOURCE_ID = "source_id"
    FORMULA = "formula"  # as the source writes it
    COMPOSITION = "composition"  # canonical, see sselib.materials.composition.canonical
    LOG10_SIGMA = "log10_sigma"  # log10(S/cm); the bound itself where censored
    CENSORED = "censored"  # True: log10_sigma is an upper bound
    TEMPERATURE_C = "temperature_c"  # deg C; missing where the source says only "room temperature"
    DOI = "doi"
    FAMILY_RAW = "family_raw"
    CONDUCTIVITY_KIND = "conductivity_kind"  # bulk, total or unknown
    SPACE_GROUP_SYMBOL = "space_group_symbol"
    SPACE_GROUP_NUMBER = "space_group_number"
    A_ANGSTROM = "a_angstrom"
    B_ANGSTROM = "b_angstrom"
    C_ANGSTROM = "c_angstrom"
    ALPHA_DEG = "alpha_deg"
    BETA_DEG = "beta_deg"
    GAMMA_DEG = "gamma_deg"
    CELL_FORMULA = "cell_formula"  # content of the unit cell, e.g. Li24La24..., where known
    STRUCTURE_ID = "structure_id"  # key into the structures table; missing where there is none
    CLOSE_MATCH = "close_match"  # True: the structure belongs to a similar, not the same, material
    OFFICIAL_SPLIT = "official_split"  # OBELiX: train or test; missing elsewhere
    SAME_AS = "same_as"  # id of the same measurement in another source, where the source says so
    NOTE = "note"


class Curated(StrEnum):
    """What curation adds to `Entry`: one row per labelled material."""

    FAMILY = "family"  # normalised, see sselib.materials.families.Family
    CHEMICAL_SYSTEM = "chemical_system"  # "Cl-Li-P-S"
    CONDUCTIVITY_CLASS = "conductivity_class"  # low, moderate, high, superionic (Kim et al.)
    SUPERIONIC = "superionic"  # sigma >= 1e-4 S/cm (McHaffie et al.); missing if undecided
    DISORDER_CLASS = "disorder_class"  # four classes of Kim et al.; missing without a structure
    N_MEASUREMENTS = "n_measurements"  # measurements merged into this row
    LABEL_STD = "label_std"  # standard deviation of those in log10(S/cm); missing for one
    MERGED_IDS = "merged_ids"  # ids merged into this row, joined by a blank
    DUPLICATE_GROUP = "duplicate_group"  # rows within 2 % L1 in composition share a number
    CLUSTER = "cluster"  # ElMD, UMAP, DBSCAN; -1 is noise
    MAP_X = "map_x"  # UMAP coordinates of the composition map, dimensionless
    MAP_Y = "map_y"
    STRUCTURE_FLAGS = "structure_flags"  # quality findings joined by ';', empty if none


class Reject(StrEnum):
    """One input that could not be used, with its reason."""

    SOURCE = "source"
    SOURCE_ID = "source_id"
    ROW = "row"  # 1-based row (or file) in the source, header not counted
    REASON = "reason"
    TEXT = "text"  # the offending text, shortened to 200 characters


class Audit(StrEnum):
    """What happened to each input row: kept, merged, dropped or rejected."""

    SOURCE = "source"
    SOURCE_ID = "source_id"
    ACTION = "action"  # kept, merged, dropped, rejected
    REASON = "reason"
    INTO = "into"  # id of the row it was merged into


class StructureTable(StrEnum):
    """Structures pass between notebooks as pymatgen JSON in one parquet file."""

    STRUCTURE_ID = "structure_id"
    STRUCTURE_JSON = "structure_json"
    SOURCE = "source"
    SHA256 = "sha256"  # of the text the structure was read from
    ORIGIN = "origin"  # file name, or 'embedded'


class Prediction(StrEnum):
    """One prediction of one model for one row under one protocol."""

    ID = "id"
    DATASET = "dataset"  # obelix, merged, reference or the user's name: which rows took part
    MODEL = "model"
    FEATURES = "features"
    PROTOCOL = "protocol"
    REPEAT = "repeat"
    FOLD = "fold"
    Y_TRUE = "y_true"  # log10(S/cm)
    CENSORED = "censored"
    Y_PRED = "y_pred"  # log10(S/cm)
    LOWER = "lower"  # log10(S/cm), interval of the nominal coverage named in the notebook
    UPPER = "upper"
    P_SUPERIONIC = "p_superionic"


class ClassPrediction(StrEnum):
    """One probability of one classifier for one held-out row under one protocol."""

    ID = "id"
    DATASET = "dataset"
    MODEL = "model"
    FEATURES = "features"
    PROTOCOL = "protocol"
    REPEAT = "repeat"  # number of the clustering under loco, else 0
    FOLD = "fold"
    LOG10_SIGMA = "log10_sigma"  # log10(S/cm), measured
    SUPERIONIC = "superionic"  # the label: sigma >= 1e-4 S/cm
    P_SUPERIONIC = "p_superionic"


# Names of the controls that stand beside every model.
CONTROLS: tuple[str, ...] = ("mean", "median", "1nn", "shuffled")
# Start of the name of a model that only stands beside others, as the same information in another form.
CONTROL_PREFIX = "control_"
# Name of the control that chooses the best of as many random scores as a model had settings to choose from.
SELECTION_CONTROL = "random"


class Predicted(StrEnum):
    """One row of `sse predict`: an input, its scores and what to know about them."""

    ID = "id"
    FORMULA = "formula"  # as given; of a structure, the content of its cell
    LOG10_SIGMA = "log10_sigma"  # log10(S/cm) at room temperature
    LOWER = "lower"  # log10(S/cm), interval of the confidence asked for
    UPPER = "upper"
    P_SUPERIONIC = "p_superionic"  # probability that sigma >= 1e-4 S/cm
    P_SUPERIONIC_SD = "p_superionic_sd"  # standard deviation of that probability, by what the model doubts
    D_TRAINING = "d_training"  # L1 distance of the composition to the classifier's training rows, 0 to 2
    IN_DOMAIN = "in_domain"  # see sselib.prediction.applicability
    NEAREST = "nearest"  # nearest training compound, its measured value, L1 distance of composition
    MODEL = "model"
    NOTE = "note"
