# make book : environment, validation, HTML in _build/html      make test : everything that CI runs
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

VENV ?= .venv
PY := $(VENV)/bin/python
JOBS ?= 2
PRESET ?= cpu
WHERE ?= path threads oldest

# One thread a process: two BLAS threads on a busy machine are many times slower.
export OMP_NUM_THREADS := 1
export OPENBLAS_NUM_THREADS := 1
export MKL_NUM_THREADS := 1
export PYTHONHASHSEED := 0
export MPLBACKEND := module://matplotlib_inline.backend_inline
export PYDEVD_DISABLE_FILE_VALIDATION := 1

CHAPTERS := $(wildcard book/[0-9][0-9]_*.ipynb book/[A-Z]_*.ipynb)
PACKAGE := $(shell find lindiff book/results -type f -not -name '*.pyc')
INSTALLED := $(VENV)/.installed
VALIDATED := $(VENV)/.validated

.PHONY: help book test lint unit chapters validate html pages portable serve edit run check coverage experiments colab bench imports address clean

help:
	@echo "make book             build the book into _build/html (makes $(VENV) the first time)"
	echo "make test             run everything that CI runs"
	echo "make portable         test on another CPU path, with two threads, with the oldest libraries"
	echo "make serve            show the built book on this machine"
	echo "make edit CH=03       write the text view of a chapter"
	echo "make run CH=03        execute and store a chapter"
	echo "make colab            run the chapters as Colab would, without the repository"
	echo "make experiments      run the experiments at PRESET=cpu and write their page"
	echo "make bench            measure speed and accuracy again, and write the status page"
	echo "make address TO=OWNER/REPO   set the repository's address everywhere"

$(INSTALLED): requirements.txt pyproject.toml .ci/environment
	bash .ci/environment $(VENV)
	touch $@

book: validate html
	@echo "The book: _build/html/index.html"

test: lint unit chapters html pages

lint: $(INSTALLED)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

unit: $(INSTALLED)
	$(PY) -m pytest -q -n $(JOBS)

# The stored outputs are compared with a fresh run of every cell.
$(VALIDATED): $(INSTALLED) $(CHAPTERS) $(PACKAGE) conftest.py book/sanitize.cfg
	$(PY) -m book._tools.chapter check
	$(PY) -m book._tools.coverage --check
	$(PY) -m pytest -q -n $(JOBS) --dist loadfile --nbval --nbval-current-env \
		--nbval-sanitize-with book/sanitize.cfg --nbval-cell-timeout 300 book
	touch $@

validate: $(VALIDATED)
	$(PY) -m book._tools.experiments_page --check

chapters: $(INSTALLED)
	rm -f $(VALIDATED)
	$(MAKE) --no-print-directory validate
	$(PY) -m book._tools.address --check

html: $(INSTALLED)
	$(VENV)/bin/jupyter-book build . -n -W --keep-going --all

# Every formula is typeset, every link followed, no other host asked: in headless Chromium.
pages: html
	$(PY) -m book._tools.sitelint _build/html

# Package tests and chapters as another machine would run them: WHERE=path, threads or oldest.
portable: $(INSTALLED)
	for where in $(WHERE); do
	VENV=$(VENV) JOBS=$(JOBS) bash .ci/portable $$where
	done

serve:
	python3 -m http.server --directory _build/html 8000

edit: $(INSTALLED)
	$(PY) -m book._tools.chapter edit $(CH)

run: $(INSTALLED)
	$(PY) -m book._tools.chapter run $(CH)

check: $(INSTALLED)
	$(PY) -m book._tools.chapter check

coverage: $(INSTALLED)
	$(PY) -m book._tools.coverage

# What is finished is not run again. The page is written also where a unit failed.
experiments: $(INSTALLED)
	code=0
	$(PY) -m lindiff.experiments run all --preset $(PRESET) || code=$$?
	$(PY) -m book._tools.experiments_page
	exit $$code

colab: $(INSTALLED)
	$(PY) -m book._tools.colab

# Ten minutes: every speed of the status page, measured again.
bench: $(INSTALLED)
	$(PY) -m tests.benchmarks.table

# Time to import the theory, against its libraries alone.
imports: $(INSTALLED)
	$(PY) -m tests.benchmarks.imports

address: $(INSTALLED)
	$(PY) -m book._tools.address $(TO)

clean:
	rm -rf _build $(VALIDATED)
