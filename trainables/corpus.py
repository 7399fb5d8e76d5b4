"""Corpora by name, and their parts: Hub data sets, and files of one's own. A new one is a line of ``CORPORA``."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from trainables import hub
from trainables.shards import ARROW, PILE, SUFFIXES, Columns, Document, ShardError, read_documents
from trainables.storage import Folder, canonical_json, local_path, refuse_keys, sha256

EMBEDDED = "embedded"
SAMPLE_BYTES = 1 << 16
FORMATS = ("json", "parquet", "arrow", "csv", "text", "xml")  # of data sets, as ``datasets`` calls them
HELD_OUT_SPLITS = ("validation", "test")
SPLITS = ("train", *HELD_OUT_SPLITS)
# how corpora name their splits: the Pile's files val.jsonl.zst, the Hub's train-00000-of-00004.parquet
_SPLIT_NAMES = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation"} | {
    "dev": "validation",
    "eval": "validation",
    "test": "test",
}


_TITLE = re.compile(r" = [^=\n]+ = \n?")  # of a WikiText article; its sections have more of the signs


class Shard(Protocol):
    """A part of a corpus that one task reads, start to end.

    splits: of which its documents are: one split, or several that are told apart by :attr:`Document.split`.
    """

    @property
    def splits(self) -> tuple[str, ...]: ...

    def documents(self) -> Iterator[Document]:
        """Streamed, in bounded memory, always in one order. Raises ShardError."""
        ...


def labelled(shard: Shard) -> Iterator[tuple[str, Document]]:
    """The shard's documents, each with its split."""
    for document in shard.documents():
        split = document.split if len(shard.splits) > 1 else shard.splits[0]
        yield split if split in shard.splits else "train", document


@dataclass(frozen=True)
class FileShard:
    path: str
    columns: Columns
    splits: tuple[str, ...]

    def documents(self) -> Iterator[Document]:
        return read_documents(self.path, self.columns)


@dataclass(frozen=True)
class Files:
    """Shards in a folder, or one of them, at a path or a URI that ``pyarrow.fs`` opens (``hf://``, ``s3://`` ...).

    Files and sub-folders named after a split hold just that split, as in the published Pile; splits that have none are
    told apart by a hash of each document.
    """

    uri: str
    columns: Columns = PILE

    @property
    def fingerprint(self) -> str:
        """By the files' names and sizes, and of local ones by their beginnings and ends. Raises ShardError if there are
        none."""
        found, root = self._found(), Folder.open(self.uri)
        files = [
            [name or root.name, size, _sample(root, name, size) if root.is_local else ""] for name, size, _ in found
        ]
        return f"shards-{sha256(canonical_json(files))[:12]}"

    def commit(self) -> None:
        """Files have none: they are what they are."""

    def shards(self, commit: str | None = None) -> list[Shard]:
        """Those named after a held-out split first, else by name. Raises ShardError."""
        found = self._found()
        # the settings of an object store follow its path: s3://bucket/pile?endpoint_override=host:9000&scheme=http
        root, mark, settings = self.uri.partition("?") if "://" in self.uri else (Folder.open(self.uri).path, "", "")
        by_hash = _by_hash({split for _, _, split in found})
        return [
            FileShard(
                (f"{root.rstrip('/')}/{name}" if name else root) + mark + settings,
                self.columns,
                by_hash.get(split, (split,)),
            )
            for name, _, split in found
        ]

    def _found(self) -> list[tuple[str, int, str]]:
        """(name within the folder, bytes, split) of each shard, by name; the name of a single file is empty."""
        try:
            root = Folder.open(self.uri)
            if root.is_file():
                if not root.name.endswith(SUFFIXES):
                    raise ValueError(f"is a file, and its name does not end in {', '.join(SUFFIXES)}")
                size = root.filesystem.get_file_info(root.path).size
                return [("", size, "train")]
            found = [(name, size, _split_of(name)) for name, size in _shards_in(root).items()]
            for folder in sorted(set(root.names()) - root.sizes().keys()):
                if split := _SPLIT_NAMES.get(folder.lower()):
                    inside = _shards_in(root / folder).items()
                    found += [(f"{folder}/{name}", size, split) for name, size in inside]
        except (OSError, ValueError, NotImplementedError) as error:  # hf:// lists no repositories
            reason = hub.explanation(error) if self.uri.startswith("hf://") else None
            raise ShardError(f"corpus {self.uri}: {reason or error}") from error
        if not found:
            raise ShardError(
                f"corpus {self.uri}: no shard there; expected files ending in {', '.join(SUFFIXES)}, "
                "or a save_to_disk folder"
            )
        return sorted(found)


def _sample(root: Folder, name: str, size: int) -> str:
    """What tells files of one name and size apart, in no time. Raises ShardError."""
    path = f"{root.path}/{name}" if name else root.path
    try:
        with root.filesystem.open_input_file(path) as stream:
            start = stream.read(SAMPLE_BYTES)
            stream.seek(max(0, size - SAMPLE_BYTES))
            return sha256(start + stream.read(SAMPLE_BYTES))
    except OSError as error:
        raise ShardError(f"{path}: cannot be read ({error}); mend its permissions, or fetch it anew") from error


def _shards_in(folder: Folder) -> dict[str, int]:
    """Bytes of the shards directly inside, by name. Raises ValueError for what has a shard's name and is no file: left
    out, a part of the corpus would be missing silently."""
    sizes = folder.sizes()
    local = folder.is_local and os.path.isdir(folder.path)
    names = sorted(os.listdir(folder.path)) if local else folder.names()  # pyarrow lists no link to nothing
    if others := [name for name in names if _is_shard(name) and name not in sizes]:
        raise ValueError(f"{others[0]} is no file, but a folder or a link to nothing; mend it, or move it away")
    return {name: size for name, size in sizes.items() if _is_shard(name)}


def _is_shard(name: str) -> bool:
    """Beside them lie what macOS leaves on foreign disks ("._name") and what ``datasets`` caches in its folders."""
    return name.endswith(SUFFIXES) and not name.startswith((".", "cache-"))


def _split_of(name: str) -> str:
    if name.endswith(ARROW):
        return "train"  # save_to_disk keeps splits in folders
    return _SPLIT_NAMES.get(re.split(r"[._-]", name.lower(), maxsplit=1)[0], "train")


def _by_hash(present: set[str]) -> dict[str, tuple[str, ...]]:
    """Which splits the documents of the train split stand for: its own, and those that the corpus does not have."""
    return {"train": tuple(split for split in SPLITS if split == "train" or split not in present)}


@dataclass(frozen=True)
class HubShard:
    """One of the files of a data set's split, as ``datasets`` streams it."""

    dataset: HubDataset
    commit: str
    split: str
    index: int
    of: int
    splits: tuple[str, ...]

    def documents(self) -> Iterator[Document]:
        place = f"{self.dataset.label} ({self.split}, part {self.index + 1} of {self.of})"
        number = 0
        try:
            rows = _load(self.dataset, self.commit, split=self.split).shard(num_shards=self.of, index=self.index)
            columns = self.dataset.columns
            if rows.features:
                columns = columns.of_table({name: is_text(kind) for name, kind in rows.features.items()}, place)
            article: list[Document] = []
            for number, row in enumerate(rows, start=1):
                if columns.is_null(row):
                    continue
                document = columns.document(row, f"{place}, row {number}")
                if not self.dataset.rows_are_lines:
                    yield document
                    continue
                if article and _TITLE.fullmatch(document.text):
                    yield _joined(article)
                    article = []
                article.append(document)
            if article:
                yield _joined(article)
        except ShardError:
            raise
        except Exception as error:
            reason = hub.explanation(error)
            raise ShardError(f"{place}, after row {number}: {reason or f'{type(error).__name__}: {error}'}") from error


def _joined(lines: list[Document]) -> Document:
    return Document("".join(line.text for line in lines), lines[0].domain)


@dataclass(frozen=True)
class HubDataset:
    """A data set of the Hub: its id, configuration and revision, of which the last two may be left open.

    files: which hold which split, where the data set's own card does not say. rows_are_lines: of WikiText, whose
    articles begin at their titles.
    """

    repo: str
    config: str | None = None
    revision: str | None = None
    columns: Columns = PILE
    files: tuple[tuple[str, str], ...] = ()
    rows_are_lines: bool = False

    @property
    def label(self) -> str:
        return self.repo + (f":{self.config}" if self.config else "") + (f"@{self.revision}" if self.revision else "")

    @property
    def fingerprint(self) -> str:
        """By its words, so that planning needs no network; the token store holds the commit that they stood for."""
        return f"hub-{sha256(canonical_json([self.repo, self.config, self.revision]))[:12]}"

    def commit(self) -> str:
        """What the revision stands for now. Raises HubError."""
        with hub.explained(f"data set {self.label}"):
            return hub.commit_of(self.repo, self.revision, "dataset")

    def builder(self, commit: str) -> Any:
        """``datasets``' own description at a commit, by the card and the list of files. Raises ShardError."""
        return self._asked(lambda: _builder(self, commit))

    def streams(self, commit: str) -> Mapping[str, Any]:
        """``datasets``' own stream of each split, by its name there. Raises ShardError."""
        return self._asked(lambda: _load(self, commit))

    def _asked(self, action: Callable[[], Any]) -> Any:
        """Raises ShardError that says the cause and the mend."""
        try:
            with hub.explained(f"data set {self.label}"):
                return action()
        except (ValueError, RuntimeError) as error:  # datasets': which configuration? or that it runs no scripts
            raise ShardError(_explained(self, error)) from error

    def named(self, splits: Iterable[str]) -> dict[str, str]:
        """What its splits are here. Raises ShardError where none of them is for training."""
        found = {name: _SPLIT_NAMES[name] for name in splits if name in _SPLIT_NAMES}
        if "train" not in found.values():
            raise ShardError(f"data set {self.label}: has no train split, but {', '.join(splits)}")
        return found

    def shards(self, commit: str | None = None) -> list[Shard]:
        """Every part of every split at a commit, by default what the revision stands for now.

        Raises ShardError that says the cause and the mend.
        """
        commit = commit or self.commit()
        streams = self.streams(commit)
        named = self.named(streams)
        by_hash = _by_hash(set(named.values()))
        shards: list[Shard] = []
        for name, split in named.items():
            count = streams[name].num_shards
            shards += [HubShard(self, commit, name, i, count, by_hash.get(split, (split,))) for i in range(count)]
        return shards


def _load(dataset: HubDataset, commit: str, **given: Any) -> Any:
    return _builder(dataset, commit).as_streaming_dataset(**given)


def _builder(dataset: HubDataset, commit: str) -> Any:
    import datasets

    datasets.disable_progress_bars()
    files = dict(dataset.files) or None
    builder = datasets.load_dataset_builder(dataset.repo, dataset.config, data_files=files, revision=commit)
    if builder.name not in FORMATS:  # of WebDataset's archives, for one, it would unpickle the members named *.pth
        raise ValueError(f"its files are of the kind {builder.name}; of these alone text is read: {', '.join(FORMATS)}")
    return builder


def is_text(feature: Any) -> bool:
    return getattr(feature, "dtype", None) in ("string", "large_string")


def _explained(dataset: HubDataset, error: Exception) -> str:
    text = str(error)
    if isinstance(error, hub.HubError):
        return text
    if "onfig name is missing" in text or "BuilderConfig" in text:
        listed = re.search(r"\[(.+?)\]", text)
        names = listed[1].replace("'", "") if listed else text
        return f"data set {dataset.label}: which configuration? Say corpus={dataset.repo}:NAME, NAME one of: {names}"
    scripts = (
        f"; a script no longer loads: corpus={dataset.repo}@refs/convert/parquet may be the Hub's own copy of its data"
        if ("data files" in text or "scripts" in text) and dataset.revision is None
        else ""
    )
    return f"data set {dataset.label}: {text.splitlines()[0]}{scripts}"


Corpus = Files | HubDataset
# name, Hub id, configuration, columns: what today's datasets loads, without scripts
CORPORA = {
    "pile": HubDataset(
        "monology/pile-uncopyrighted",
        files=(("train", "train/*.jsonl.zst"), ("validation", "val.jsonl.zst"), ("test", "test.jsonl.zst")),
    ),
    "pile-deduplicated": HubDataset("EleutherAI/the_pile_deduplicated"),
    "c4": HubDataset("allenai/c4", "en"),
    "openwebtext": HubDataset("Skylion007/openwebtext"),
    "tinystories": HubDataset("roneneldan/TinyStories"),
    "wikitext-2": HubDataset("Salesforce/wikitext", "wikitext-2-raw-v1", rows_are_lines=True),
    "wikitext-103": HubDataset("Salesforce/wikitext", "wikitext-103-raw-v1", rows_are_lines=True),
    "mrpc": HubDataset("nyu-mll/glue", "mrpc", columns=Columns(("sentence1", "sentence2"))),
}
# words of the field's older documents whose data sets were scripts, which datasets no longer runs
OLD_IDS = {
    "EleutherAI/pile": "pile",
    "EleutherAI/the_pile": "pile",
    "the_pile": "pile",
    "EleutherAI/the_pile_deduped": "pile-deduplicated",
    "wikitext": "wikitext-2",
    "wikitext-2-raw-v1": "wikitext-2",
    "wikitext-103-raw-v1": "wikitext-103",
    "glue/mrpc": "mrpc",
    "glue:mrpc": "mrpc",
}


def find(word: str, columns: Columns = PILE) -> Corpus:
    """A corpus by its name in ``CORPORA``, an older Hub id, a folder or file, a URI, or ``ID[:CONFIG][@REVISION]``.

    Asks the Hub for nothing. Raises ShardError for a word that is none of these.
    """
    row = CORPORA.get(OLD_IDS.get(word, word)) or next((row for row in CORPORA.values() if row.repo == word), None)
    if row is not None:
        return replace(row, columns=columns.over(row.columns))
    try:
        refuse_keys(word)
        if "://" in word or word.startswith(("/", ".", "~")) or local_path(word).exists():
            return Files(word, columns)
    except (ValueError, OSError) as error:  # a word longer than a path can be
        raise ShardError(f"corpus: {error}") from error
    match = re.fullmatch(r"([\w.-]+/[\w.-]+)(?::([\w.-]+))?(?:@([\w./-]+))?", word)
    if match is None:
        raise ShardError(
            f"corpus {word}: no such path, and no corpus of that name. Allowed: {EMBEDDED}, {', '.join(CORPORA)}, "
            "a folder or file of shards, a URI (hf://, s3://), or a Hub data set as owner/name[:config][@revision]"
        )
    known = next((row for row in CORPORA.values() if (row.repo, row.config) == (match[1], match[2])), HubDataset(word))
    own = columns.over(known.columns)
    return HubDataset(match[1], match[2], match[3], own, known.files, known.rows_are_lines)


def said_once(word: str) -> str | None:
    """What an ingestion says of a word that does not name a data set exactly as it is loaded."""
    found = find(word)
    if not isinstance(found, HubDataset) or word in (*CORPORA, found.label):
        return None
    why = "is a script, which datasets no longer runs; " if word in OLD_IDS else ""
    return f"corpus {word}: {why}using {found.label}"
