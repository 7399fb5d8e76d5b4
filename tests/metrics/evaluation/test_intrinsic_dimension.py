"""The search on problems whose intrinsic dimension is known, and fine-tuning on made-up pairs with a readable label."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel

from metrics.base import About, Items, UnavailableError, Value
from metrics.evaluation import intrinsic_dimension
from metrics.evaluation.fastfood import Subspace
from metrics.evaluation.intrinsic_dimension import METRIC, Pair, Task, Tuning, measure, smallest_dimension, summary
from metrics.evaluation.subject import EvaluationSettings, Subject
from tests.hub import Hub
from tests.hub_content import parquet_dataset
from trainables import models
from trainables.config import ModelConfig

END = "<|endoftext|>"
WORDS = (END, "same", "other", *(f"w{index}" for index in range(40)))


@pytest.mark.parametrize("planted", [1, 2, 15, 16, 17, 100, 999, 1000])
def test_the_search_finds_the_smallest_that_reaches(planted: int) -> None:
    asked: list[int] = []

    def reaches(d: int) -> bool:
        asked.append(d)
        return d >= planted

    assert smallest_dimension(reaches, lowest=16, highest=1000) == planted
    assert len(asked) == len(set(asked)) <= 16


@pytest.mark.parametrize("planted", [3, 40, 700])
def test_a_coarser_search_asks_less_and_is_right_up_to_its_resolution(planted: int) -> None:
    asked: list[int] = []
    found = smallest_dimension(
        lambda d: asked.append(d) or d >= planted,
        lowest=16,
        highest=1000,
        resolution=1.25,  # type: ignore[func-returns-value]
    )
    assert found is not None
    assert planted <= found <= 1.25 * planted + 1
    assert len(asked) <= 8


def test_where_none_reaches_there_is_none() -> None:
    asked: list[int] = []
    assert smallest_dimension(lambda d: bool(asked.append(d)), lowest=16, highest=1000) is None  # type: ignore[func-returns-value]
    assert asked == [16, 64, 256, 1000]


def li_toy(d: int, seed: int, layers: int, structured: bool) -> float:
    """Li et al. 2018: of 1000 weights the first 100 shall sum to 1, the next to 2 and so on; exp(-squared errors)."""
    start = {f"layers.{layer}.weight": torch.zeros(1000 // layers, dtype=torch.float64) for layer in range(layers)}
    names = tuple(f"layers.{layer}" for layer in range(layers)) if structured else ()
    if d <= len(names):
        return 0.0
    subspace = Subspace.draw(start, d, seed, layers=names)
    theta_d = subspace.origin().double()
    if structured:  # at zero and scales of one all layers' gradients agree, a saddle of so small a problem
        theta_d[: d - layers] = torch.randn(d - layers, generator=torch.Generator().manual_seed(seed))
    theta_d.requires_grad_()
    goal = torch.arange(1, 11, dtype=torch.float64)
    optimizer = torch.optim.LBFGS([theta_d], max_iter=400, tolerance_grad=1e-9, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        sums = torch.cat(list(subspace.weights(theta_d).values())).view(10, 100).sum(dim=1)
        error = ((sums - goal) ** 2).sum()
        error.backward()
        return error

    optimizer.step(loss)
    return math.exp(-loss().item())


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_li_et_als_toy_has_ten_dimensions(seed: int) -> None:
    """Ten sums are asked for, so ten directions are needed, and any ten do."""
    found = smallest_dimension(lambda d: li_toy(d, seed, 1, False) >= 0.9, lowest=2, highest=1000)
    assert found == 10


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("layers", [2, 10])
def test_the_scales_of_layers_count_and_one_of_them_is_spare(seed: int, layers: int) -> None:
    """A scale of all layers can be had by theta' itself, so that of d numbers d - 1 are free: eleven for ten sums."""
    found = smallest_dimension(lambda d: li_toy(d, seed, layers, True) >= 0.9, lowest=2, highest=1000)
    assert found == 11


def made_up(n: int, seed: int) -> list[Pair]:
    """Pairs of words of no meaning, of which the last says the label."""
    rng = np.random.default_rng(seed)

    def sentence() -> str:
        return " ".join(rng.choice(WORDS[3:], size=rng.integers(2, 5)))

    labels = rng.integers(0, 2, size=n)
    return [(sentence(), f"{sentence()} {'same' if label else 'other'}", int(label)) for label in labels]


def write(path: Path, pairs: list[Pair]) -> None:
    """As Microsoft did: a byte order mark, five columns, and quotes that mean nothing."""
    rows = [f"{label}\t{index}\t{index}\t{a}\t{b}" for index, (a, b, label) in enumerate(pairs)]
    header = "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String"
    path.write_text("\r\n".join([header, *rows, ""]), encoding="utf-8-sig")


@pytest.fixture
def mrpc(tmp_path: Path) -> Path:
    write(tmp_path / "train.tsv", made_up(256, 0))
    write(tmp_path / "test.tsv", made_up(100, 1))
    return tmp_path


@pytest.fixture
def subject(tiny_model: ModelConfig, mrpc: Path) -> Callable[..., Subject]:
    vocabulary = {word: index for index, word in enumerate(WORDS)}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token=END))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()

    def make(**settings: object) -> Subject:
        given = {"data": (f"mrpc:{mrpc}",)} | settings
        model = models.build(tiny_model, init_seed=0).eval()
        return Subject(model, tokenizer.to_str(), END, EvaluationSettings(**given))  # type: ignore[arg-type]

    return make


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A recipe for a model of 12 thousand weights: few steps, long ones, two seeds."""
    for name, value in {"RATES": (1e-2,), "SEEDS": (0, 1), "HIGHEST": 256, "RESOLUTION": 4.0}.items():
        monkeypatch.setattr(intrinsic_dimension, name, value)


def test_a_label_that_can_be_read_has_a_small_dimension(quick: None, subject: Callable[..., Subject]) -> None:
    one = subject()
    before = {name: weight.clone() for name, weight in one.model.state_dict().items()}
    dice, threads = torch.get_rng_state(), torch.get_num_threads()
    found = list(measure(one))
    values = {thing.metric.removeprefix(f"{METRIC.name}/"): thing for thing in found if isinstance(thing, Value)}
    numbers = {name: value.value for name, value in values.items()}
    assert set(values) == {
        *("full_accuracy", "full_accuracy_spread", "majority_accuracy"),
        *("d90_did", "d90_did_spread", "d90_said", "d90_said_spread"),
    }
    assert numbers["full_accuracy"] is not None
    assert numbers["full_accuracy"] > 0.95
    assert numbers["d90_did"] is not None
    assert 1 <= numbers["d90_did"] <= 256
    assert numbers["d90_said"] is not None
    assert 6 <= numbers["d90_said"] <= 256  # two blocks, the embeddings, the last norm, the classifier, one direction

    (runs,) = (thing for thing in found if isinstance(thing, Items))
    (about,) = (thing for thing in found if isinstance(thing, About))
    columns = [runs.columns[name] for name in ("kind", "seed", "d", "accuracy")]
    reached = [
        min(d for of, s, d, accuracy in zip(*columns, strict=True) if (of, s) == ("did", seed) and accuracy >= target)
        for seed, target in ((seed, 0.9 * numbers["full_accuracy"]) for seed in (0, 1))
    ]
    assert numbers["d90_did"] == np.median(reached)
    assert about.details["d90_did_by_seed"] == ", ".join(map(str, reached))
    assert (about.details["train_items"], about.details["test_items"]) == (256, 100)

    assert all(torch.equal(weight, before[name]) for name, weight in one.model.state_dict().items())
    assert not one.model.training
    assert all(weight.requires_grad and weight.grad is None for weight in one.model.parameters())
    assert torch.equal(dice, torch.get_rng_state())
    assert threads == torch.get_num_threads()


def test_a_run_depends_on_its_seed_alone(subject: Callable[..., Subject]) -> None:
    def tuned(*, other_dice: int) -> list[float]:
        torch.manual_seed(other_dice)
        one = subject(limit=64)
        task = Task.of(made_up(64, 0), made_up(50, 1), lambda text: [WORDS.index(word) for word in text.split()], 0, 16)
        tuning = Tuning.of(one.model, task)
        return [tuning.in_subspace("said", seed, 20, 1e-2).accuracy for seed in (0, 1)] + [
            tuning.full(0, 1e-2).accuracy
        ]

    assert tuned(other_dice=1) == tuned(other_dice=2)


def test_where_the_majority_class_does_as_well_there_is_no_dimension(
    monkeypatch: pytest.MonkeyPatch, mrpc: Path, subject: Callable[..., Subject]
) -> None:
    monkeypatch.setattr(intrinsic_dimension, "EPOCHS", 1)
    unreadable = [(a, b.rpartition(" ")[0], label) for a, b, label in made_up(200, 2)]
    write(mrpc / "train.tsv", unreadable[:100])
    write(mrpc / "test.tsv", unreadable[100:])
    found = list(measure(subject()))
    missing = {thing.metric: thing.reason for thing in found if isinstance(thing, Value) and thing.value is None}
    assert len(missing) == 4
    assert all("no more than the majority class" in str(reason) for reason in missing.values())
    (runs,) = (thing for thing in found if isinstance(thing, Items))
    assert set(runs.columns["kind"]) == {"full"}


def test_the_limit_bounds_both_splits(monkeypatch: pytest.MonkeyPatch, subject: Callable[..., Subject]) -> None:
    monkeypatch.setattr(intrinsic_dimension, "RATES", (1e-5,))
    (about,) = (thing for thing in measure(subject(limit=10)) if isinstance(thing, About))
    assert (about.details["train_items"], about.details["test_items"]) == (10, 10)


def test_the_classifier_is_drawn_by_the_seed_and_belongs_to_the_weights(subject: Callable[..., Subject]) -> None:
    model = subject().model
    tuning = Tuning.of(model, Task([((1, 0), 1)], [((1, 0), 1)]))
    weights = tuning.start(0)
    classifier = weights.keys() - dict(model.base_model.named_parameters()).keys()
    assert classifier == set(intrinsic_dimension.CLASSIFIER)
    assert tuning.n_weights == sum(weight.numel() for weight in model.base_model.parameters()) + 2 * 16 + 2
    assert not torch.equal(weights["classifier/linear.weight"], tuning.start(1)["classifier/linear.weight"])


def test_a_task_is_both_sentences_each_with_an_end_and_room_in_the_context() -> None:
    pairs = [("a b", "c", 1), ("a a a a a a a a a", "b b b b b b", 0), ("a", "a", 1)]
    task = Task.of(pairs, pairs, lambda text: [ord(word) for word in text.split()], 0, context=10)
    assert task.train[0] == ((97, 98, 0, 99, 0), 1)
    assert task.train[1] == ((97,) * 4 + (0,) + (98,) * 4 + (0,), 0)
    assert task.majority == pytest.approx(2 / 3)


def test_a_pairs_neighbours_in_its_batch_do_not_change_it(subject: Callable[..., Subject]) -> None:
    short, long = ((1, 0), 1), ((3, 4, 5, 6, 7, 0), 0)
    tuning = Tuning.of(subject().model, Task([short], [short]))
    with torch.no_grad():
        weights = tuning.start(0)
        both, labels = tuning._logits(weights, [short, long])
        alone = [tuning._logits(weights, [one])[0][0] for one in (short, long)]
    assert torch.allclose(both, torch.stack(alone), atol=1e-6)
    assert labels.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("found", "median", "spread"),
    [((16, 64, 32), 32.0, 4.0), ((16, 64, None), 64.0, None), ((16, None, None), None, None)],
)
def test_the_summary_of_seeds(found: tuple[int | None, ...], median: float | None, spread: float | None) -> None:
    values = list(summary("d90", found))
    assert [(value.metric, value.value) for value in values] == [("d90", median), ("d90_spread", spread)]
    assert all(f"{found.count(None)} of 3 seeds" in str(value.reason) for value in values if value.value is None)


def test_a_copy_without_training_pairs_says_what_to_give(mrpc: Path, subject: Callable[..., Subject]) -> None:
    with pytest.raises(UnavailableError, match=r"test.tsv .*no training pairs; give a folder with train.tsv"):
        list(measure(subject(data=(f"mrpc:{mrpc / 'test.tsv'}",))))


def test_without_a_copy_it_is_the_hubs(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, mrpc: Path, subject: Callable[..., Subject]
) -> None:
    """The same pairs give the same numbers, wherever they are from; and without any it says why."""
    monkeypatch.setattr(intrinsic_dimension, "RATES", (1e-5,))
    with hub.down(), pytest.raises(UnavailableError, match=r"cannot be reached.*evaluation_data=mrpc:PATH"):
        list(measure(subject(data=())))
    splits = {"train": made_up(256, 0), "validation": made_up(100, 1)}
    rows = {
        name: [{"sentence1": a, "sentence2": b, "label": label, "idx": i} for i, (a, b, label) in enumerate(pairs)]
        for name, pairs in splits.items()
    }
    hub.add("nyu-mll/glue", parquet_dataset({"mrpc": rows, "cola": {"train": rows["train"][:1]}}), repo_type="dataset")
    found, own = (list(measure(subject(limit=10, **data))) for data in ({"data": ()}, {}))
    values = [thing for thing in found if isinstance(thing, Value)]
    assert values == [thing for thing in own if isinstance(thing, Value)]
    (about,) = (thing for thing in found if isinstance(thing, About))
    assert str(about.details["data"]).startswith("nyu-mll/glue mrpc at ")
