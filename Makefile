# Needs make and Python 3.11 to 3.13 with venv; `make setup PYTHON=/path/to/python3.12` chooses one.
PYTHON ?= python3
UV_VERSION := 0.13.8
VENV := .venv
BIN := $(VENV)/bin
UV := $(VENV)/bootstrap/bin/uv
# Touched last, so that a setup that was cut short is taken up again.
READY := $(VENV)/.ready
# The official `nats` command, for the recipes of docs/inspect.md and their test; needs Go.
NATS_CLI_VERSION := v0.5.1
NATS_CLI := .nats-cli
# Other people's tools, with dependencies that may not fit ours.
PEERS := .venv-peers

export UV_PROJECT_ENVIRONMENT := $(VENV)
export UV_PYTHON_DOWNLOADS := never

.PHONY: help setup run test test-all lint format nats-cli bench-peers clean

help:
	@echo "make setup      build $(VENV) from the lock file and fill the kernel cache"
	@echo "make run        set up, then sluice up (options: make run ARGS='--miners 2')"
	@echo "make test       set up, then the tests that are fast"
	@echo "make test-all   set up, then all tests"
	@echo "make lint       ruff and mypy"
	@echo "make format     let ruff format and fix"
	@echo "make bench-peers  our kernel beside vectorbt and backtesting.py, installed in $(PEERS)"
	@echo "make nats-cli   build the nats command $(NATS_CLI_VERSION) into $(NATS_CLI) (needs Go)"
	@echo "make clean      remove $(VENV) and caches (states such as .sluice stay)"

setup: $(READY)

$(READY): uv.lock pyproject.toml
	@command -v "$(PYTHON)" >/dev/null || \
		{ echo "setup: there is no $(PYTHON) here; choose one with make setup PYTHON=/path/to/python3.12" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || \
		{ echo "setup: $$("$(PYTHON)" -V 2>&1) is not Python 3.11 to 3.13; choose one with make setup PYTHON=/path/to/python3.12" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "setup: $(PYTHON) has no venv module; install it (on Debian the package python3-venv)" >&2; exit 1; }
	@"$(BIN)/python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null || \
		"$(PYTHON)" -m venv --clear --without-pip "$(VENV)"
	@test "$$("$(UV)" --version 2>/dev/null | cut -d' ' -f2)" = "$(UV_VERSION)" || \
		{ "$(PYTHON)" -m venv --clear "$(VENV)/bootstrap" && \
		"$(VENV)/bootstrap/bin/python" -m pip install --quiet --disable-pip-version-check "uv==$(UV_VERSION)"; }
	$(UV) sync --frozen --quiet --python "$(BIN)/python"
	$(BIN)/python -c "from kernels import evaluator, exhaustive; evaluator.warm_up(); exhaustive.warm_up()"
	@touch $@

# exec: nothing stands between the terminal's Ctrl-C and the command that has to stop cleanly.
run: setup
	@exec $(BIN)/sluice up $(ARGS)

test: setup
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow" $(ARGS)

test-all: setup
	$(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Built aside and then moved: a build that was cut short leaves nothing that looks like one.
nats-cli:
	@test "$$("$(NATS_CLI)/nats" --version 2>/dev/null)" = "$(NATS_CLI_VERSION)" || { \
		command -v go >/dev/null || { echo "nats-cli: there is no Go here to build the nats command with" >&2; exit 1; }; \
		mkdir -p "$(NATS_CLI)" && built="$$(mktemp -d "$(CURDIR)/$(NATS_CLI)/build.XXXXXX")" && \
		GOBIN="$$built" go install "github.com/nats-io/natscli/nats@$(NATS_CLI_VERSION)" && \
		mv "$$built/nats" "$(NATS_CLI)/nats" && rmdir "$$built"; }

bench-peers: setup
	@test -x $(PEERS)/bin/python || $(UV) venv --quiet --python "$(PYTHON)" $(PEERS)
	@$(UV) pip install --quiet --python $(PEERS)/bin/python vectorbt backtesting || \
		echo "bench-peers: not all of vectorbt and backtesting can be installed here" >&2
	$(BIN)/python -m bench.peers $(PEERS)/bin/python

clean:
	rm -rf $(VENV) $(PEERS) $(NATS_CLI) .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
