"""The noise of a label against that of a single measurement."""

import numpy as np
import pandas as pd

from sselib.regression.label_noise import relative_noise


def table(n: list[int], std: list[float]) -> pd.DataFrame:
    return pd.DataFrame({"n_measurements": n, "label_std": std})


def test_repeats_that_agree_are_surer_than_one_and_than_repeats_that_do_not() -> None:
    nothing = float("nan")
    single, agree, apart, many = relative_noise(table([1, 2, 2, 5], [nothing, 0.05, 0.9, 0.05]))
    assert single == 1
    assert many < agree < apart
    assert agree < 1


def test_repeats_that_scatter_as_all_do_count_by_their_number() -> None:
    found = relative_noise(table([2, 4, 8], [0.4, 0.4, 0.4]))
    assert np.allclose(found, [1 / 2, 1 / 4, 1 / 8])


def test_without_repeats_all_labels_are_alike() -> None:
    assert relative_noise(table([1, 1], [float("nan")] * 2)).tolist() == [1, 1]
    assert relative_noise(table([2, 1], [0.0, float("nan")])).tolist() == [1, 1]
