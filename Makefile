# Everything runs in .venv, which is made on first use and again whenever its requirements change.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: sweep test lint chaos test-cluster benchmark clean

sweep: .venv/installed
	$(BIN)/python sweep.py

test: .venv/installed-test
	$(BIN)/python -m pytest

lint: .venv/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# CHAOS=--quick takes a few minutes, --help says what else there is
chaos: .venv/installed-test
	$(BIN)/python -m tests.chaos $(CHAOS)

# hosts on this machine and a genuine ray up; needs root, sshd and namespaces. CLUSTER='-m quick' takes a few minutes
test-cluster: .venv/installed-test
	$(BIN)/python -m pytest tests/lab -m lab $(CLUSTER)

benchmark: .venv/installed-test
	$(BIN)/python benchmarks/flops.py
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/topology.py
	$(BIN)/python benchmarks/ingest.py
	$(BIN)/python benchmarks/evaluation.py
	$(BIN)/python benchmarks/report.py
	$(BIN)/python benchmarks/orchestration.py

.venv/installed: setup.cfg constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -e . -c constraints.txt
	touch $@

.venv/installed-test: setup.cfg constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -e '.[test]' -c constraints.txt
	touch $@ .venv/installed

clean:
	rm -rf .venv results
