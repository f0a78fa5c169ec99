# Every verb of the project. `make first-look` and `make test` need nothing but Python 3.11 or newer.
PYTHON ?= python3
VENV ?= .venv
# The PyTorch to install; any from 2.6 on will do, also one built for a GPU: make TORCH=torch first-look
TORCH ?= torch==2.13.0
# For development torchvision is needed too, and both have to fit each other.
TORCH_DEV ?= torch==2.14.1 torchvision==0.29.1
# What the benchmarks compare with lives in an environment of its own, for it needs other versions than the tests.
RIVALS ?= .venv-rivals
RIVAL_PACKAGES ?= "ultralytics>=8.3,<8.4" mmengine torchlens torchextractor captum matplotlib
# Such as: make bench BENCH="--rounds 3 --only tiles help"
BENCH ?= --write
BIN = $(VENV)/bin
PIP_INSTALL = python -m pip --disable-pip-version-check install --quiet
PIP = $(BIN)/$(PIP_INSTALL)

.PHONY: help setup first-look test lint format types schema package demo zoo zoo-quick bench kill ci clean

help:  ## list the verbs
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(VENV)/.run: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	@echo "installing Layerscope; PyTorch is large, this takes a minute"
	$(PIP) $(TORCH)
	$(PIP) -e .
	@touch $@

$(VENV)/.dev: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	@echo "installing Layerscope and what its tests compare it with; this takes some minutes"
	$(PIP) $(TORCH_DEV)
	$(PIP) -e ".[dev]"
	@# Two libraries bring OpenCV's other wheel, which overwrites the one without windows that the tests want.
	$(BIN)/python -m pip --disable-pip-version-check uninstall --quiet --yes opencv-python
	$(PIP) --force-reinstall --no-deps "opencv-python-headless>=4.9,<5"
	@touch $(VENV)/.run $@

setup: $(VENV)/.dev  ## make the environment for development

first-look: $(VENV)/.run  ## set up and run the main job on what ships inside
	$(BIN)/layerscope run demo --out featuremap --overwrite
	$(BIN)/layerscope detect demo --out detections --overwrite

test: $(VENV)/.dev  ## set up and pass the tests
	$(BIN)/python -m pytest

lint: $(VENV)/.dev  ## check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.dev  ## mend style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.dev  ## check types
	$(BIN)/mypy

schema: $(VENV)/.dev  ## write docs/manifest.schema.json from the code
	$(BIN)/python -c 'import json; from layerscope.sinks.manifest import manifest_schema as schema; \
		print(json.dumps(schema(), indent=2))' > docs/manifest.schema.json

package: $(VENV)/.dev  ## build the wheel, install it in an environment of its own, and ask it for its version
	rm -rf dist
	$(BIN)/python -m build --quiet --outdir dist .
	$(PYTHON) -m venv dist/venv
	dist/venv/bin/python -m pip --disable-pip-version-check install --quiet $(TORCH)
	dist/venv/bin/python -m pip --disable-pip-version-check install --quiet dist/*.whl
	dist/venv/bin/layerscope --version
	dist/venv/bin/layerscope layers yolov3 --quiet > dist/layers.txt
	rm -rf dist/venv dist/layers.txt

demo: $(VENV)/.dev  ## train the detector that ships inside anew, and measure it
	$(BIN)/python training/train_demo.py --minutes 30 --compile
	$(BIN)/python training/measure_map.py --weights training/runs/demo.safetensors --scenes 500

zoo: $(VENV)/.dev  ## check the networks of other libraries, hundreds of them, and write docs/networks.md
	$(BIN)/python benchmarks/zoo.py --out docs/networks.md

zoo-quick: $(VENV)/.dev  ## check two networks a library
	$(BIN)/python benchmarks/zoo.py --quick

$(RIVALS)/.ready: pyproject.toml
	$(PYTHON) -m venv $(RIVALS)
	@echo "installing what the benchmarks compare with; this takes some minutes"
	$(RIVALS)/bin/$(PIP_INSTALL) $(TORCH_DEV)
	@# One that cannot be installed must not keep the others from being measured; the tables name it.
	@for package in $(RIVAL_PACKAGES); do $(RIVALS)/bin/$(PIP_INSTALL) "$$package" || echo "not installed: $$package"; done
	$(RIVALS)/bin/$(PIP_INSTALL) -e ".[video,zarr]"
	$(RIVALS)/bin/python -m pip --disable-pip-version-check uninstall --quiet --yes opencv-python
	$(RIVALS)/bin/$(PIP_INSTALL) --force-reinstall --no-deps "opencv-python-headless>=4.9,<5"
	@touch $@

bench: $(RIVALS)/.ready  ## measure what it costs, and write docs/speed.md and README's table; wants a quiet machine
	$(RIVALS)/bin/python benchmarks/bench.py $(BENCH)

kill: $(VENV)/.dev  ## kill and resume a run a hundred times, and compare
	$(BIN)/python benchmarks/kill.py

ci: test lint types zoo-quick package first-look  ## everything that must hold

clean:  ## remove what was made
	rm -rf $(VENV) $(RIVALS) dist build featuremap detections
