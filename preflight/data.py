"""Data sets of the Hub and corpora of files: their structure, their held-out documents, and how fast they stream."""

from __future__ import annotations

import itertools
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import metrics
from metrics.evaluation import harness
from orchestrator.disk import human
from orchestrator.spec import Sweep
from preflight.check import Problem
from preflight.connection import FAITHFUL
from trainables import corpus as corpora
from trainables import embedded, hub
from trainables.corpus import CORPORA, EMBEDDED, SPLITS, HubDataset, Shard
from trainables.shards import PILE, Columns, Document

HELD_OUT_DOCUMENTS = 3
STREAMED = 200  # documents, within so many seconds
STREAMED_S = 10.0
SHOWN = 60  # characters of a text
OTHERS = "try another data set, as --dataset tinystories or wikitext-2, or a local folder of shards"


@dataclass(frozen=True)
class Evaluation:
    """A data set that a task of lm-eval reads: the split, and the columns that it must have."""

    dataset: HubDataset
    split: str
    columns: tuple[str, ...]


TRUTHFULQA = Evaluation(
    HubDataset("truthfulqa/truthful_qa", "multiple_choice"), "validation", ("question", "mc1_targets", "mc2_targets")
)
EVALUATIONS = {
    "wikitext": Evaluation(HubDataset("EleutherAI/wikitext_document_level", "wikitext-2-raw-v1"), "test", ("page",)),
    "lambada_openai": Evaluation(HubDataset("EleutherAI/lambada_openai", "default"), "test", ("text",)),
    "hellaswag": Evaluation(HubDataset("Rowan/hellaswag"), "validation", ("ctx_a", "ctx_b", "endings", "label")),
    "winogrande": Evaluation(
        HubDataset("allenai/winogrande", "winogrande_xl"), "validation", ("sentence", "option1", "option2", "answer")
    ),
    "truthfulqa_mc1": TRUTHFULQA,
    "truthfulqa_mc2": TRUTHFULQA,
    "mrpc": Evaluation(CORPORA["mrpc"], "validation", ("sentence1", "sentence2", "label")),
}


@dataclass(frozen=True)
class Source:
    """A corpus as the user names it; None for the embedded one."""

    word: str
    corpus: corpora.Corpus | None

    @classmethod
    def of(cls, word: str, columns: Columns = PILE) -> Source:
        """Raises ShardError for a word that is no corpus."""
        return cls(word, None if word == EMBEDDED else corpora.find(word, columns))

    @property
    def is_remote(self) -> bool:
        return isinstance(self.corpus, HubDataset) or self.word.startswith("hf://")

    def shards(self) -> list[Shard] | None:
        """None for the embedded corpus, whose shards a run makes. Raises ShardError, HubError, and Problem offline."""
        if self.is_remote:
            _refuse_offline()
        return None if self.corpus is None else self.corpus.shards()


def documents(shards: Sequence[Shard] | None, split: str) -> Iterator[Document]:
    """Those of a split, in the order in which a run reads them; without shards, of the embedded corpus."""
    if shards is None:
        return (document for document in embedded.documents() if document.split == split)
    labelled = (pair for shard in shards if split in shard.splits for pair in corpora.labelled(shard))
    return (document for label, document in labelled if label == split)


def structure(source: Source) -> str:
    """Configurations, splits, shards, columns and sizes, by the card and the list of files."""
    corpus = source.corpus
    if corpus is None:
        return "text that ships with Python: nothing to download"
    if not isinstance(corpus, HubDataset):
        shards = corpus.shards()
        counted = Counter(" and ".join(shard.splits) for shard in shards)
        size = sum(os.path.getsize(path) for shard in shards if os.path.isfile(path := getattr(shard, "path", "")))
        listed = ", ".join(f"{name} in {count} shard{'s' * (count != 1)}" for name, count in counted.items())
        return f"{corpus.uri}: {listed}{f', {human(size)}' if size else ''}"
    _refuse_offline()
    said = corpora.said_once(source.word)
    builder = corpus.builder(corpus.commit())
    present = set(corpus.named(builder.config.data_files).values())
    if features := builder.info.features:
        corpus.columns.of_table({name: corpora.is_text(kind) for name, kind in features.items()}, corpus.label)
    missing = [split for split in SPLITS if split not in present]
    by_hash = f" ({' and '.join(missing)} by a hash of each document)" if missing else ""
    resolved = f"{said.partition(': ')[2]}; " if said else ""
    return f"{resolved}{corpus.label}: {_configurations(corpus)}{_files(builder)}{by_hash}; {_columns(builder)}"


def _refuse_offline() -> None:
    if hub.is_offline():
        raise Problem(
            "offline mode is on, and data sets of the Hub are streamed from it, not from the cache",
            "run `sweep.py prepare` where there is a network and copy the folder `tokens` beside the store; or unset "
            "HF_HUB_OFFLINE; or give a local folder of shards",
        )


def _configurations(corpus: HubDataset) -> str:
    from datasets import get_dataset_config_names

    if corpus.files:
        return ""
    names = get_dataset_config_names(corpus.repo, revision=corpus.revision)
    shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    return f"{len(names)} configurations ({shown}); " if len(names) > 1 else ""


def _files(builder: Any) -> str:
    """``train in 4 files, test in 1 file``"""
    counted = {split: len(files) for split, files in builder.config.data_files.items()}
    return ", ".join(f"{split} in {count} file{'s' * (count != 1)}" for split, count in counted.items())


def _columns(builder: Any) -> str:
    """``columns text (string); 1.2 GB``, as far as the card says."""
    listed = ", ".join(
        f"{name} ({getattr(kind, 'dtype', 'nested')})" for name, kind in (builder.info.features or {}).items()
    )
    size = builder.info.dataset_size or builder.info.download_size
    return f"columns {listed or 'are not named by its card'}{f'; {human(size)}' if size else ''}"


def held_out(source: Source) -> str:
    """The first documents of the validation split, of which a run measures every checkpoint."""
    shards = source.shards()
    own = any(shard.splits == ("validation",) for shard in shards or ())
    found = list(itertools.islice(documents(shards, "validation"), HELD_OUT_DOCUMENTS))
    if not found:
        raise Problem("the validation split has no documents", "the data set is empty or too small to hold some out")
    domains = ", ".join(dict.fromkeys(document.domain for document in found))
    how = "a split of its own" if own else "held out by a hash of each document"
    characters = sum(len(one.text) for one in found)
    return (
        f"{how}; the first {len(found)} documents have {characters:,} characters of {domains}: {_shown(found[0].text)}"
    )


def streamed(source: Source, tokenizer_json: str | None) -> str:
    """How fast the first documents of the train split come, and their tokens."""
    began = time.perf_counter()
    texts: list[str] = []
    for document in documents(source.shards(), "train"):
        texts.append(document.text)
        if len(texts) == STREAMED or time.perf_counter() - began > STREAMED_S:
            break
    seconds = time.perf_counter() - began
    size = sum(len(text.encode()) for text in texts)
    if not size:
        raise Problem("the train split has no text", "check which column is the text: text_columns=NAME")
    said = f"{len(texts)} documents, {human(size)} in {seconds:.1f} s, the first connection included"
    if tokenizer_json is None:
        return f"{said}: {human(int(size / seconds))}/s"
    from trainables import tokenizers

    tokenizer = tokenizers.load(tokenizer_json)[0]
    tokens = sum(len(one.ids) for one in tokenizer.encode_batch(texts))
    seconds = time.perf_counter() - began
    return f"{said}: {tokens:,} tokens at {tokens / seconds:,.0f} tokens/s, on one stream"


def tasks(sweep: Sweep) -> list[str]:
    """lm-eval's tasks whose data the evaluations of a sweep read."""
    return list(dict.fromkeys(task for name in sweep.evaluations for task in metrics.find(name).data))


def task(name: str, words: Sequence[str], *, depth: str) -> str:
    """Whether a task's data are there: a local copy of ``words`` is read, a common task's looked at, and of another
    task lm-eval loads what it needs, unless this is to be ``quick``."""
    local = harness.sources(words).get(name)
    if local is None and name in EVALUATIONS:
        return evaluation(EVALUATIONS[name], with_row=depth != "quick")
    if local is None and depth == "quick":
        return "not one of the common tasks: looked at without --quick"
    if reason := harness.unavailable(name, words):
        raise Problem(reason, "")
    return f"read from {local}" if local else "loaded by lm-eval"


def evaluation(one: Evaluation, *, with_row: bool) -> str:
    """Whether an evaluation's data set has its split and columns: by its card, or ``with_row`` by its first row."""
    _refuse_offline()
    dataset = one.dataset
    commit = dataset.commit()
    builder = dataset.builder(commit)
    if one.split not in builder.config.data_files:
        raise Problem(f"{dataset.label} has no split {one.split}, but {_files(builder)}", FAITHFUL)
    columns = dict.fromkeys(builder.info.features or one.columns)
    if with_row:
        row = next(iter(dataset.streams(commit)[one.split]), None)
        if row is None:
            raise Problem(f"{dataset.label} has no rows in {one.split}", FAITHFUL)
        columns = row
    if lacking := [name for name in one.columns if name not in columns]:
        raise Problem(f"{dataset.label} has no column {', '.join(lacking)}, but {', '.join(columns)}", FAITHFUL)
    shown = f"; {one.columns[0]}: {_shown(str(columns[one.columns[0]]))}" if with_row else ""
    return f"{dataset.label}: {_files(builder)}; {_columns(builder)}{shown}"


def _shown(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else f"{line[:SHOWN]}..."
