"""No module of ours can unpickle or run what it reads, or start a Ray that is open to all: by its source."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("cluster", "metrics", "orchestrator", "preflight", "search_spaces", "trainables")
OURS = sorted(
    [path for name in (*PACKAGES, "benchmarks") for path in (ROOT / name).rglob("*.py")]
    + [ROOT / "sweep.py", ROOT / "verify_downloads.py"]
)
PICKLERS = {"pickle", "_pickle", "cPickle", "dill", "joblib", "cloudpickle", "marshal", "shelve"}
UNSAFE = re.compile(
    r"(.*\.)?(read_pickle|to_pickle|unsafe_load|full_load|add_safe_globals)"
    r"|torch\.(load|jit\.load|package\..*)|.*Tuner(\(.*\))?\.restore|os\.(system|popen)|builtins\..*"
    r"|eval|exec|compile|__import__|input"
)
MUST_BE = {"allow_pickle": "False", "trust_remote_code": "False", "use_safetensors": "True", "weights_only": "True"}
MUST_BE["shell"] = "False"


def dangers(source: str) -> Iterator[str]:
    """What of a module's source could unpickle or run data, or starts a Ray that is open to all."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = getattr(node, "module", None)
            for name in (f"{module}.{alias.name}" if module else alias.name for alias in node.names):
                if PICKLERS & set(name.split(".")) or UNSAFE.fullmatch(name):
                    yield f"imports {name}"
        elif isinstance(node, ast.Call):
            name, given = ast.unparse(node.func), {one.arg: ast.unparse(one.value) for one in node.keywords}
            if UNSAFE.fullmatch(name) or PICKLERS & set(name.split(".")):
                yield f"calls {name}"
            if name.endswith("yaml.load") and not given.get("Loader", "").endswith("SafeLoader"):
                yield "calls yaml.load"
            if name.endswith(".from_pretrained") and not {"use_safetensors", "trust_remote_code"} <= given.keys():
                yield f"{name} says neither use_safetensors nor trust_remote_code"
            yield from (f"{key}={value}" for key, value in given.items() if value != MUST_BE.get(key or "", value))
        elif isinstance(node, ast.FunctionDef):
            called = {ast.unparse(one.func) for one in ast.walk(node) if isinstance(one, ast.Call)}
            if "ray.init" in called and not any(name.endswith(("require_token", "use_token")) for name in called):
                yield f"{node.name} starts Ray without require_token"


@pytest.mark.parametrize("path", OURS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_can_unpickle_or_run_data(path: Path) -> None:
    assert list(dangers(path.read_text())) == []


@pytest.mark.parametrize(
    "snippet",
    [
        *(f"import {name}" for name in sorted(PICKLERS)),
        "from ray import cloudpickle",
        "from pickle import loads",
        "import joblib.memory as m",
        "def f():\n    import dill",
        "torch.load(path)",
        "from torch import load",
        "torch.jit.load(path)",
        "torch.serialization.add_safe_globals([Any])",
        "np.load(path, allow_pickle=True)",
        "np.load(path, allow_pickle=flag)",
        "pd.read_pickle(path)",
        "yaml.load(text)",
        "yaml.load(text, Loader=yaml.Loader)",
        "yaml.unsafe_load(text)",
        "eval(text)",
        "exec(text)",
        "__import__(name)",
        "os.system(text)",
        "AutoModel.from_pretrained(name, trust_remote_code=True, use_safetensors=True)",
        "AutoModel.from_pretrained(name, trust_remote_code=False, use_safetensors=False)",
        "AutoModel.from_pretrained(name)",
        "tune.Tuner.restore(path, trainable)",
        "subprocess.run(text, shell=True)",
        "def f():\n    ray.init(address='local')",
    ],
)
def test_each_rule_about_the_source_bites(snippet: str) -> None:
    assert list(dangers(snippet))


def test_what_is_safe_is_let_through() -> None:
    safe = "np.load(p, allow_pickle=False); yaml.load(t, Loader=yaml.SafeLoader); model.eval(); re.compile(t); load(t)"
    assert list(dangers(safe)) == []
    assert list(dangers("def f():\n    require_token()\n    ray.init()")) == []
    assert len(OURS) > 80
