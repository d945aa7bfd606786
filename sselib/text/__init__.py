"""Language models on short texts: prompts, encoders, models that write, controls on the same information."""

from sselib.text.causal import Sampling
from sselib.text.comparison import (
    line_up,
    read_text_data,
    text_models,
    text_records,
    text_splits,
)
from sselib.text.encoder import TuneSettings, load_encoder
from sselib.text.evaluation import (
    ANSWERS,
    PREDICTION,
    evaluate_texts,
    example_prompts,
    split_costs,
    with_writers,
)
from sselib.text.hub import quiet_libraries
from sselib.text.models import NGRAMS, TREES, TextData, causal_answers
from sselib.text.prompts import CASES, load_prompts, require_cases
from sselib.text.training import LoraSettings
from sselib.text.words import described_models, load_words
