"""The whole path with what researchers bring: a published model, its tokenizer, and a data set of the Hub."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

import sweep
from orchestrator.store import Store
from tests.hub import Hub
from tests.hub_content import jsonl_zst_dataset, pile_rows, tiny_model, tokenizer_files
from trainables import models
from trainables.checkpoint import load_weights
from trainables.shards import Document, write_shard
from trainables.token_store import TokenStore

MODEL, DATA = "org/real-model", "org/real-pile"
DOMAINS = ("Pile-CC", "Github", "DM Mathematics")
SETTINGS = ["seeds=0,1", "budgets=4steps", "batch_size=4", "seq_len=32", "probe_sequences=16", "probe_points=48"]


def rows(count: int, seed: int) -> list[dict[str, object]]:
    """Documents of three domains, of which the last is rare."""
    rng = np.random.default_rng(seed)
    syllables = ["ba", "ke", "di", "mo", "nu", " ", " "]
    found = []
    for number in range(count):
        text = "".join(rng.choice(syllables, size=rng.integers(100, 400)))
        found += pile_rows([text], DOMAINS[2 if number % 10 == 0 else number % 2])
    return found


@pytest.fixture
def real(hub: Hub) -> Hub:
    models.find.cache_clear()
    hub.add(DATA, jsonl_zst_dataset(rows(600, 0), rows(60, 1), rows(60, 2), shards=2, carded=True), repo_type="dataset")
    for number in (0, 3):
        hub.add(
            MODEL, tiny_model("gpt_neox", vocabulary=300, seed=number) | tokenizer_files(300), revision=f"step{number}"
        )
    hub.add(MODEL, tiny_model("gpt_neox", vocabulary=300, seed=9) | tokenizer_files(300))
    return hub


def run(command: str, store: Path, *settings: str) -> int:
    given = [f"model={MODEL}", f"corpus={DATA}", *SETTINGS, *settings]
    last = {setting.partition("=")[0]: setting for setting in given}
    return sweep.main([command, "quickstart", "--store", str(store), *last.values()])


def test_training_starts_from_a_published_checkpoint(
    ray_session: None, real: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "store"
    assert run("prepare", store, "revision=scratch,step3", "metrics=held_out") == 0
    assert "real-model@step3: published weights in" in capsys.readouterr().out
    asked = len(real.requests)
    with real.down():  # a compute node without a network
        settings = ("threads=2", "evaluators=1")  # one process of each
        assert run("run", store, "revision=scratch,step3", "metrics=held_out", *settings) == 0
        assert "streaming" not in capsys.readouterr().out
    assert len(real.requests) == asked
    opened = Store.existing(str(store))
    published = AutoModelForCausalLM.from_pretrained(MODEL, revision="step3")
    for trial_id in opened.trial_ids():
        config = opened.read_trial(trial_id)
        first = load_weights(opened.trial(trial_id), 0)
        same = torch.equal(first["gpt_neox.embed_in.weight"], published.gpt_neox.embed_in.weight)
        assert same is (config.model.name == "real-model@step3")
    frame = pd.read_parquet(store / "results.parquet")
    assert set(frame["model"]) == {"real-model", "real-model@step3"}
    by_domain = frame[frame["metric"].str.startswith("held_out_loss/")]
    assert set(by_domain["metric"]) <= {f"held_out_loss/{domain}" for domain in DOMAINS}
    assert len(set(by_domain["metric"])) > 1


def test_a_mixture_has_its_shares_and_its_own_tokens(ray_session: None, real: Hub, tmp_path: Path) -> None:
    for mixture in ("mixture=Github:1,DM Mathematics:3", ""):
        settings = [mixture] if mixture else []
        assert run("prepare", tmp_path / "store", *settings, "budgets=40steps") == 0
    stores = [
        TokenStore.open(Store.open(str(tmp_path / "store")).tokens(path.name))
        for path in (tmp_path / "tokens").iterdir()
    ]
    mixed, plain = sorted(stores, key=lambda store: not store.meta["mixture"])
    domains = np.array(mixed.read_part("train", 0).domains)
    assert set(domains) == {"Github", "DM Mathematics"}
    for length in range(1, len(domains) + 1):
        assert abs((domains[:length] == "Github").sum() - length / 4) <= 1
    assert set(plain.read_part("train", 0).domains) == set(DOMAINS)
    held_out = [store.held_out("validation", 99) for store in (mixed, plain)]
    assert np.array_equal(held_out[0].tokens, held_out[1].tokens)  # what a mixture leaves out is measured all the same
    assert mixed.meta["commit"] == plain.meta["commit"] is not None


def test_more_tokens_come_from_the_commit_of_the_first(ray_session: None, real: Hub, tmp_path: Path) -> None:
    assert run("run", tmp_path / "store", "metrics=none") == 0
    real.add(DATA, jsonl_zst_dataset(rows(600, 5), rows(60, 6), rows(60, 7)), repo_type="dataset")
    tokens = next((tmp_path / "tokens").iterdir())
    before = {path.name: path.read_bytes() for path in tokens.glob("*.parquet")}
    for path in tokens.iterdir():  # another machine, or a clean-up: only the store remembers
        path.unlink()
    assert run("prepare", tmp_path / "store", "metrics=none", "budgets=4steps,8steps") == 0
    assert {name: (tokens / name).read_bytes() for name in before} == before


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["model=org/no-model"], "org/no-model at main: not found"),
        (["corpus=org/no-data"], "org/no-data: not found"),
        (["revision=step7"], "org/real-model at step7: no such revision"),
        (["tokenizer=org/no-tokenizer"], "the tokenizer of org/no-tokenizer: not found"),
        (["model=neox-280k,gpt2-tiny", f"tokenizer={MODEL}", "revision=main"], "has no published weights"),
        (["mixture=Github"], "mixture=Github: 'Github' is not DOMAIN:WEIGHT"),
        (["domain_column=source"], 'no "source" string'),
        (["text_columns=story"], 'no "story" string'),
    ],
)
def test_what_cannot_be_had_ends_with_2_and_the_mend(
    ray_session: None, real: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str], settings: list[str], said: str
) -> None:
    assert run("run", tmp_path / "store", *settings) == 2
    assert said in capsys.readouterr().err


def test_a_tokenizer_that_does_not_fit_is_refused_before_training(
    real: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    real.add("org/large-tokenizer", tokenizer_files(400))
    assert run("plan", tmp_path / "store", "tokenizer=org/large-tokenizer") == 2
    assert "400 tokens do not fit the vocabulary of real-model, 300" in capsys.readouterr().err


REAL_DATA = Path(os.environ.get("TOPOSWEEP_TEST_DATA", "/nowhere"))


@pytest.fixture
def real_shards(tmp_path: Path) -> Path:
    """Shakespeare, WikiText and LAMBADA as Pile-format shards, cut into documents of 3,000 characters."""
    folder = tmp_path / "shards"
    folder.mkdir()
    texts = {
        "Gutenberg (PG-19)": [(REAL_DATA / "tinyshakespeare.txt").read_text()],
        "Wikipedia (en)": [path.read_text() for path in sorted((REAL_DATA / "wikitext-2-tokens").iterdir())],
        "BookCorpus2": [json.loads(line)["text"] for line in (REAL_DATA / "lambada_test.jsonl").open()],
    }
    documents = [
        Document(text[first : first + 3000], domain)
        for domain, parts in texts.items()
        for text in parts
        for first in range(0, len(text), 3000)
    ]
    np.random.default_rng(0).shuffle(documents)  # type: ignore[arg-type]
    for index in range(2):
        write_shard(folder / f"{index:02d}.jsonl.zst", documents[index::2])
    return folder


@pytest.mark.real_data
@pytest.mark.skipif(not REAL_DATA.is_dir(), reason="TOPOSWEEP_TEST_DATA names no folder")
def test_a_true_pythia_trains_on_real_text_with_its_own_tokenizer(
    ray_session: None, real_shards: Path, tmp_path: Path
) -> None:
    tokenizer = REAL_DATA / "20B_tokenizer.json"
    settings = ["model=pythia-14m", "seeds=0", "budgets=2steps", "seq_len=128", "batch_size=2", "probe_sequences=8"]
    settings += ["probe_points=48", "metrics=held_out,neural_persistence", f"tokenizer={tokenizer}"]
    store = tmp_path / "store"
    assert sweep.main(["run", "pythia_budgets", f"corpus={real_shards}", "--store", str(store), *settings]) == 0
    frame = pd.read_parquet(store / "results.parquet").set_index(["step", "metric"])["value"]
    assert frame[(0, "held_out_loss")] == pytest.approx(math.log(50304), abs=0.3)
    # 15.5 bits a token, and a token of English is about 4 bytes
    assert 3 < frame[(0, "bits_per_byte")] < 5
    assert any(metric.startswith("held_out_loss/") for _, metric in frame.index)
    (folder,) = (tmp_path / "tokens").iterdir()
    part = TokenStore.open(Store.open(str(store)).tokens(folder.name)).read_part("train", 0)
    text = "".join(path.read_text() for path in (REAL_DATA / "wikitext-2-tokens").iterdir())
    block = next(part.tokens[i] for i, domain in enumerate(part.domains) if domain == "Wikipedia (en)")
    words = Tokenizer.from_file(str(tokenizer)).decode(block.tolist(), skip_special_tokens=False)
    assert all(piece[:200] in text for piece in words.split("<|endoftext|>"))
