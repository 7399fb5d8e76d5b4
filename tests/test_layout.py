"""Every module has a test that mirrors it, and the layers depend on each other in one direction."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("cluster", "metrics", "orchestrator", "preflight", "search_spaces", "trainables")
MODULES = sorted(path.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("module", [m for m in MODULES if m.name != "__init__.py"], ids=str)
def test_has_a_mirrored_test(module: Path) -> None:
    mirror = ROOT / "tests" / module.parent / f"test_{module.name}"
    assert mirror.is_file(), f"{module} has no {mirror.relative_to(ROOT)}"


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [
        ("trainables", {"cluster", "orchestrator", "metrics", "preflight", "search_spaces"}),
        ("metrics", {"cluster", "orchestrator", "preflight", "search_spaces", "ray"}),
        ("orchestrator", {"cluster", "preflight", "search_spaces", "safetensors", "transformers"}),
        ("cluster", {"metrics", "preflight", "search_spaces", "safetensors", "transformers"}),
        ("preflight", {"cluster", "search_spaces", "ray", "safetensors", "transformers"}),
    ],
)
def test_imports_only_to_the_left(package: str, forbidden: set[str]) -> None:
    for module in MODULES:
        if module.parts[0] == package:
            assert not imported(ROOT / module) & forbidden, f"{module} imports {imported(ROOT / module) & forbidden}"


def test_only_ingestion_uses_ray_in_trainables() -> None:
    users = [str(m) for m in MODULES if m.parts[0] == "trainables" and "ray" in imported(ROOT / m)]
    assert users == ["trainables/ingest.py"]
