"""Prompts, answers and controls of the text models: published examples, bad answers, what each case tells."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from sselib.errors import ParameterError
from sselib.materials.structures import structure_record
from sselib.text import controls
from sselib.text.answers import copied, format_answer, parse_answer
from sselib.text.prompts import (
    CASES,
    load_prompts,
    prompt_fields,
    space_group_symbol,
    spelled_amounts,
)

LI3YCL6 = {
    "formula": "Li3YCl6",
    "symmetry": "P-3m1",
    "disorder": "Li cation and Other atom disorder",
    "amounts": spelled_amounts("Li3YCl6"),
}


def test_published_example_of_kim_table_4():
    prompts = load_prompts("tagged")
    expected = {
        "case1_formula": "formula: Li3YCl6",
        "case2_symmetry": "<formula: Li3YCl6> <symmetry: P-3m1>",
        "case3_disorder": "<formula: Li3YCl6> <disorder: Li cation and Other atom disorder>",
        "case4_both": "<formula: Li3YCl6> <symmetry: P-3m1> <disorder: Li cation and Other atom disorder>",
    }
    assert {c: prompts.render(LI3YCL6, case=c) for c in CASES} == expected


@pytest.mark.parametrize("name", ["tagged", "spelled"])
def test_a_case_tells_what_its_name_says_and_nothing_else(name):
    prompts = load_prompts(name)
    for case in CASES:
        text = prompts.render(LI3YCL6, case=case)
        assert ("P-3m1" in text) == (case in ("case2_symmetry", "case4_both"))
        assert ("disorder:" in text) == (case in ("case3_disorder", "case4_both"))


def test_unknown_names_are_named():
    with pytest.raises(ParameterError, match="Did you mean 'case2_symmetry'"):
        load_prompts("tagged").render(LI3YCL6, case="case2_symetry")
    with pytest.raises(ParameterError, match="Did you mean 'tagged'"):
        load_prompts("taged")


def test_spelled_amounts_do_not_depend_on_how_the_formula_is_written():
    assert spelled_amounts("Li3YCl6") == "60 chlorine, 30 lithium, 10 yttrium"
    assert spelled_amounts("Cl12Y2Li6") == spelled_amounts("Li3YCl6")


@pytest.mark.parametrize(
    ("number", "symbol"), [(164, "P-3m1"), (15, "C2/c"), (137, "P42/nmc"), (167, "R-3c"), (0, "unknown")]
)
def test_short_symbols(number, symbol):
    assert space_group_symbol(number) == symbol


def _curated(**columns):
    row = {
        "id": "own:1",
        "formula": '"Li Cl"',
        "composition": "Cl0.5 Li0.5",
        "space_group_number": pd.NA,
        "structure_id": None,
        "disorder_class": None,
    }
    return pd.DataFrame([row | columns]).astype({"space_group_number": "Int64"})


def test_symmetry_comes_from_the_table_then_the_structure_else_is_unknown():
    rocksalt = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(5.13), ["Li", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )
    record = structure_record(rocksalt, structure_id="own:1", source="own", text="x", origin="x.cif")
    structures = pd.DataFrame([record])
    found = [
        prompt_fields(_curated(**c), structures).iloc[0]
        for c in ({"space_group_number": 62, "structure_id": "own:1"}, {"structure_id": "own:1"}, {})
    ]
    assert [f["symmetry"] for f in found] == ["Pnma", "Fm-3m", "unknown"]
    assert {f["disorder"] for f in found} == {"unknown"}
    assert found[0]["formula"] == "LiCl"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("-3.21", -3.21),
        ("−3.2", -3.2),  # Unicode minus
        ("–3.2\n", -3.2),
        ("  -4 \nbecause", -4.0),
        ("-.5", -0.5),
        ("+0.1", 0.1),
    ],
)
def test_numbers_are_read(text, value):
    answer = parse_answer(text)
    assert answer.value == value and answer.reason == ""


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        (" \n ", "empty"),
        ("about -4", "more than a number"),
        ("-4 to -5", "more than a number"),
        ("-3.2.1", "more than a number"),
        ("1e-4 S/cm", "conductivity"),
        ("1e-4", "conductivity"),
        ("10^-4", "conductivity"),
        ("0.001 S/cm", "conductivity"),
        ("unknown", "no number"),
        ("-420", "out of range"),
        ("5.0", "out of range"),
        ("nan", "no number"),
    ],
)
def test_other_texts_are_refused_with_a_reason(text, reason):
    answer = parse_answer(text)
    assert answer.reason == reason
    assert math.isnan(answer.value)


@given(st.floats(-29, 0.9))
def test_an_answer_written_is_an_answer_read(value):
    text = format_answer(value, decimals=3)
    assert abs(parse_answer(text).value - value) <= 5.1e-4


@given(st.text(max_size=30))
def test_any_text_gives_a_number_in_range_or_a_reason(text):
    answer = parse_answer(text)
    assert (answer.reason == "") == (-30 <= answer.value <= 1)


def test_no_negative_zero_is_trained():
    assert format_answer(-0.0001, decimals=3) == "0.000"


def test_copies_are_equal_to_a_training_label_at_three_decimals():
    assert list(copied([-3.2104, -3.2, -5.0], [-3.21, -5.0])) == [True, False, True]
    assert list(copied([-3.21], [-3.2104])) == [True]


def test_information_of_a_case_matches_its_prompt():
    args = (["LiCl", "Li2S"], [225, 0], ["No disorder", "unknown"])
    tables = {c: controls.information(*args, case=c) for c in (*CASES, controls.SYMMETRY_ALONE)}
    assert tables["case1_formula"].shape == (2, 103)
    assert tables["case2_symmetry"].iloc[:, 103:].isna().all(axis=1).tolist() == [False, True]
    assert tables["case3_disorder"].iloc[:, 103:].sum(axis=1).tolist() == [1.0, 0.0]
    assert tables["case4_both"].shape[1] == tables["case2_symmetry"].shape[1] + 4
    assert not {"Li", "Cl"} & set(tables[controls.SYMMETRY_ALONE])
    with pytest.raises(ParameterError, match="case5"):
        controls.information(*args, case="case5")


def test_ngrams_learn_an_element_from_its_letters():
    texts = [f"formula: Li{n}{a}" for n in range(2, 12) for a in ("Cl", "S")]
    y = np.array([-6.0 if "Cl" in t else -3.0 for t in texts])
    model = controls.ngram_ridge().fit(texts, y)
    assert np.allclose(model.predict(["formula: Li13Cl", "formula: Li13S"]), [-6, -3], atol=0.5)
