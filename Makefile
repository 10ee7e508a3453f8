# make study   the whole study on the embedded default, set-up included
# make test    every check, set-up included
# make lab     JupyterLab on the notebooks
# make export  notebooks -> package, after editing nbs/
PYTHON ?= python3
VENV   ?= .venv
BIN     = $(VENV)/bin
READY   = $(VENV)/.ready
export TOKENIZERS_PARALLELISM = false
unexport PYTHONDONTWRITEBYTECODE # every chapter and many a test is a process: what it imports is compiled once

.PHONY: study test lab export clean
study: $(READY)
	$(BIN)/xlt-nb study mini

test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal tests

lab: $(READY)
	$(BIN)/jupyter lab nbs

export: $(READY)
	$(BIN)/nbdev_export && $(BIN)/nbdev_clean && $(BIN)/python tests/make_docs.py

# torch first and pinned: a looser requirement would fetch gigabytes of CUDA packages
$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "setting up $(VENV): pip, torch, then the project with its tools (one to three minutes)"
	$(BIN)/python -m pip install -qq --upgrade pip
	$(BIN)/python -m pip install -qq --no-compile -c constraints.txt torch
	$(BIN)/python -m pip install -qq --no-compile -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf outputs/runs outputs/notebooks _docs _proc build dist
