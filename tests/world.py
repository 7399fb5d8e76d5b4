"""For tests of what is read: a trained sweep, made without Ray, a Hub with a model and data sets, and files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset

import search_spaces
from orchestrator import provenance
from orchestrator.overrides import override
from orchestrator.store import Store
from tests.hub import Hub
from tests.hub_content import jsonl_zst_dataset, parquet_dataset, pile_rows, tiny_model, tokenizer_files
from trainables import corpus, ingest, packing, tokenizers
from trainables.config import TrialConfig
from trainables.corpus import SPLITS
from trainables.pretrain import pretrain
from trainables.shards import Document, write_shard
from trainables.storage import MANIFEST, Folder, sha256
from trainables.token_store import META, TOKENIZER, TokenStore

PAIRS = [{"sentence1": f"a b {n}", "sentence2": "c", "label": n % 2, "idx": n} for n in range(8)]
TEXTS = [f"the cat number {number} sat on mat {number**2}, and stayed" for number in range(300)]
MODEL, SHAPE = "lab/tiny", {"vocabulary": 512, "length": 128}
SETTINGS = [f"model={MODEL}", "seeds=0", "budgets=6steps", "seq_len=32", "batch_size=4", "probe_sequences=8"]
SETTINGS += ["probe_points=24", "evaluators=1"]


class World(NamedTuple):
    """A trained sweep, a Hub with a published model and data sets, and local copies of data."""

    store: Store
    config: TrialConfig
    trial: Folder
    tokens: TokenStore
    folder: Path
    hub: Hub

    def plant(self, name: str, content: bytes) -> Folder:
        """Put ``content`` in the place of a file of the trial, and its sha256 into a manifest beside it; the trial."""
        folder, _, own = name.rpartition("/")
        place = self.trial / folder if folder else self.trial
        manifest = place.read_json(MANIFEST) if place.is_committed() and own != MANIFEST else None
        place.write(own, content)
        if manifest:
            manifest["files"][own] = {"bytes": len(content), "sha256": sha256(content)}
            place.write_json(MANIFEST, manifest)
        return self.trial

    def plant_tokens(self, name: str, content: bytes) -> TokenStore:
        """The same with a file of the token store."""
        meta = self.tokens.folder.read_json(META)
        if name == TOKENIZER:
            meta["tokenizer_sha256"] = sha256(content)
        else:
            meta["validation"]["sha256"] = [sha256(content)]
        self.tokens.folder.write(name, content)
        self.tokens.folder.write_json(META, meta)
        return TokenStore.open(self.tokens.folder)


def build(folder: Path, hub: Hub, pickled: bytes) -> World:
    """pickled: what the Hub's model holds in ``pytorch_model.bin``, beside its safetensors."""
    for step in (1, 2):
        files = tiny_model("gpt_neox", seed=step, shards=step, **SHAPE) | tokenizer_files(300)
        hub.add(MODEL, files | {"pytorch_model.bin": pickled}, revision=f"step{step}")
    hub.add(MODEL, files)
    hub.add("lab/pile", jsonl_zst_dataset(pile_rows(TEXTS), pile_rows(TEXTS[:9]), carded=True), repo_type="dataset")
    hub.add("lab/table", parquet_dataset({"default": {"train": pile_rows(TEXTS)}}), repo_type="dataset")
    glue = parquet_dataset({"mrpc": dict.fromkeys(("train", "validation", "test"), PAIRS)})
    hub.add("nyu-mll/glue", glue, repo_type="dataset")
    for name in ("mrpc", "corpus"):
        (folder / name).mkdir()
    pq.write_table(pa.Table.from_pylist(PAIRS), folder / "mrpc" / "validation.parquet")
    (folder / "mrpc" / "train.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in PAIRS))
    Dataset.from_list(PAIRS).save_to_disk(str(folder / "saved"))
    write_shard(folder / "corpus" / "a.jsonl.zst", [Document(text, "a") for text in TEXTS])
    pq.write_table(pa.table({"text": TEXTS}), folder / "corpus" / "b.parquet")
    Dataset.from_dict({"text": TEXTS}).save_to_disk(str(folder / "corpus" / "train"))
    return _trained(folder, hub)


def _trained(folder: Path, hub: Hub) -> World:
    """As a run does it, without Ray."""
    spec = override(search_spaces.find("quickstart")(), [*SETTINGS, f"corpus={folder / 'corpus'}"])
    store = Store.open(str(folder / "store"))
    (config,) = spec.trials()
    assert isinstance(config, TrialConfig)
    token_spec = spec.token_spec(config.model)
    parts = corpus.find(token_spec.corpus).shards()
    tokenizer_json = tokenizers.load(token_spec.tokenizer)[0].to_str()
    rows = (
        (row["split"], row["domain"], np.array(row["ids"]))
        for index in range(len(parts))
        for table in ingest.tokenize_shard({"shard": np.array([index])}, parts, tokenizer_json, config.seq_len)
        for row in table.to_pylist()
    )
    place = store.tokens(config.tokens)
    tokens = packing.pack([packing.Stream(SPLITS, rows)], token_spec, place, blocks=24, tokenizer_json=tokenizer_json)
    store.write_sweep("quickstart", spec, provenance.collect(), {config.tokens: None})
    store.write_trial(config)
    pretrain(config, store.trial(config.trial_id), tokens)
    return World(store, config, store.trial(config.trial_id), tokens, folder, hub)
