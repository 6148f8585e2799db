# Two commands do it all on a fresh machine: `make quickstart` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --constraint constraints.txt

# All extras but ray, which is large and which no test needs.
TEST_EXTRAS := nni,ncnn,teacher,dashboard,mlflow,tensorboard,test
NEEDS := setup.cfg pyproject.toml constraints.txt

.PHONY: quickstart test lint clean

quickstart: $(VENV)/.installed
	$(BIN)/python -m compress recipes/quickstart.yaml

test: lint
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile $(PYTEST_ARGS)

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# A stamp is newer than what it was installed from, so the second `make` installs nothing.
$(VENV)/.installed: $(NEEDS)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) --editable '.[teacher]'
	touch $@

$(VENV)/.installed-test: $(NEEDS)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) --editable '.[$(TEST_EXTRAS)]'
	touch $(VENV)/.installed $@

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
