# Two commands: `make report` (data to an offline HTML report) and `make test` (everything checked).
PYTHON  ?= python3
VENV    ?= .venv
PROFILE ?= quick
RUN     ?= runs/$(PROFILE)

README_FIGURE ?= error_by_protocol

BIN     := $(VENV)/bin
READY   := $(VENV)/.installed
export SSE_PROGRESS = log
# One thread of linear algebra for each fit, and fits side by side (sselib/cli.py says why).
export OMP_WAIT_POLICY = PASSIVE
export OPENBLAS_NUM_THREADS = 1

.PHONY: help report test tests notebooks lint size lab readme constraints clean

help:
	@echo "make report   run the notebooks (PROFILE=quick, RUN=runs/quick) and write report/index.html"
	@echo "make test     lint, tests, and every notebook through nbval"
	@echo "make size     how large package and notebooks are, beside their ceilings"
	@echo "make lab      open the notebooks in JupyterLab"
	@echo "make clean    remove runs, report and caches of the tools (not the environment)"

report: $(READY)
	@status=0; $(BIN)/sse run --profile $(PROFILE) --out $(RUN) --resume || status=$$?; \
	$(BIN)/sse report $(RUN) && ln -sfn $(RUN)/report report && \
	echo "The report is report/index.html: open it in any browser, no network needed."; exit $$status

test: $(READY) lint tests notebooks

lint: $(READY)
	$(BIN)/ruff check sselib crystal_search docs tests notebooks
	$(BIN)/ruff format --check sselib crystal_search docs tests
	$(BIN)/sse check
	$(BIN)/python docs/size.py

# How large the house is, beside the ceilings that `make test` keeps.
size: $(READY)
	$(BIN)/python docs/size.py

tests: $(READY)
	$(BIN)/python -m pytest tests --numprocesses auto --maxprocesses 4 --dist loadfile --junitxml=runs/tests.xml --durations=20

# The notebooks run in order of their numbers, each against the run folder the earlier ones wrote.
notebooks: $(READY)
	rm -rf runs/smoke
	$(BIN)/python -m pytest --nbval notebooks -p no:cacheprovider --junitxml=runs/nbval.xml --durations=5
	$(BIN)/sse check --count

lab: $(READY)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[lab]'
	$(BIN)/jupyter lab --notebook-dir=notebooks

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"Python 3.11 or newer is needed, {sys.executable} is {v.major}.{v.minor}: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test,lab,full]'
	@touch $(READY)

# Rewrite the numbers, times and the figure of the README from a run with all notebooks.
readme: $(READY)
	$(BIN)/python docs/readme.py $(RUN) 04_gbr_shap/$(README_FIGURE)

# Pin what the tests ran with: a fresh environment without constraints, then its versions.
constraints:
	rm -rf runs/.constraints && $(PYTHON) -m venv runs/.constraints
	runs/.constraints/bin/python -m pip install --quiet -e '.[dev]'
	(sed -n '/^#/p' constraints.txt; echo 'torch==2.13.0'; \
	 runs/.constraints/bin/python -m pip freeze --exclude-editable | grep -v '^torch==') > constraints.new
	mv constraints.new constraints.txt && rm -rf runs/.constraints

clean:
	rm -rf runs report .pytest_cache .ruff_cache .hypothesis
