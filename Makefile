# make run    build the environment in .venv/ and run the default study
# make test   build the environment and run every check
# make docs   build the documentation in build/docs; a warning is an error
# make workflow-report   Snakemake's own report of the last run: jobs, run times, settings, figures
# make test-faults   kill jobs and Snakemake at random moments, fill the disk, damage files
# make test-studies  every study file on miniature data: three through Snakemake, all networks
# make test-slurm    as root on Debian: install and start a Slurm of one node, run a study on it
PYTHON ?= python3
CORES ?= $(shell nproc)
VENV := .venv
STAMP := $(VENV)/.installed
# The tools of developers are no part of what running needs.
TOOLS := $(VENV)/.developer
PIP := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.PHONY: run workflow-report test test-faults test-studies test-slurm lint unit docs reference workflow mutations \
	environment developer docs-results clean
.DELETE_ON_ERROR:

run: environment
	snakemake --cores $(CORES) --quiet host reason

workflow-report: environment
	snakemake --cores 1 --quiet host --report results/digits/workflow-report.html
	@echo "Open results/digits/workflow-report.html"

test: developer lint docs unit workflow

lint: developer
	ruff check .
	ruff format --check .
	snakefmt --check Snakefile rules
	lint-imports --no-cache --no-logo
	mypy

# Neighbours stay on one worker, because they share what their file makes once.
unit: developer
	python -m pytest tests/unit tests/parity tests/docs tests/fuzz tests/gpu -n $(CORES) --dist worksteal

docs: developer
	sphinx-build --fail-on-warning --keep-going --nitpicky --quiet --builder html docs build/docs

# Run this after a change of options, plug-ins or columns.
reference: developer
	python -m kdpipe reference study --builtin --out docs/reference.md
	python -m kdpipe reference tables --out docs/tables.md
	python -m kdpipe reference schema --builtin --out studies/schema.json

# Three at once on any machine, because these tests mostly wait for programs to start and disks to write.
workflow: developer
	python -m pytest tests/workflow -n 3 --dist loadfile

# Plants every mistake of tests/parity/mutations and expects a test to notice it.
mutations: developer
	python tests/parity/mutations/plant.py --jobs $(CORES)

test-faults: developer
	python -m pytest tests/faults -n $(CORES)

test-studies: developer
	python -m pytest tests/studies -n $(CORES)

# Three at once on any machine, because these tests mostly wait for Slurm.
test-slurm: developer
	python -m pytest tests/slurm -n 3

environment: $(STAMP)

developer: $(TOOLS)

$(STAMP): envs/requirements.txt envs/constraints.txt pyproject.toml
	@command -v git >/dev/null && $(PYTHON) -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
		|| { echo "kdpipe needs git and Python 3.11 or newer with venv:"; \
		     echo "  apt-get install -y git python3 python3-venv make"; \
		     echo "or name another Python: make run PYTHON=python3.12"; exit 1; }
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(PIP) -r envs/requirements.txt -c envs/constraints.txt
	$(PIP) --no-deps --editable .
	touch $(STAMP)

$(TOOLS): $(STAMP) envs/requirements-dev.txt
	$(PIP) -r envs/requirements-dev.txt -c envs/constraints.txt
	touch $(TOOLS)

# The picture and table in the README, and a page of verdicts, from the current results of the
# default study.
docs-results: run
	mkdir -p docs/results/digits
	cp results/digits/figures/transfer.svg results/digits/tables/transfer.csv docs/results/digits/
	python docs/verdicts.py

clean:
	rm -rf results .snakemake
