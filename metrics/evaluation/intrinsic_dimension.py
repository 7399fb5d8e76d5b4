"""The intrinsic dimension of fine-tuning on MRPC: in how few random directions it does nearly as well as in all.

Aghajanyan, Zettlemoyer and Gupta 2020, after Li et al. 2018: d90 is the smallest d at which training theta_d alone, in
theta = theta_0 + P theta_d, reaches 90 % of the accuracy of full fine-tuning. theta_d starts at zero. The classifier is
inside: it is drawn at random, belongs to theta_0, and moves by P theta_d, so that exactly d numbers are trained. It
reads the last hidden state of the last token. Full fine-tuning trains the same weights, all of them: the transformer
without its output head, and the classifier.

A step costs a projection and its transpose beside the model's own. Measured at d = 1024 on one core: pythia-70m (45 M
weights) 1.8 s; the shapes of pythia-1.4b 60 ns a weight, so 80 s for its 1.3 G: that needs a GPU (not measured there).
Memory, in bytes a weight: the model 4, P 5, theta 4, and for a moment four times the largest tensor; full fine-tuning
with Adam 16 and the model's 4. Whole process, 8 pairs of 64 tokens: pythia-70m 1.6 GB, in full 1.9 GB (measured);
pythia-1.4b 19 GB, in full 27 GB, without activations (worked out).
"""

from __future__ import annotations

import dataclasses
import functools
import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from metrics.base import About, Items, Metric, UnavailableError, Value
from metrics.evaluation import fastfood, harness
from metrics.evaluation.subject import Subject
from trainables.storage import sha256

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module
    from transformers import PreTrainedModel

DATA = "mrpc"  # lm-eval's task, whose data it is
SHARE = 0.9
SEEDS = (0, 1, 2)  # each draws a classifier, a projection and an order of the training items
LOWEST, HIGHEST, GROWTH = 16, 16384, 4
RESOLUTION = 1.25  # what is left between a dimension that fails and the d90, as a ratio
RATES = (1e-4, 1e-3, 1e-5)  # Adam's, of full fine-tuning
SUBSPACE_FACTORS = (4.0, 16.0, 1.0)  # of the best of them, see `Tuning.in_subspace`
EPOCHS, BATCH_SIZE, WARMUP = 3, 32, 0.1
CLASSIFIER = ("classifier/linear.weight", "classifier/linear.bias")  # no module's name has a slash
CLASSIFIER_STD = 0.02

Pair = tuple[str, str, int]  # two sentences, and 1 if they say the same
Pairs = Sequence[Pair]
Item = tuple[tuple[int, ...], int]
Kind = Literal["did", "said"]


def smallest_dimension(
    reaches: Callable[[int], bool], *, lowest: int, highest: int, resolution: float = 1.0
) -> int | None:
    """The smallest d up to ``highest`` with ``reaches(d)``; None where there is none.

    From ``lowest`` on d grows ``GROWTH``-fold until it reaches, then the gap to the last that failed (0, which never
    reaches, if none did) is halved, on a log scale, until they are neighbours or their ratio is at most ``resolution``.
    It is taken for granted that what d reaches, more than d does, too.
    """
    failed, d = 0, min(lowest, highest)
    while not reaches(d):
        if d == highest:
            return None
        failed, d = d, min(d * GROWTH, highest)
    while d - failed > 1 and d > failed * resolution:
        middle = min(max(math.isqrt(max(failed, 1) * d), failed + 1), d - 1)
        failed, d = (failed, middle) if reaches(middle) else (middle, d)
    return d


@dataclass(frozen=True)
class Task:
    """Sentence pairs as tokens, each with its label, 0 or 1; origin: of the data, in words."""

    train: Sequence[Item]
    test: Sequence[Item]
    origin: str = ""

    @classmethod
    def of(
        cls, train: Pairs, test: Pairs, encode: Callable[[str], Sequence[int]], end: int, context: int, origin: str = ""
    ) -> Task:
        """first END second END, as <s> parts and ends the pair of an encoder; each cut to half of the context."""
        room = context // 2 - 1

        def items(pairs: Pairs) -> list[Item]:
            return [((*encode(a)[:room], end, *encode(b)[:room], end), label) for a, b, label in pairs]

        return cls(items(train), items(test), origin)

    @property
    def majority(self) -> float:
        """The accuracy of the better of the two constant answers."""
        ones = sum(label for _, label in self.test) / len(self.test)
        return max(ones, 1 - ones)


@dataclass(frozen=True)
class Run:
    """One fine-tuning and the accuracy that it reached; d is the number of weights for a ``full`` one."""

    kind: Literal["full"] | Kind
    seed: int
    d: int
    rate: float
    accuracy: float


@dataclass(frozen=True)
class Tuning:
    """Fine-tunings of a model on a task. The model's own weights are read, never written.

    Adam with linear warmup and decay, no weight decay, no dropout; nothing random but by the seed.
    """

    body: Module
    hidden_size: int
    task: Task

    @classmethod
    def of(cls, model: PreTrainedModel, task: Task) -> Tuning:
        return cls(model.base_model, model.config.get_text_config().hidden_size, task)

    def start(self, seed: int) -> dict[str, Tensor]:
        """theta_0: the model's weights themselves, not copied, and a random classifier."""
        import torch

        weights = {name: weight.detach() for name, weight in self.body.named_parameters()}
        like, generator = next(iter(weights.values())), torch.Generator().manual_seed(seed)
        drawn = torch.randn(2, self.hidden_size, generator=generator) * CLASSIFIER_STD
        return weights | dict(zip(CLASSIFIER, (drawn.to(like.device), like.new_zeros(2)), strict=True))

    @functools.cached_property
    def n_weights(self) -> int:
        return sum(weight.numel() for weight in self.start(0).values())

    def full(self, seed: int, rate: float) -> Run:
        """Every weight trained, in a copy."""
        weights = {name: weight.clone().requires_grad_() for name, weight in self.start(seed).items()}
        accuracy = self._accuracy_after(lambda: weights, list(weights.values()), rate, seed)
        return Run("full", seed, self.n_weights, rate, accuracy)

    def in_subspace(self, kind: Kind, seed: int, d: int, rate: float) -> Run:
        """Only theta_d trained, at ``rate`` times sqrt(D / d): then a step of Adam is as long in theta as a full one's.

        Raises ValueError for a SAID of no more dimensions than layers.
        """
        start = self.start(seed)
        layers = dict.fromkeys(map(fastfood.layer_of, start)) if kind == "said" else ()
        subspace = fastfood.Subspace.draw(start, d, seed, layers=layers)
        theta_d = subspace.origin().requires_grad_()
        faster = math.sqrt(self.n_weights / d)
        accuracy = self._accuracy_after(lambda: subspace.weights(theta_d), [theta_d], rate * faster, seed)
        return Run(kind, seed, d, rate, accuracy)

    def _accuracy_after(
        self, weights: Callable[[], dict[str, Tensor]], trained: list[Tensor], rate: float, seed: int
    ) -> float:
        import torch
        from torch.nn.functional import cross_entropy

        generator = torch.Generator().manual_seed(seed)
        steps = EPOCHS * math.ceil(len(self.task.train) / BATCH_SIZE)
        optimizer = torch.optim.Adam(trained, lr=rate)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: min((step + 1) / (WARMUP * steps + 1), (steps - step) / (steps * (1 - WARMUP)))
        )
        for _ in range(EPOCHS):
            order = torch.randperm(len(self.task.train), generator=generator).tolist()
            for batch in _batches([self.task.train[index] for index in order]):
                logits, labels = self._logits(weights(), batch)
                optimizer.zero_grad()
                cross_entropy(logits, labels).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
        return self._accuracy(weights)

    def _accuracy(self, weights: Callable[[], dict[str, Tensor]]) -> float:
        import torch

        right = 0
        with torch.no_grad():
            found = weights()
            for batch in _batches(sorted(self.task.test, key=lambda item: len(item[0]))):
                logits, labels = self._logits(found, batch)
                right += int((logits.argmax(dim=1) == labels).sum())
        return right / len(self.task.test)

    def _logits(self, weights: dict[str, Tensor], batch: Sequence[Item]) -> tuple[Tensor, Tensor]:
        """(items, 2), and the labels. Padded on the right, which no token of a causal model sees."""
        import torch
        from torch.nn.utils.rnn import pad_sequence

        device = weights[CLASSIFIER[0]].device
        tokens = pad_sequence([torch.tensor(ids) for ids, _ in batch], batch_first=True).to(device)
        last = torch.tensor([len(ids) - 1 for ids, _ in batch], device=device)
        of_body = {name: weight for name, weight in weights.items() if name not in CLASSIFIER}
        given = {"input_ids": tokens, "use_cache": False}
        hidden = torch.func.functional_call(self.body, of_body, (), given).last_hidden_state
        matrix, bias = (weights[name] for name in CLASSIFIER)
        logits = torch.nn.functional.linear(hidden[torch.arange(len(batch), device=device), last], matrix, bias)
        return logits, torch.tensor([label for _, label in batch], device=device)


def _batches(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    return (items[start : start + BATCH_SIZE] for start in range(0, len(items), BATCH_SIZE))


def d90_of(tuning: Tuning, kind: Kind, seed: int, target: float, rate: float, runs: list[Run]) -> int | None:
    """The smallest dimension in which one of the rates reaches the target; appends to ``runs`` what was trained."""
    least = len(set(map(fastfood.layer_of, tuning.start(seed)))) if kind == "said" else 0

    def reaches(d: int) -> bool:
        for factor in SUBSPACE_FACTORS if d > least else ():
            runs.append(tuning.in_subspace(kind, seed, d, rate * factor))
            if runs[-1].accuracy >= target:
                return True
        return False

    return smallest_dimension(reaches, lowest=LOWEST, highest=min(HIGHEST, tuning.n_weights), resolution=RESOLUTION)


def summary(name: str, found: Sequence[int | None]) -> Iterator[Value]:
    """The median of the seeds' d90, and their spread, the largest over the smallest; None is more than the highest."""
    median = statistics.median(math.inf if d is None else d for d in found)
    missing = f"{found.count(None)} of {len(found)} seeds reach {SHARE:.0%} in no dimension up to {HIGHEST}"
    yield Value(name, None, reason=missing) if median == math.inf else Value(name, float(median))
    known = [d for d in found if d is not None]
    if len(known) < len(found):
        yield Value(f"{name}_spread", None, reason=missing)
    else:
        yield Value(f"{name}_spread", max(known) / min(known))


def evaluate(tuning: Tuning) -> Iterator[Value | Items | About]:
    """All values of a task, its fine-tunings as items, and what they were."""
    name = METRIC.name
    by_rate = {rate: [tuning.full(seed, rate) for seed in SEEDS] for rate in RATES}
    rate, best = max(by_rate.items(), key=lambda pair: statistics.fmean(run.accuracy for run in pair[1]))
    runs = [run for found in by_rate.values() for run in found]
    accuracies = [run.accuracy for run in best]
    full, majority = statistics.fmean(accuracies), tuning.task.majority
    yield Value(f"{name}/full_accuracy", full)
    yield Value(f"{name}/full_accuracy_spread", max(accuracies) - min(accuracies))
    yield Value(f"{name}/majority_accuracy", majority)
    about: dict[str, str | int | float | None] = {
        "data": tuning.task.origin,
        "train_items": len(tuning.task.train),
        "test_items": len(tuning.task.test),
        "data_sha256": sha256(repr((tuning.task.train, tuning.task.test)).encode()),
        "weights": tuning.n_weights,
        "seeds": len(SEEDS),
        "epochs": EPOCHS,
        "rate": rate,
    }
    for kind in ("did", "said"):
        value = f"{name}/d90_{kind}"
        if SHARE * full <= majority:
            why = (
                f"{SHARE:.0%} of full fine-tuning ({full:.3f}) is no more than the majority class ({majority:.3f}):"
                " a classifier that learns nothing reaches it"
            )
            yield from (Value(one, None, reason=why) for one in (value, f"{value}_spread"))
            continue
        found = [d90_of(tuning, kind, seed, SHARE * full, rate, runs) for seed in SEEDS]
        about[f"d90_{kind}_by_seed"] = ", ".join(str(d or f"> {HIGHEST}") for d in found)
        yield from summary(value, found)
    yield Items({key: [getattr(run, key) for run in runs] for key in Run.__dataclass_fields__})
    yield About(about)


@dataclass(frozen=True)
class Mrpc:
    """MRPC's pairs, and where they are from: the local copy that the settings name, or GLUE's of the Hub."""

    train: Pairs
    test: Pairs
    origin: str

    @classmethod
    def of(cls, subject: Subject) -> Mrpc:
        """What lm-eval's task of that name reads; tested on the split that it evaluates. Raises UnavailableError."""
        ready = harness.prepared(DATA, dataclasses.replace(subject.settings, limit=1), subject.warm)
        data, origin = ready.tasks[DATA].dataset, ready.origins[DATA]
        train, test = (
            [(row["sentence1"], row["sentence2"], row["label"]) for row in data[split]]
            for split in ("train", "validation")
        )
        if not train:
            raise UnavailableError(f"{origin} has no training pairs; give a folder with train.tsv and test.tsv")
        return cls(train, test, origin)


def _task(subject: Subject, context: int) -> Task:
    from tokenizers import Tokenizer

    mrpc, limit = Mrpc.of(subject), subject.settings.limit
    tokenizer = Tokenizer.from_str(subject.tokenizer_json)

    def encode(text: str) -> list[int]:
        return tokenizer.encode(text, add_special_tokens=False).ids

    end = tokenizer.token_to_id(subject.end_of_text)
    assert end is not None, "a token store's tokenizer has the token that ends its texts"
    return Task.of(mrpc.train[:limit], mrpc.test[:limit], encode, end, context, mrpc.origin)


def measure(subject: Subject) -> Iterator[Value | Items | About]:
    context = getattr(subject.model.config.get_text_config(), "max_position_embeddings", None) or 2**31
    key = f"{METRIC.name}/{context}"
    if key not in subject.warm:
        subject.warm[key] = _task(subject, context)
    yield from evaluate(Tuning.of(subject.model, subject.warm[key]))


METRIC = Metric(
    "finetuning_dimension",
    1,
    "smallest random subspace (DID, SAID) that reaches 90 % of full fine-tuning on MRPC",
    measure,
    kind="evaluation",
    data=(DATA,),
)
