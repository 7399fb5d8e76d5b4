"""Planted constants of L(N, D) are recovered."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from orchestrator.analysis.loss_fit import loss_fit
from orchestrator.analysis.trials import LOSS, Steps, final
from tests.orchestrator.analysis import planted

CHINCHILLA = {"E": 1.69, "A": 406.4, "alpha": 0.34, "B": 410.7, "beta": 0.28}  # Hoffmann et al. 2022
SMALL = {"E": 2.5, "A": 60.0, "alpha": 0.4, "B": 900.0, "beta": 0.5}


def _law(size: np.ndarray, data: np.ndarray, at: dict[str, float]) -> np.ndarray:
    loss: np.ndarray = at["E"] + at["A"] * size ** -at["alpha"] + at["B"] * data ** -at["beta"]
    return loss


@pytest.mark.parametrize(
    ("constants", "sizes", "tokens"),
    [(CHINCHILLA, np.geomspace(5e7, 1e10, 6), np.geomspace(1e9, 1e12, 7)), (SMALL, (1e5, 3e5, 1e6), (1e5, 1e6, 1e7))],
)
def test_constants_are_exact_without_noise(constants: dict[str, float], sizes: object, tokens: object) -> None:
    size, data = (each.ravel() for each in np.meshgrid(np.asarray(sizes), np.asarray(tokens)))
    about = pd.DataFrame({"seed": 0, "budget_flops": 6 * size * data, "n_params": size, "tokens": data})
    loss = {(LOSS, None): _law(size, data, constants)}
    found = loss_fit(final(Steps.of(*planted.results(about, loss))))[0].set_index("parameter")
    for name, value in constants.items():
        assert found.loc[name, "value"] == pytest.approx(value, rel=0.01), name
    assert found["error"].iloc[0] < 1e-5


def test_intervals_hold_the_constants_where_losses_are_noisy() -> None:
    random, inside = np.random.default_rng(0), []
    for _ in range(6):
        rows = [(seed, n, d) for seed in range(3) for n in (1e5, 3e5, 1e6, 3e6) for d in np.geomspace(1e5, 1e8, 5)]
        about = pd.DataFrame(rows, columns=["seed", "n_params", "tokens"])
        about["budget_flops"] = 6 * about["n_params"] * about["tokens"]
        loss = _law(about["n_params"].to_numpy(), about["tokens"].to_numpy(), SMALL)
        noisy = loss * np.exp(0.003 * random.normal(size=len(loss)))
        found, remarks = loss_fit(final(Steps.of(*planted.results(about, {(LOSS, None): noisy}))))
        assert not remarks
        rows_found = found.set_index("parameter")
        inside += [rows_found.loc[one, "low"] <= SMALL[one] <= rows_found.loc[one, "high"] for one in SMALL]
        assert rows_found["error"].iloc[0] == pytest.approx(0.003, rel=0.4)
        assert rows_found.loc["alpha", "value"] == pytest.approx(SMALL["alpha"], rel=0.25)
    assert np.mean(inside) >= 0.8


def test_too_little_is_said() -> None:
    about = planted.grid(3, (1e9, 1e10, 1e11))
    found, remarks = loss_fit(final(Steps.of(*planted.results(about, {(LOSS, None): np.linspace(3, 4, 9)}))))
    assert found.empty
    assert "it needs 3 sizes, 3 token counts and 8 pairs; there are 1, 1 and 1" in remarks[0]
