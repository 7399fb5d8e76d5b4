from __future__ import annotations

import dataclasses
from typing import Any

import pandas as pd

from orchestrator.analysis import Analysis
from orchestrator.report import words

SWEEP: dict[str, Any] = {
    "sweep": {"model": ["m"], "seeds": [0, 1], "budgets": ["1e10"], "search": "grid"},
    "corpus_fingerprint": "c",
    "provenance": {"device": "a CPU"},
}
EFFECT = {"model": "m", "variant": "", "trials": 9, "seeds": 3, "budgets": 3, "seed_std": 1.0, "low": 0.5, "high": 1.5}
RELATED = {"model": "m", "layer": 1, "trials": 9, "seeds": 3, "low": 0.2, "high": 0.9, "p": 0.01}


def final(*rows: tuple[str, float, float]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["model", "budget_flops", "value"])
    return table.assign(variant="", metric="held_out_loss", fault=None, trial=range(len(rows)))


def test_what_was_tried() -> None:
    said = words.tried(SWEEP, trials=2, done=1, checkpoints=9, values=1000)
    assert said.startswith("1 of 2 trials are done (m; 2 seeds x 1 budget); 9 checkpoints were measured, 1,000 values.")
    assert "Corpus: c. Device: a CPU." in said
    assert "nothing is measured yet" in words.tried(SWEEP, trials=2, done=0, checkpoints=0, values=0)
    public = {**SWEEP, "sweep": {**SWEEP["sweep"], "checkpoints": ["step1", "main"]}}
    assert "published checkpoints step1, main" in words.tried(public, trials=1, done=1, checkpoints=2, values=5)
    searched = {**SWEEP, "sweep": {**SWEEP["sweep"], "search": "tpe", "variants": ["a", "b"]}}
    assert "x 2 variants, searched by tpe" in words.tried(searched, trials=1, done=1, checkpoints=2, values=5)


def test_losses_at_the_smallest_and_the_largest_budget(nothing: Analysis) -> None:
    table = final(("m", 1e10, 6.0), ("m", 1e10, 6.2), ("m", 4e10, 5.0), ("m", 4e10, 5.0), ("n", 1e10, 7.0))
    assert words.found(table, nothing) == [
        "m: held-out loss 6.1 ±0.14 at 1e10 FLOPs, 5 ±0 at 4e10 (mean ± standard deviation over 2 seeds).",
        "n: held-out loss 7 at 1e10 FLOPs.",
    ]


def test_faulty_ends_are_no_losses(nothing: Analysis) -> None:
    assert words.found(final(("m", 1e10, 6.0)).assign(fault="mixed"), nothing) == []


def test_the_clearest_effect_is_named_and_the_loss_itself_is_none(nothing: Analysis) -> None:
    rows = [
        EFFECT | {"metric": "a", "layer": 2, "per_decade": 1.0, "p": 0.001, "q": 0.002, "share": 0.8},
        EFFECT | {"metric": "b", "layer": None, "per_decade": -3.0, "p": 0.001, "q": 0.002, "share": 0.7},
        EFFECT | {"metric": "c", "layer": 0, "per_decade": 9.0, "p": 0.5, "q": 0.6, "share": 0.9},
        EFFECT | {"metric": "held_out_loss", "layer": None, "per_decade": -1.0, "p": 0, "q": 0, "share": 0.99},
    ]
    (said,) = words.found(final(), dataclasses.replace(nothing, effects=pd.DataFrame(rows)))
    assert said == (
        "Of 3 metrics and layers besides the loss, 2 change with compute (q < 0.05), a, layer 2 most: +1 per tenfold "
        "FLOPs [0.5, 1.5], and 80.0% of the variance between trials lies between budgets."
    )
    (said,) = words.found(final(), dataclasses.replace(nothing, effects=pd.DataFrame(rows[2:])))
    assert said == "Of 1 metrics and layers besides the loss, none change with compute (q < 0.05)."


def test_correlations_are_told_given_compute_alone(nothing: Analysis) -> None:
    rows = [
        RELATED | {"metric": "a", "given": "", "rho": 0.99, "q": 0.001},
        RELATED | {"metric": "a", "given": "compute", "rho": -0.7, "q": 0.01},
        RELATED | {"metric": "b", "given": "compute", "rho": 0.6, "q": 0.3},
    ]
    (said,) = words.found(final(), dataclasses.replace(nothing, correlations=pd.DataFrame(rows)))
    assert said == (
        "Given compute, 1 of 2 metrics and layers go with the final loss (q < 0.05): a, layer 1 (rho -0.70 [0.2, 0.9])."
    )


def test_prediction_says_what_helps_or_that_nothing_does(nothing: Analysis) -> None:
    row = RELATED | {"metric": "a", "budgets": 3, "at": 0.1, "baseline": 0.1, "error": 0.08, "gain": 0.2, "q": 0.01}
    (said,) = words.found(final(), dataclasses.replace(nothing, prediction=pd.DataFrame([row])))
    assert said.startswith(
        "a, layer 1 after 10% of the steps predicts the final loss of budgets left out with 20% less"
    )
    (said,) = words.found(final(), dataclasses.replace(nothing, prediction=pd.DataFrame([row | {"q": 0.5}])))
    assert said.startswith("No early value predicts")


def test_scaling_laws_are_told_with_their_intervals(nothing: Analysis) -> None:
    exponents = pd.DataFrame(
        [{"variant": "", "quantity": "n_params", "budgets": 4, "value": 0.5, "low": 0.4, "high": 0.6}]
    )
    fit = pd.DataFrame(
        [{"variant": "v", "parameter": "E", "value": 1.69, "low": 1.5, "high": 1.8, "trials": 20, "error": 0.01}]
    )
    said = words.found(final(), dataclasses.replace(nothing, exponents=exponents, loss_fit=fit))
    assert said == [
        "The best number of parameters grows as compute to the power 0.5 [0.4, 0.6].",
        "v: L(N, D) = E + A/N^alpha + B/D^beta with E = 1.69 [1.5, 1.8].",
    ]
