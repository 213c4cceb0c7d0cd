# Everything runs in .venv, which the first target that is asked for makes: only Python, pip and make must be there.
PYTHON ?= python3
BIN := .venv/bin

# One thread per test process, no window, and no state left over from the caller's shell.
TIDY := OMP_NUM_THREADS=1 MPLBACKEND=Agg

.PHONY: demo test test-all check docs bench bench-gpu bench-pictures clean

demo: .venv/.ready
	$(BIN)/fourfold train vae --data digits --epochs 200
	$(BIN)/fourfold evaluate "$$(ls -td runs/vae-digits-*/ | head -n 1)"

test: check
	$(TIDY) $(BIN)/pytest -n 2 --cov=fourfold --cov-fail-under=90

# Everything: what is run by default, then the nightly tests by name and with the numbers they print. Both are kept.
test-all: check
	@kept=reproductions/results/test_all.txt; \
	$(TIDY) $(BIN)/pytest -n 2 -q > $$kept; first=$$?; tail -n 1 $$kept; \
	$(TIDY) $(BIN)/pytest -v -rP --no-header -m nightly >> $$kept; second=$$?; tail -n 1 $$kept; \
	[ $$first -eq 0 ] && [ $$second -eq 0 ] || { echo "see $$kept" >&2; exit 1; }

check: .venv/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/basedpyright
	$(MAKE) --no-print-directory docs
	$(TIDY) $(BIN)/pytest -q --doctest-modules src

docs: .venv/.ready
	$(TIDY) $(BIN)/sphinx-build -q -E -W --keep-going docs docs/_build
	@echo "docs/_build/index.html"

# Ten minutes on two quiet cores. FOURFOLD_BENCH_PYTHON names an interpreter that has the peers: benchmarks/README.md.
bench: .venv/.ready
	$(BIN)/python -m benchmarks

# Eight minutes at most, on the first GPU; one JSON in benchmarks/results.
bench-gpu: .venv/.ready
	$(BIN)/python -m benchmarks.gpu

bench-pictures: .venv/.ready
	$(BIN)/python -m benchmarks.draw

clean:
	rm -rf .venv build dist docs/_build docs/api docs/recipes .coverage .hypothesis .import_linter_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# torch first: pip then takes the pinned wheel once, instead of weighing every version that the rest would allow.
.venv/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Fourfold needs Python 3.11 or newer; \
	$(PYTHON) is $$($(PYTHON) --version 2>&1). Name another: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -m venv .venv || { echo "$(PYTHON) cannot make a virtual environment: \
	install its venv module (Debian and Ubuntu: python3-venv)." >&2; exit 1; }
	@echo "Installing into .venv: some minutes, the first time"
	$(BIN)/python -m pip install -q -c constraints.txt torch
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[dev,docs]"
	@touch $@
