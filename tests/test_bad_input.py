"""Bad input, specs: whatever is wrong with a setting, a place or a search space ends with exit 2 and is named.

The other parts of the corpus are ``test_bad_shards.py`` and ``test_bad_stores.py``.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import search_spaces
from orchestrator.overrides import override
from orchestrator.spec import Sweep
from orchestrator.words import SpecError
from search_spaces.quickstart import search_space
from tests.bad import assert_refused, command
from tests.test_bad_shards import ENDS_TO_END, FOLDERS, SHARDS, TOKENIZERS
from tests.test_bad_stores import DAMAGES, FOREIGN, MANIFESTS, TOKENS
from trainables.config import Trial
from trainables.storage import sha256

WHOLE, NUMBER, FINITE = "is not a whole number", "is not a number", "must be a finite number"
POSITIVE, ALLOWED, EMPTY, TWICE = "must be positive", "Allowed: ", "needs at least one value", "a value is given twice"
BUDGET, HUGE = "write for example 1e11 (FLOPs), 3e6tokens or 200steps", "less than 2**63"
# by field: values, and what is said of them beside the field
OVERRIDES: dict[str, list[tuple[str, str]]] = {
    "variants": [
        ("", "needs at least one value"),
        ("bold", "variants=bold: 'bold' is not an override"),
        ("seeds=1", "no such setting"),
        ("batch_size=x", "not a whole number"),
        ("batch_size=4:batch_size=8", "given twice"),
        ("plain,plain", "a value is given twice"),
        ("plain,batch_size=8", "give the same trials"),
        ("learning_rate=-1", "must be positive"),
        ("model=neox-28k", "Did you mean 'neox-280k'"),
    ],
    "precision": [("float16", "Allowed: float32, bfloat16")],
    "search": [
        ("bayes", "Allowed: grid, random, tpe, gp, asha, pbt"),
        ("tpe", "needs something to choose"),
        ("pbt", "search=asha has the best go on from their own"),
    ],
    "space": [("learning_rate=1..2", "a grid chooses nothing"), ("", "needs at least one value")],
    "search_seed": [("-1", "must not be negative"), ("x", "not a whole number")],
    "reduction": [("1", "must be >= 2")],
    "candidates": [("0", "must be positive"), ("1.5", "not a whole number")],
    "model": [
        ("", EMPTY),
        ("none", EMPTY),
        ("neox-28k", "Did you mean 'neox-280k'"),
        ("neox-280k,neox-280k", TWICE),
        ("a/b/c", "no Hub id"),
        ("/nowhere", "no folder"),
        ("/etc/passwd", "not the configuration of a transformers model"),
        ("neox-280k,,gpt2-tiny", "between commas"),
    ],
    "revision": [("", EMPTY), ("step3000", "has no published weights; use revision=scratch")],
    "checkpoints": [("all", "give seeds=none"), ("all,all", TWICE)],
    "seeds": [
        ("", EMPTY),
        ("none", EMPTY),
        ("1.5", WHOLE),
        ("1e3", WHOLE),
        ("nan", WHOLE),
        ("True", WHOLE),
        ("0x1", WHOLE),
        ("[0,1]", WHOLE),
        ("1_0", WHOLE),
        ("٣", WHOLE),
        ("0 1", WHOLE),
        ("0,0", TWICE),
        ("00,0", TWICE),
        ("-1", "must lie between 0 and 2**63 - 1"),
        (str(10**30), HUGE),
        ("9" * 5000, WHOLE),
        ("0\x00", "holds '\\x00'"),
        ("0\x1b[31m", "holds '\\x1b'"),
        ("\udcff", "holds '\\udcff'"),
    ],
    "budgets": [
        ("", EMPTY),
        ("none", EMPTY),
        ("nan", BUDGET),
        ("inf", BUDGET),
        ("-1", BUDGET),
        (".", BUDGET),
        ("1..5", BUDGET),
        ("1e", BUDGET),
        ("٣steps", BUDGET),
        ("5step", BUDGET),
        ("0", "must be a positive, finite number"),
        ("1e400", "must be a positive, finite number"),
        ("1e-400", "must be a positive, finite number"),
        ("0.5steps", "buys no optimizer step"),
        ("1tokens", "buys no optimizer step"),
        ("1e18steps", "raise checkpoint_every, or give a smaller budget"),
        ("1e308", "raise checkpoint_every, or give a smaller budget"),
        ("1e11,1e11", TWICE),
        ("6steps,6144tokens", "both buy 6 steps of neox-280k; keep one"),
    ],
    "metrics": [
        ("held", "Did you mean 'held_out'"),
        ("held_out,held_out", TWICE),
        ("lambada_openai", ALLOWED),
        ("", "or `none`"),
    ],
    "evaluations": [("mrpc,mrpc", TWICE), ("nope", "no task, group or tag of lm-eval"), ("", "or `none`")],
    "init_seed": [("-1", "must lie between"), ("x", WHOLE), ("", WHOLE), (str(10**30), HUGE)],
    "data_seed": [("-1", "must lie between"), ("1.5", WHOLE)],
    "corpus": [
        ("", "is empty; leave it out"),
        ("nope", "a folder or file of shards"),
        ("/nowhere", "no shard there; expected files ending in"),
        ("/etc/passwd", "its name does not end in .jsonl.zst"),
        ("nonsense://x", "not a path or a URI that pyarrow can open"),
        ("s3://user:secret@bucket/x", "give them by the environment instead"),
        ("gs://", "names no bucket; write for example gs://BUCKET/FOLDER"),
        ("hf://", "write for example"),
        ("~nobody-of-this-name/x", "Write the path out"),
        ("owner/name:", "owner/name[:config][@revision]"),
        ("x" * 5000, "x"),
    ],
    "text_columns": [("a,a", TWICE), ("body", "has no columns to choose from; leave it out")],
    "domain_column": [("topic", "has no columns to choose from; leave it out")],
    "mixture": [
        ("a", "for example Github:1"),
        ("a:0", "for example Github:1"),
        ("a:-1", "for example Github:1"),
        ("a:nan", "for example Github:1"),
        ("a:1e400", "for example Github:1"),
        (":1", "for example Github:1"),
        ("a:1,a:2", "'a' is given twice"),
        ("a:1e308,b:1e308", "give weights nearer each other"),
        ("a:1e-300,b:1e300", "give weights nearer each other"),
    ],
    "tokenizer": [
        ("", "is empty; leave it out"),
        ("nope", "a tokenizer.json, a folder, or a Hub id"),
        ("/nowhere.json", "convert it"),
        ("/etc/passwd", "not a tokenizer.json"),
        ("~nobody-of-this-name/x", "no such file"),
    ],
    "seq_len": [
        ("0", POSITIVE),
        ("1.0", WHOLE),
        ("", WHOLE),
        ("none", WHOLE),
        ("١٢", WHOLE),
        ("129", "a context of 128"),
    ],
    "batch_size": [("0", POSITIVE), ("8.0", WHOLE), (str(10**30), HUGE), (str(10**17), "buys no optimizer step")],
    "learning_rate": [
        ("0", POSITIVE),
        ("-1", POSITIVE),
        ("1e-400", POSITIVE),
        ("nan", FINITE),
        ("inf", FINITE),
        ("1e400", FINITE),
        ("", NUMBER),
        ("1,2", NUMBER),
        ("fast", NUMBER),
        ("٣", NUMBER),
        ("1_0", NUMBER),
    ],
    "schedule": [("", ALLOWED), ("linear", ALLOWED), ("COSINE", ALLOWED), ("none", ALLOWED)],
    "warmup": [("-1", "must not be negative"), ("2", "a fraction of the steps, from 0 to 1"), ("nan", FINITE)],
    "min_lr_ratio": [("1.1", "between 0 and 1"), ("-0.1", "between 0 and 1"), ("nan", FINITE)],
    "decay": [("2", "between 0 and 1"), ("x", NUMBER)],
    "adam_beta1": [("1", "less than 1"), ("-1", "at least 0")],
    "adam_beta2": [("1", "less than 1"), ("nan", FINITE)],
    "adam_eps": [("0", POSITIVE), ("inf", FINITE)],
    "weight_decay": [("-1", "must not be negative"), ("nan", FINITE)],
    "grad_clip": [("0", POSITIVE), ("-inf", FINITE), ("none", NUMBER)],
    "checkpoint_every": [("0", POSITIVE), ("1.5", WHOLE)],
    "probe_sequences": [("0", POSITIVE), ("129", "at most 128 are held out"), ("1e400", WHOLE)],
    "probe_points": [("2", "at least 3 points are needed"), ("x", WHOLE), (str(10**30), HUGE)],
    "evaluation_data": [
        ("mrpc", "write TASK:PATH"),
        ("mrpc:", "write TASK:PATH"),
        (":x", "write TASK:PATH"),
        ("mrpc:/nowhere", "nothing is at /nowhere"),
        ("mrpc:~nobody-of-this-name/x", "Write the path out"),
    ],
    "limit": [("0", POSITIVE), ("-1", POSITIVE), ("1.5", WHOLE)],
    "num_fewshot": [("-1", "must not be negative"), ("x", WHOLE)],
    "evaluation_batch_size": [("-1", "must not be negative"), ("x", WHOLE)],
    "log_samples": [("1", "neither true nor false"), ("", "neither true nor false"), ("yes", "neither true nor false")],
    "evaluator_gpus": [("-1", "must not be negative"), ("nan", FINITE), ("x", NUMBER)],
    "threads": [("0", POSITIVE), ("x", WHOLE), (str(10**30), HUGE)],
    "workers": [("0", POSITIVE), ("3", "must be a multiple of workers=3")],
    "evaluators": [("-1", "between 0 and 10,000"), (str(10**9), "between 0 and 10,000")],
    "retries": [("-1", "must not be negative"), ("x", WHOLE)],
    "grace": [("-1", "must not be negative"), ("nan", FINITE), ("soon", NUMBER)],
    "deterministic": [("1", "neither true nor false"), ("", "neither true nor false")],
    "early_stop": [
        *((text, "write LOSS@STEP, for example 7.5@1000") for text in ("7", "@", "7@", "@3", "7@-1", "7@1.5", "nan@1")),
        *((text, "write LOSS@STEP, for example 7.5@1000") for text in ("inf@1", "0@1", "-7@1", "7@1;6@2", "7@1,x@2")),
        ("7@" + "9" * 30, "write LOSS@STEP"),
    ],
    "keep": [
        ("", "Allowed: all, weights"),
        ("last:0", "whole number K >= 1"),
        ("last:1e3", "whole number K >= 1"),
        ("last:٣", "whole number K >= 1"),
        ("LAST:3", "Allowed: all, weights"),
        ("none", "give keep=last:1"),
    ],
}
CASES = [(f"{key}={value}", said) for key, values in OVERRIDES.items() for value, said in values]
# several words, of which it is said
TOGETHER = [
    (["seeds"], "'seeds' is not an override; write key=value"),
    (["seeds:1"], "write key=value"),
    (["sedes=1"], "Did you mean 'seeds'"),
    (["SEEDS=1"], "no such setting"),
    ([" seeds=1"], "Did you mean 'seeds'"),
    (["=1"], "'=1': no such setting"),
    (["__class__=1"], "no such setting"),
    (["\x00=1"], "holds '\\x00'"),
    (["seeds=1", "seeds=2"], "seeds: given twice"),
    (["init_seed=1", "data_seed=1"], "all seeds would give the same trial; give one"),
    (["schedule=wsd"], "warmup=0.01: a wsd schedule takes a whole number of steps"),
    (["schedule=wsd", "warmup=50", "budgets=20steps"], "leaves 18 steps before the decay, fewer than warmup=50"),
    (["schedule=wsd", "warmup=1e30"], "fewer than warmup="),
    (["budgets=1e17steps", f"checkpoint_every={10**16}"], "more than 99,999,999; give a smaller budget"),
    (["checkpoints=all", "seeds=none"], "give budgets=none"),
    (["checkpoints=all", "seeds=none", "budgets=none"], "model=neox-280k: has no published weights"),
    (["checkpoints=all", "seeds=none", "budgets=none", "revision=main"], "revision=main: says where training starts"),
]
STORES = [
    ("nonsense://x", "--store nonsense://x: not a path or a URI that pyarrow can open"),
    ("s3://user:secret@bucket/x", "give them by the environment instead"),
    ("s3://", "names no bucket; write for example s3://BUCKET/FOLDER"),
    ("gs://", "names no bucket; write for example gs://BUCKET/FOLDER"),
    ("s3://bucket/x?nonsense=1", "Unexpected query parameter"),
    ("http://localhost/x", "not a path or a URI"),
    ("://", "not a path or a URI"),
    ("file://", "not a path or a URI"),
    ("hf://x", "--store "),
    ("file:///etc/passwd", "is a file; give a folder"),
    ("/etc/passwd", "is a file; give a folder"),
    ("/etc/passwd/below", "/etc/passwd is no folder; give another"),
    ("/dev/null", "is no folder; give another"),
    ("/dev/null/below", "/dev/null is no folder; give another"),
    ("~nobody-of-this-name/x", "Write the path out"),
    ("file://elsewhere/x", "Unsupported hostname"),
    ("a\x00b", "holds '\\x00'"),
    ("file:///a%00b", "holds '\\x00'"),
    ("\udcff", "holds '\\udcff'"),
    ("x" * 5000, "give another folder"),
]
SPACES = [
    ("raise RuntimeError('no')\n", "line 1: RuntimeError: no"),
    ("x = (\n", "line 1: SyntaxError"),
    ("import nothing_of_this_name\n", "ModuleNotFoundError"),
    ("x = 1\n", "has no function search_space()"),
    ("search_space = 3\n", "has no function search_space()"),
    ("def search_space():\n    return 3\n", "return a Sweep(...)"),
    ("def search_space():\n    pass\n", "returns None; return a Sweep(...)"),
    (
        "def search_space(seeds):\n    pass\n",
        "TypeError: search_space() missing 1 required positional argument: 'seeds'",
    ),
    ("def search_space():\n    return 1 / 0\n", "line 2: ZeroDivisionError"),
    ("from orchestrator.spec import Sweep\ndef search_space():\n    return Sweep(sedes=(1,))\n", "'sedes'"),
    ("from orchestrator.spec import Sweep\ndef search_space():\n    return Sweep(seeds=3)\n", "seeds: must be a list"),
    (
        "from orchestrator.spec import Sweep\ndef search_space():\n    return Sweep(seeds='01')\n",
        "seeds: must be a list",
    ),
    (
        "from orchestrator.spec import Sweep\ndef search_space():\n    return Sweep(seeds=(1.5,))\n",
        "seeds.0: must be a whole",
    ),
    (
        "from orchestrator.spec import Sweep\ndef search_space():\n    return Sweep(budgets=(1e9,))\n",
        "must be a Budget",
    ),
    (
        "from orchestrator.spec import Sweep\ndef search_space():\n    return Sweep(warmup='x')\n",
        "warmup: must be a number",
    ),
    (
        "from orchestrator.spec import Sweep\ndef search_space():\n    return Sweep(limit=True)\n",
        "limit: must be a whole",
    ),
    ("from orchestrator.spec import Sweep\ndef search_space():\n    return Sweep(schedule=None)\n", "cosine or wsd"),
]
MODELS = [b"", b"[]", b"{}", b"\xff", b"[" * 10**5, b'{"model_type": "x", "auto_map": {"AutoModel": "a.b"}}']
USAGE = [
    (["--store", "x"], "argument COMMAND: invalid choice"),
    (["-x"], "required: COMMAND"),
    (["dance"], "invalid choice: 'dance'"),
    (["run"], "required: SPACE"),
    (["plan", "quickstart", "--stroe", "x"], "--stroe"),
    (["plan", "quickstart", "--store"], "--store: expected one argument"),
    (["plan", "quickstart", "--jason"], "unrecognized arguments"),
    (["plan", "quickstrat"], "Did you mean 'quickstart'"),
    (["plan", "../sweep"], "no such search space"),
    (["status"], "required: STORE"),
    (["status", "/nowhere"], "no sweep.json in it; give the --store of a run"),
    (["report", "/nowhere"], "no sweep.json in it; give the --store of a run"),
    (["report", "/nowhere", "--by", "weeks"], "choose from"),
    (["status", "/nowhere", "seeds=1"], "unrecognized arguments: seeds=1"),
]


def test_the_corpus_of_bad_input_only_grows() -> None:
    specs = len(CASES) + len(TOGETHER) + len(STORES) + len(SPACES) + len(MODELS) + len(USAGE)
    shards = len(SHARDS) + len(FOLDERS) + len(TOKENIZERS) + len(ENDS_TO_END)
    stores = len(DAMAGES) + len(FOREIGN) + len(TOKENS) + len(MANIFESTS)
    print(f"bad input: {specs} specs, {shards} shards, {stores} stores")
    assert specs >= 250
    assert shards >= 90
    assert stores >= 110


def test_every_field_has_bad_values() -> None:
    assert OVERRIDES.keys() == {item.name for item in dataclasses.fields(Sweep)}


@pytest.mark.parametrize(("text", "said"), CASES, ids=lambda value: ascii(value)[:50])
def test_a_bad_value_is_refused_by_its_field(
    text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "store"
    ended = command(capsys, "plan", "quickstart", text, "--store", str(store))
    assert_refused(ended, text.partition("=")[0], said)
    assert "secret" not in ended.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("words", "said"), TOGETHER, ids=lambda value: ascii(value)[:50])
def test_words_that_make_no_sweep_are_refused(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_refused(command(capsys, "plan", "quickstart", *words, "--store", str(tmp_path / "store")), said)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("what", ["plan", "status"])
@pytest.mark.parametrize(("uri", "said"), STORES, ids=lambda value: ascii(value)[:50])
def test_a_place_that_can_be_no_store_is_refused(
    what: str, uri: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("plan", "quickstart", "seeds=0", "--store", uri) if what == "plan" else ("status", uri)
    ended = command(capsys, *words)
    assert_refused(ended, "--store", said)
    assert "secret" not in ended.err


@pytest.mark.parametrize("what", ["run", "prepare"])
def test_a_place_that_cannot_be_written_to_is_refused_before_anything_starts(
    what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not even root makes a folder there."""
    ended = command(capsys, what, "quickstart", "--store", "/proc/toposweep")
    assert_refused(ended, "--store /proc/toposweep: cannot be written to", "give another folder")


@pytest.mark.parametrize(("source", "said"), SPACES, ids=lambda value: ascii(value)[-40:])
def test_a_search_space_that_gives_no_sweep_is_named(
    source: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spaces, name = tmp_path / "spaces", f"bad_{sha256(source.encode())[:8]}"  # a module is imported once
    spaces.mkdir()
    (spaces / f"{name}.py").write_text(source)
    monkeypatch.setattr(search_spaces, "__path__", [*search_spaces.__path__, str(spaces)])
    try:
        ended = command(capsys, "plan", name, "--store", str(tmp_path / "store"))
    finally:
        sys.modules.pop(f"search_spaces.{name}", None)
    assert_refused(ended, f"search_spaces/{name}.py: ", said)
    assert not (tmp_path / "store").exists()


def test_lists_in_a_search_space_are_as_good_as_tuples() -> None:
    assert dataclasses.replace(search_space(), seeds=[0, 1, 2]) == search_space()  # type: ignore[arg-type]


@pytest.mark.parametrize("config", MODELS, ids=lambda value: ascii(value)[:30])
def test_a_folder_that_holds_no_model_is_named(
    config: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.json").write_bytes(config)
    ended = command(capsys, "plan", "quickstart", f"model={tmp_path}", "tokenizer=bpe", "--store", f"{tmp_path}/s")
    assert_refused(ended, f"model={tmp_path}: ")
    assert "fetch it anew" in ended.said or "use a model without auto_map" in ended.said


@pytest.mark.parametrize(("words", "said"), USAGE, ids=lambda value: ascii(value)[:50])
def test_bad_usage_is_refused(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    ended = command(capsys, *words)
    assert_refused(ended, said)


ODD = [
    "nan",
    "inf",
    "-0",
    "1e400",
    "1e-400",
    "none",
    "true",
    "0" * 5000,
    "9" * 30,
    "٣",
    "1_0",
    "0x1",
    " 1 ",
    "1,2",
    ",",
]
ODD += [
    "last:3",
    "all",
    "a:1",
    "1e11",
    "3steps",
    "1,1",
    "cosine",
    "wsd",
    "held_out",
    "\x00",
    "\udcff",
    "\u2028",
    "=",
    "~",
    ".",
]
NEEDS_OTHERS = ("model", "evaluations", "evaluation_data")  # ask the Hub or lm-eval's index: by hand, above
KEYS = sorted({item.name for item in dataclasses.fields(Sweep)} - {*NEEDS_OTHERS})
values = st.one_of(
    st.sampled_from(ODD),
    st.text(max_size=8).filter(lambda text: "/" not in text),
    st.integers().map(str),
    st.floats().map(str),
    st.lists(st.integers(-2, 3).map(str), max_size=3).map(",".join),
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(key=st.sampled_from(KEYS), value=values)
def test_any_value_makes_a_sweep_or_is_refused_by_its_field(key: str, value: str) -> None:
    trials: tuple[Trial, ...] = ()
    refused = None
    try:
        trials = override(search_space(), [f"{key}={value}"]).bounds()
    except SpecError as error:
        refused = str(error)
    if refused is None:
        assert trials
        assert all(trial.steps >= 1 for trial in trials)
    else:
        assert key in refused


@settings(max_examples=100, deadline=None, derandomize=True)
@given(text=st.text(max_size=20).filter(lambda text: not text.startswith("-")))
def test_any_word_is_an_override_or_is_refused_by_itself(text: str) -> None:
    with pytest.raises(SpecError) as caught:
        override(search_space(), [text])
    key = text.partition("=")[0]
    assert key in str(caught.value) or repr(key)[1:-1] in str(caught.value) or ascii(text)[1:-1] in str(caught.value)


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=st.sampled_from(KEYS), value=values)
def test_any_value_on_the_command_line_ends_with_0_or_2(
    key: str, value: str, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path_factory.getbasetemp() / "never-written"
    ended = command(capsys, "plan", "quickstart", f"{key}={value}", "--store", str(store), "--json")
    assert not store.exists()
    if ended.code == 0:
        assert json.loads(ended.out)
    else:
        assert_refused(ended, key)
