"""Tokens per second of shards -> token store, beside the limit and beside what one would write with ``datasets``.

(a) ours: ``trainables.ingest.prepare``, Ray Data and packing included, Ray's own start not; (b) the limit:
``tokenizers`` alone on the same texts, already in memory, all cores; (c) ``datasets``: its JSON loader on the same
shards and ``map(num_proc=2)``, to the same packed blocks with the same tokenizer. The texts are the embedded corpus,
over and over, as Pile-format shards; each part runs in a process of its own, and the medians of ``--repeats`` are
compared. The peak memory is that of the largest process of (a), of its own pages and those it shares.

    python benchmarks/ingest.py                       # 2 shards of 120 MB
    python benchmarks/ingest.py --shards 1 --megabytes 1000 --repeats 1 --only ours
    python benchmarks/ingest.py --tokenizer 20B_tokenizer.json
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from orchestrator import authentication
from trainables import embedded, ingest, models
from trainables import tokenizers as tokenizing
from trainables.corpus import Files
from trainables.shards import Document, write_shard
from trainables.storage import Folder
from trainables.token_spec import TokenSpec
from trainables.tokenizers import END_OF_TEXT, train_bpe

SEQ_LEN, VOCABULARY, BATCH = 2048, 50304, 64
PARTS = ("ours", "limit", "datasets_map")
POLL_S = 2.0


def write_shards(folder: Path, count: int, megabytes: float) -> None:
    """``count`` shards of so many megabytes of text each; a number in every document makes it another text."""
    documents = list(embedded.documents())
    for index in range(count):
        write_shard(folder / f"{index:02d}.jsonl.zst", _documents(documents, index, megabytes * 1e6))


def _documents(documents: list[Document], index: int, size: float) -> Iterator[Document]:
    written = 0
    for number in itertools.count():
        document = documents[(number * 7919 + index) % len(documents)]
        yield Document(f"{index} {number}\n{document.text}", document.domain)
        written += len(document.text.encode())
        if written >= size:
            return


def ours(shards: Path, tokenizer: Path) -> dict[str, float]:
    import ray

    authentication.require_token()
    ray.init(address="local", include_dashboard=False, log_to_driver=False)
    spec = TokenSpec.of(
        corpus=str(shards),
        tokenizer=str(tokenizer),
        model=models.gpt_neox("any", 1, 64, 1, VOCABULARY, SEQ_LEN, 1e-3),
        seq_len=SEQ_LEN,
    )
    with tempfile.TemporaryDirectory() as folder, peak_memory() as peak:
        began = time.perf_counter()
        store = ingest.prepare(spec, Folder.open(folder), blocks=10**9, embedded_shards=Folder.open("unused"))
        seconds = time.perf_counter() - began
    ray.shutdown()
    return {"tokens": store.train_blocks * (SEQ_LEN + 1), "seconds": seconds, "peak_gb": peak[0] / 1e9}


@contextlib.contextmanager
def peak_memory() -> Iterator[list[int]]:
    """The largest resident set of any process of this session, in bytes, by the kernel's own high-water marks."""
    largest, stop = [0], threading.Event()

    def watch() -> None:
        while not stop.wait(POLL_S):
            for status in Path("/proc").glob("[0-9]*/status"):
                with contextlib.suppress(OSError, KeyError, IndexError):
                    lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
                    if os.getsid(int(lines["Pid"])) == os.getsid(0):
                        largest[0] = max(largest[0], int(lines["VmHWM"].split()[0]) * 1024)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    yield largest
    stop.set()
    thread.join()


def limit(shards: Path, tokenizer: Path) -> dict[str, float]:
    """The same batches as ours, without reading, moving or packing anything."""
    encoder, _ = tokenizing.load(tokenizer)
    encoder.encode_special_tokens = True
    texts = [document.text for shard in Files(str(shards)).shards() for document in shard.documents()]
    texts = [text for text in texts if Document(text, "").split == "train"]
    began = time.perf_counter()
    tokens = 0
    for first in range(0, len(texts), BATCH):
        encoded = encoder.encode_batch_fast(texts[first : first + BATCH], add_special_tokens=False)
        tokens += sum(map(len, encoded))
    return {"tokens": tokens, "seconds": time.perf_counter() - began}


def datasets_map(shards: Path, tokenizer: Path) -> dict[str, float]:
    """The recipe of Hugging Face's own language-modelling example: tokenise, then concatenate and cut, both by map."""
    import datasets
    from transformers import PreTrainedTokenizerFast

    datasets.disable_progress_bars()
    encoder = PreTrainedTokenizerFast(tokenizer_file=str(tokenizer), eos_token=END_OF_TEXT)
    files = [str(path) for path in sorted(shards.iterdir())]

    def tokenize(batch: dict[str, list[Any]]) -> dict[str, Any]:
        return {"ids": [[*ids, encoder.eos_token_id] for ids in encoder(batch["text"])["input_ids"]]}

    def group(batch: dict[str, list[Any]]) -> dict[str, Any]:
        ids = list(itertools.chain.from_iterable(batch["ids"]))
        return {"ids": [ids[i : i + SEQ_LEN + 1] for i in range(0, len(ids) - SEQ_LEN, SEQ_LEN + 1)]}

    with tempfile.TemporaryDirectory() as cache:
        began = time.perf_counter()
        texts = datasets.load_dataset("json", data_files=files, split="train", cache_dir=cache)
        settings = {"batched": True, "num_proc": 2}
        tokenized = texts.map(tokenize, remove_columns=texts.column_names, **settings)
        seconds_tokenized = time.perf_counter() - began
        packed = tokenized.map(group, **settings)
        seconds = time.perf_counter() - began
        tokens = len(packed) * (SEQ_LEN + 1)
    return {"tokens": tokens, "seconds": seconds, "seconds_tokenized": seconds_tokenized}


def part(name: str, shards: Path, tokenizer: Path) -> dict[str, Any]:
    """One part in a session of its own, so that its processes can be told from others."""
    command = [sys.executable, __file__, "--part", name, str(shards), str(tokenizer)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, start_new_session=True).stdout
    return dict(json.loads(output.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("--megabytes", type=float, default=120, help="of text in each shard")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--tokenizer", type=Path, help="a tokenizer.json; default: a BPE of 8192 trained on the shards")
    parser.add_argument("--only", choices=PARTS, help="one part alone")
    parser.add_argument("--part", nargs=3, metavar=("NAME", "SHARDS", "TOKENIZER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        name, shards, tokenizer = options.part
        print(
            json.dumps(
                {"ours": ours, "limit": limit, "datasets_map": datasets_map}[name](Path(shards), Path(tokenizer))
            )
        )
        return
    with tempfile.TemporaryDirectory(prefix="toposweep-benchmark-") as scratch:
        shards, tokenizer = Path(scratch) / "shards", options.tokenizer or Path(scratch) / "tokenizer.json"
        shards.mkdir()
        write_shards(shards, options.shards, options.megabytes)
        if options.tokenizer is None:
            train_bpe(Files(str(shards)).shards(), 8192).save(str(tokenizer))
        names = [options.only] if options.only else PARTS
        runs = [{name: part(name, shards, tokenizer) for name in names} for _ in range(options.repeats)]
    rates = {name: statistics.median(run[name]["tokens"] / run[name]["seconds"] for run in runs) for name in names}
    for name, rate in rates.items():
        print(f"{name:13} {rate:12,.0f} tokens/s")
    if "datasets_map" in rates:
        tokenized = statistics.median(
            run["datasets_map"]["tokens"] / run["datasets_map"]["seconds_tokenized"] for run in runs
        )
        print(f"{'  unpacked':13} {tokenized:12,.0f} tokens/s, its tokenisation alone")
    if "ours" in rates:
        print(f"largest process of ours: {max(run['ours']['peak_gb'] for run in runs):.2f} GB")
    for name in PARTS[1:]:
        if len(rates) == len(PARTS):
            print(f"ours/{name} {rates['ours'] / rates[name]:.2f}")


if __name__ == "__main__":
    main()
