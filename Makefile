# Everything a fresh machine needs is python3 (3.11-3.13), make and a package registry; each target makes .venv itself.
PYTHON ?= python3
VENV ?= .venv
TORCH_VENV ?= .venv-torch
BIN := $(VENV)/bin
DEMO ?= demo
PYTEST_FLAGS ?= -n 2
# The demo's recipe; .ci/run appends :smoke, which trains for a few steps only.
DEMO_CONFIG ?= configs/next_vit_s.py

.PHONY: help demo test test-full crash lint format types bench lab parity venv readme clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

venv: $(VENV)/.ready  ## install everything, run nothing

$(VENV)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v < (3, 14) else f"hvjax needs Python 3.11 to 3.13; $(PYTHON) is {v[0]}.{v[1]}. Name another: make PYTHON=python3.12 ...")'
	@echo "==> Installing hvjax with all extras into $(VENV) (about 4 GB, one to three minutes)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[train,export,tensorrt-rtx,test]'
	@touch $@

demo: $(VENV)/.ready  ## train on real digits, fuse, export, prove and build engines; report in demo/
	@echo "==> 1/4 Training Next-ViT on handwritten digits (one to three minutes on 2 cores; a second run resumes)"
	@$(BIN)/python -m train_tpu.main --config $(DEMO_CONFIG) --workdir $(DEMO)/training
	@echo "==> 2/4 Scoring the trained network in train form and in deploy form"
	@$(BIN)/python -m train_tpu.evaluate --ckpt $(DEMO)/training
	@echo "==> 3/4 Exporting the trained network and building its engine"
	@$(BIN)/python -m export.to_trt --ckpt $(DEMO)/training --batch 1:8:32 --out $(DEMO)/digits_engine --overwrite
	@echo "==> 4/4 Exporting the full-size Next-ViT-S (random weights) and building its engine"
	@$(BIN)/python -m export.to_trt --ckpt next_vit_s --random-weights --batch 8 --out $(DEMO)/full_size_engine --overwrite
	@echo "==> Done. Open these:"
	@ls -1 $(DEMO)/training/learning_curve.png $(DEMO)/digits_engine/report.html $(DEMO)/full_size_engine/report.html

test: $(VENV)/.ready  ## all tests but those at full size
	@echo "==> Running the tests (about twenty minutes on 2 cores)"
	@$(BIN)/python -m pytest $(PYTEST_FLAGS) -m "not full_size"

test-full: $(VENV)/.ready  ## the tests that build and export the published models at full size, and a minute of dense training
	@echo "==> Running the full-size tests and two short trainings (about ten minutes on 2 cores)"
	@$(BIN)/python -m pytest $(PYTEST_FLAGS) -m full_size

crash: $(VENV)/.ready  ## kill training and data preparation 300 times, at random moments of every phase, and compare the bits
	@$(BIN)/python tests/crash/run.py --task classification --kills 200 --anew
	@$(BIN)/python tests/crash/run.py --task segmentation --kills 50 --anew
	@$(BIN)/python tests/crash/run.py --task detection --kills 50 --anew

lint: $(VENV)/.ready  ## ruff (lint and format) and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/basedpyright

format: $(VENV)/.ready  ## let ruff rewrite what it can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(VENV)/.ready $(TORCH_VENV)/.ready  ## benchmarks, among them training against torch (not tests)
	@$(BIN)/python tests/benchmarks/startup.py
	@$(BIN)/python tests/benchmarks/conv.py
	@$(BIN)/python tests/benchmarks/train_step.py --torch-python $(TORCH_VENV)/bin/python
	@$(BIN)/python tests/benchmarks/compile_time.py --torch-python $(TORCH_VENV)/bin/python
	@$(BIN)/python tests/benchmarks/input_pipeline.py --torch-python $(TORCH_VENV)/bin/python
	@$(BIN)/python tests/benchmarks/checkpoint.py --torch-python $(TORCH_VENV)/bin/python
	@$(BIN)/python tests/benchmarks/dense_learning.py
	@$(BIN)/python tests/benchmarks/dense_exports.py

# Each command goes on where it was interrupted, and measures nothing twice on one machine with the same versions.
STUDIES := t4_table fastvit_claims large_kernel repmixer density mixnet depth_shift hybrid_strategy next_blocks
lab: $(VENV)/.ready  ## measure the models and all studies on this machine (two to three hours on 2 quiet cores) and write docs/latency.md
	@for study in $(STUDIES); do $(BIN)/python -m export.studies.$$study --out docs/results/lab || exit $$?; done
	@$(BIN)/python -m export.bench --models all --out docs/results/lab
	@$(BIN)/python -m export.bench --models all --store docs/results/lab/bench_again.jsonl --out $(or $(TMPDIR),/tmp)/hvjax-bench-again
	@$(BIN)/python -m export.bench --agree docs/results/lab/bench.jsonl docs/results/lab/bench_again.jsonl --out docs/results/lab
	@$(BIN)/python -m export.studies.pareto --out docs/results/lab
	@$(BIN)/python docs/write_latency_page.py

parity: $(TORCH_VENV)/.ready  ## full-size models live against timm and torch at random weights
	@$(TORCH_VENV)/bin/python tests/parity/live_positions.py
	@$(TORCH_VENV)/bin/python tests/parity/live_resize.py
	@$(TORCH_VENV)/bin/python tests/parity/live_label_size.py
	@$(TORCH_VENV)/bin/python tests/parity/live_pvt.py
	@$(TORCH_VENV)/bin/python tests/parity/live_recipes.py
	@$(TORCH_VENV)/bin/python tests/parity/live_augment.py
	@$(TORCH_VENV)/bin/python tests/parity/live_distillation.py
	@$(TORCH_VENV)/bin/python tests/parity/live_timm.py --out docs/results/parity.json

# torchvision comes without its dependencies: its wheel is needed for imports only, and would pull a second torch.
$(TORCH_VENV)/.ready: pyproject.toml constraints.txt
	@echo "==> Installing torch and timm into $(TORCH_VENV), for comparison only"
	@$(PYTHON) -m venv $(TORCH_VENV)
	@$(TORCH_VENV)/bin/python -m pip install -q --disable-pip-version-check -c constraints.txt -e . torch==2.13.0 optax ml_collections pyyaml huggingface_hub pillow
	@$(TORCH_VENV)/bin/python -m pip install -q --disable-pip-version-check --no-deps torchvision==0.28.0 timm==1.0.31
	@touch $@

readme: $(VENV)/.ready  ## write the README's model table, docs/models, the recipes and docs/latency.md
	@$(BIN)/python docs/write_model_pages.py
	@$(BIN)/python docs/write_model_table.py
	@$(BIN)/python docs/write_recipes.py
	@$(BIN)/python docs/write_latency_page.py

clean:  ## remove environments, caches and demo output
	rm -rf $(VENV) $(TORCH_VENV) $(DEMO) .pytest_cache .ruff_cache build *.egg-info
