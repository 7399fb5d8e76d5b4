"""Tiny models, tokenizers and data sets in the layouts of the real repositories, as the files that hold them."""

from __future__ import annotations

import gzip
import io
import itertools
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
import yaml
import zstandard
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM

Row = Mapping[str, Any]
Splits = Mapping[str, Sequence[Row]]

END_OF_TEXT = "<|endoftext|>"
VOCABULARY = 128
ASCII = sorted(
    {*map(chr, range(33, 127)), "Ġ", "Ċ"}
)  # the printable characters, and space and newline as GPT-2 has them
SHAPES: dict[str, dict[str, int]] = {
    "gpt_neox": {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2},
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2},
    "olmo": {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2},
    "llama": {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2},
}
LENGTH = {"gpt2": "n_positions"}


def tiny_model(
    kind: str, *, seed: int = 0, shards: int = 1, pickled: bool = False, vocabulary: int = VOCABULARY, length: int = 64
) -> dict[str, bytes]:
    """A model of two layers as its files: one safetensors file, several with an index, or a pickle only."""
    shape = {"vocab_size": vocabulary, LENGTH.get(kind, "max_position_embeddings"): length, **SHAPES[kind]}
    config = AutoConfig.for_model(kind, **shape, bos_token_id=0, eos_token_id=0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config)
    with tempfile.TemporaryDirectory() as folder:
        size = sum(weights.nbytes for weights in model.parameters())
        model.save_pretrained(folder, max_shard_size=size if shards == 1 else size // shards)
        files = {path.name: path.read_bytes() for path in Path(folder).iterdir()}
    if not pickled:
        return files
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    kept = {name: content for name, content in files.items() if "safetensors" not in name}
    return {**kept, "pytorch_model.bin": buffer.getvalue()}


def tokenizer_files(vocabulary: int = VOCABULARY) -> dict[str, bytes]:
    """A byte-level BPE tokenizer whose token 0 ends a text.

    Below 257 tokens not every byte has one: ASCII has, and other characters vanish. With more, nothing is lost.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet() if vocabulary > 256 else ASCII,
        show_progress=False,
    )
    words = map("".join, itertools.product("bdklmnrst", "aeiou", "bdklmnrst", "aeiou"))
    tokenizer.train_from_iterator([" ".join(words)], trainer)
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": 64,
        **dict.fromkeys(("bos_token", "eos_token", "unk_token"), END_OF_TEXT),
    }
    return {"tokenizer.json": tokenizer.to_str().encode(), "tokenizer_config.json": json.dumps(settings).encode()}


def parquet_dataset(
    configs: Mapping[str, Splits], *, shards: int = 1, row_group_size: int | None = None
) -> dict[str, bytes]:
    """Parquet as wikitext and GLUE have it: `config/split-00000-of-00001.parquet`, and a card that names them all.

    A single configuration named `default` lies in `data/`, and needs no card.
    """
    files: dict[str, bytes] = {}
    for config, splits in configs.items():
        for split, rows in splits.items():
            for index, part in enumerate(parts(rows, shards)):
                buffer = io.BytesIO()
                pq.write_table(pa.Table.from_pylist([dict(row) for row in part]), buffer, row_group_size=row_group_size)
                folder = "data" if list(configs) == ["default"] else config
                files[f"{folder}/{split}-{index:05d}-of-{shards:05d}.parquet"] = buffer.getvalue()
    if list(configs) == ["default"]:
        return files
    paths = {config: {split: f"{config}/{split}-*" for split in splits} for config, splits in configs.items()}
    return {"README.md": card(paths), **files}


def json_gz_dataset(configs: Mapping[str, Splits], *, shards: int = 1, name: str = "c4") -> dict[str, bytes]:
    """JSON lines as C4 has them: `en/c4-train.00000-of-01024.json.gz`, and a card that names the configurations."""
    files = {
        f"{config}/{name}-{split}.{index:05d}-of-{shards:05d}.json.gz": gzip.compress(json_lines(part), mtime=0)
        for config, splits in configs.items()
        for split, rows in splits.items()
        for index, part in enumerate(parts(rows, shards))
    }
    paths = {
        config: {split: f"{config}/{name}-{split}.*.json.gz" for split in splits} for config, splits in configs.items()
    }
    return {"README.md": card(paths), **files}


def jsonl_zst_dataset(
    train: Sequence[Row],
    validation: Sequence[Row] = (),
    test: Sequence[Row] = (),
    *,
    shards: int = 1,
    carded: bool = False,
) -> dict[str, bytes]:
    """The Pile's layout: `train/00.jsonl.zst` and further ones, `val.jsonl.zst`, `test.jsonl.zst`; without a card.

    Without one, `datasets` finds the folder `train` and looks no further for splits.
    """
    files = {f"train/{index:02d}.jsonl.zst": json_lines(part) for index, part in enumerate(parts(train, shards))}
    files |= {f"{name}.jsonl.zst": json_lines(rows) for name, rows in (("val", validation), ("test", test)) if rows}
    packed = {name: zstandard.compress(content) for name, content in files.items()}
    if not carded:
        return packed
    paths = {"train": "train/*.jsonl.zst", "validation": "val.jsonl.zst", "test": "test.jsonl.zst"}
    rows = {"train": train, "validation": validation, "test": test}
    return {"README.md": card({"default": {split: paths[split] for split in paths if rows[split]}}), **packed}


def pile_rows(texts: Sequence[str], set_name: str = "Pile-CC") -> list[dict[str, Any]]:
    return [{"text": text, "meta": {"pile_set_name": set_name}} for text in texts]


def parts(rows: Sequence[Row], count: int) -> list[Sequence[Row]]:
    """Rows in so many runs of nearly one length, in order."""
    bounds = [len(rows) * index // count for index in range(count + 1)]
    return [rows[start:end] for start, end in itertools.pairwise(bounds)]


def json_lines(rows: Sequence[Row]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def card(configs: Mapping[str, Mapping[str, str]]) -> bytes:
    """A README whose head tells `datasets` which files are which configuration's, and which split's."""
    named = [
        {"config_name": config, "data_files": [{"split": split, "path": path} for split, path in paths.items()]}
        for config, paths in configs.items()
    ]
    return f"---\n{yaml.safe_dump({'configs': named}, sort_keys=False)}---\n# A data set\n".encode()
