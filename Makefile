# make demo | test | test-long | test-browser | lint | docs | bench | coco-tiny | hard | attack | paper-check: each
# sets up $(VENV) first, and what is done is not done again.
#
# Variables, all optional, for instance `make setup PYTHON=python3.12`:
#   PYTHON             the Python that $(VENV) is made with, 3.10 or later
#   VENV               where it is made
#   TORCH              the requirements file that names torch and torchvision (torch 2.6 or later)
#   DETECTRON2         index: 0.6 from the package index, pure Python (the default)
#                      git:   its repository at DETECTRON2_COMMIT, compiled here
#                      The choice lasts: a later `make` keeps what $(VENV) has.
#   DETECTRON2_COMMIT  a commit, tag or branch
#   WORKERS            processes that the tests run in
#   BROWSER            the Chromium of test-browser; by default the first of chromium, google-chrome, ... in PATH
#   SHARD              i/n, the share of the papers' rows that paper-check checks (1/1)
#   POSECORE_COCO_TINY the folder of the photographs that coco-tiny learns

PYTHON ?= python3
VENV ?= .venv
TORCH ?= requirements/torch.txt
DETECTRON2 ?= $(or $(patsubst $(STAMPS)/detectron2-%,%,$(wildcard $(STAMPS)/detectron2-*)),index)
DETECTRON2_COMMIT ?= main
WORKERS ?= 2
SHARD ?= 1/1
export POSECORE_COCO_TINY ?= $(abspath ../shared/data/coco)

BIN = $(VENV)/bin
# One empty file per finished step; a step runs again when its file is missing or older than its inputs.
STAMPS = $(VENV)/stamps
SOURCES = $(wildcard $(addprefix csrc/,*.py *.cpp *.h *.cuh cpu/* cuda/*))

# The last line of a training's metrics has its last evaluation, in percent.
print-ap = $(BIN)/python -c 'import json; last = open("$(1)/metrics.json").readlines()[-1]; \
	print("keypoint AP: %.1f (%s)" % (json.loads(last)["keypoints/AP"], "$(1)"))'

.PHONY: setup demo test test-long test-browser lint docs bench coco-tiny hard attack paper-check clean distclean
.NOTPARALLEL:

setup: $(STAMPS)/posecore $(STAMPS)/packages

# Threads that wait sleep instead of spinning: on a shared machine trainings are several times as fast.
demo coco-tiny: export OMP_WAIT_POLICY = PASSIVE

demo: setup
	rm -rf output/demo
	$(BIN)/python -m posecore.data.synthetic --out output/demo/data --train 1500 --val 100 --size 160
	$(BIN)/python tools/train_net.py --config-file configs/directpose/demo/synthetic.yaml OUTPUT_DIR output/demo
	@$(call print-ap,output/demo)

coco-tiny: setup
	rm -rf output/coco_tiny
	$(BIN)/python tools/train_net.py --config-file configs/directpose/demo/coco_tiny.yaml OUTPUT_DIR output/coco_tiny
	@$(call print-ap,output/coco_tiny)

# 200 steps in half precision on images that break fragile trainings; `make test` has a short form.
hard: setup
	POSECORE_HARD_STEPS=200 $(BIN)/python -m pytest -q -m "" tests/*/test_training.py -k hard

# Faulty files, full disks, kills and signals, at most 20 minutes. Its figures, printed at the end, are those of
# docs/reliability.md. Two processes, whatever WORKERS is, because most attacks train, or wait for a signal.
attack: export OMP_NUM_THREADS = 1
attack: export POSECORE_ATTACK_FIGURES = 1
attack: export POSECORE_MUTATIONS = 1500
attack: export POSECORE_ATTACK_CONFIGS = 4800
attack: export POSECORE_ATTACK_BINARY_FILES = 150
attack: setup
	timeout 19m $(BIN)/python -m pytest -q -n 2 --dist worksteal -m "not long and not browser" tests/attack \
		tests/posecore/evaluation/test_mutated_annotations.py tests/faults \
		tests/posecore/config/test_forged_configurations.py \
		tests/posecore/data/importers/test_broken_binary_files.py

# Every row of the papers' tables once, on the CPU; SHARD=3/8 is the third of eight shares.
paper-check: setup
	OMP_NUM_THREADS=2 $(BIN)/python tools/paper_tables.py check --shard $(SHARD) \
		--output output/paper_check/$(subst /,-of-,$(SHARD)).md

test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

# Two hosts, restarts, sweeps, search, torch.compile, CUDA kernels compiled for the CPU, benchmarks.
test-long: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m long

# The pages of docs/ as a site in site/, with the reference of the API; a broken link is an error.
docs: setup $(STAMPS)/docs
	$(BIN)/mkdocs build --strict

# The pages of posecore/reports in a real browser: every image loads, filters and zoom work, both color schemes.
test-browser: setup $(STAMPS)/browser
	POSECORE_BROWSER="$(BROWSER)" OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m browser tests/browser

lint: setup
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	@echo "docstring coverage, percent (.docstr.yaml has the least):"
	$(BIN)/docstr-coverage --config .docstr.yaml --percentage-only
	$(BIN)/mypy
	$(BIN)/mypy tools/*.py

bench: setup
	$(BIN)/python tools/benchmark.py ops
	$(BIN)/python tools/benchmark.py model

# What was built and what the demos wrote; trainings of your own under output/ stay.
clean:
	rm -rf build *.egg-info posecore/_C.* $(STAMPS)/posecore output/demo output/coco_tiny
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis site
	find csrc posecore directpose fcpose grouppose inspose poet poseur tools tests -name __pycache__ -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV)

# ---- The steps of set-up ----

FETCH_FAILED = echo "set-up stopped: pip could not install the above. If it did not reach the package index," \
	"check the network, the proxy (HTTPS_PROXY) and the index itself (pip config list, PIP_INDEX_URL)." >&2; exit 1
PIP = $(BIN)/python -m pip --disable-pip-version-check
# Python compiles what it imports; pip would compile the 18,000 modules of all packages.
fetch = @$(PIP) install --no-compile $(1) || { $(FETCH_FAILED); }
# Its build reads ninja and the rest from PATH.
compile = @PATH="$(abspath $(BIN)):$$PATH" $(PIP) install --no-build-isolation --no-deps $(1)

# The pinned pip and setuptools come first: the newest refuse Detectron2 0.6, the oldest cannot build it.
$(STAMPS)/build: requirements/build.txt
	@$(PYTHON) requirements/preflight.py $(VENV)
	@echo "== $(VENV), pip and setuptools"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(call fetch,--retries 1 -r $<)
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/torch: $(TORCH) $(STAMPS)/build
	@echo "== torch and torchvision"
	$(call fetch,-r $(TORCH) -c requirements/detectron2.txt)
	@touch $@

# Without isolation, because its set-up imports torch; without dependencies, because it declares URLs and
# formatters among them: those that it imports are in requirements/detectron2.txt.
$(STAMPS)/detectron2-index: $(STAMPS)/torch
	@echo "== Detectron2 0.6 from the package index"
	@$(PIP) uninstall --yes -qq detectron2
	$(call fetch,--use-pep517 --no-deps --no-build-isolation --config-settings="--global-option=build_py" \
		--config-settings="--build-option=--skip-build" pb1-detectron2==0.6)
	@$(BIN)/python requirements/drop_stray_tools.py
	@rm -f $(STAMPS)/detectron2-* && touch $@

$(STAMPS)/detectron2-git: $(STAMPS)/torch
	@echo "== Detectron2 from its repository, at $(DETECTRON2_COMMIT)"
	@$(PIP) uninstall --yes -qq pb1-detectron2
	$(call compile,git+https://github.com/facebookresearch/detectron2.git@$(DETECTRON2_COMMIT)) || { $(FETCH_FAILED); }
	@$(BIN)/python requirements/drop_stray_tools.py
	@rm -f $(STAMPS)/detectron2-* && touch $@

# No warnings of conflicts: Detectron2 0.6 asks for a formatter of 2021 that nothing here needs.
LISTS = requirements/detectron2.txt requirements/runtime.txt requirements/dev.txt requirements/search.txt \
	requirements/slurm.txt requirements/import.txt requirements/export.txt
$(STAMPS)/packages: $(LISTS) $(STAMPS)/detectron2-$(DETECTRON2)
	@echo "== everything else"
	$(call fetch,--no-warn-conflicts $(addprefix -r ,$(LISTS)))
	@touch $@

$(STAMPS)/docs: requirements/docs.txt $(STAMPS)/packages
	@echo "== what makes the documentation's site"
	$(call fetch,-r $<)
	@touch $@

$(STAMPS)/browser: requirements/browser.txt $(STAMPS)/packages
	@echo "== what drives a browser"
	$(call fetch,-r $<)
	@touch $@

# Compiles csrc/ and makes the packages of this checkout importable where they lie.
$(STAMPS)/posecore: pyproject.toml $(SOURCES) $(STAMPS)/torch
	@echo "== posecore and its operators"
	$(call compile,--editable .)
	@touch $@
