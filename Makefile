# Everything a person or a machine does with this repository. `make` alone lists the targets.

.DEFAULT_GOAL := help
SHELL := /bin/sh
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# The first of these that is Python 3.11 or newer; another one with `make PYTHON=…`.
PYTHON ?= $(firstword $(foreach name,python3 python3.14 python3.13 python3.12 python3.11,$(shell \
	$(name) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(name))))
VENV := .venv
BIN := $(VENV)/bin
RUN := $(VENV)/.run-installed
DEV := $(VENV)/.dev-installed
CLIENTS := tests/clients/node_modules/.package-lock.json

# Debian packages that some tests use where they are installed.
# haproxy: tests/drills, replicas behind a load balancer, and with nginx-light the lines of docs/production.md. wrk: tests/drills and
# bench, very many requests. chromium: tests/clients, pages on other origins.
SYSTEM_PACKAGES := chromium haproxy nginx-light wrk

PORT ?= 8000
export PORT
SANDBOX_PORT ?= 9000
# Kept, so that a token of one run is good in the next.
SANDBOX_KEYS := $(VENV)/sandbox-keys.pem
# What `make run` starts ends with it, also if make is killed before that has started.
MAKE_PID = $(shell echo $$PPID)

.PHONY: help
help:  ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

.PHONY: run
run: $(RUN)  ## The dev server: the service on http://127.0.0.1:8000 with a private Valkey and the sandbox as GenAuth (PORT=…)
	@$(BIN)/python -m bff.server.dev --with-parent $(MAKE_PID) --sandbox-port $(SANDBOX_PORT) --keys $(SANDBOX_KEYS)

.PHONY: sandbox
sandbox: $(RUN)  ## Only the sandbox, a GenAuth to develop against (SANDBOX_PORT=9000)
	@$(BIN)/python -m bff.sandbox --with-parent $(MAKE_PID) --port $(SANDBOX_PORT) --keys $(SANDBOX_KEYS)

.PHONY: check
check: lint types test test-pythons  ## What CI runs: lint, types, test, test-pythons

.PHONY: lint
lint: $(DEV)  ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

.PHONY: format
format: $(DEV)  ## ruff: correct what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: types
types: $(DEV)  ## mypy, strict
	$(BIN)/mypy

.PHONY: test
test: $(DEV) $(CLIENTS)  ## The whole test suite, what is quick first, in about seven minutes; ARGS="-x" for options of pytest
	@echo "All tests, in about seven minutes; what is quick comes first. (make test-quick is that alone.)"
	@started=$$(date +%s); $(MAKE) --no-print-directory test-quick test-rest && \
		echo "All tests have passed, in $$(($$(date +%s) - started)) seconds."

# What an edit is most likely to break. Tests that are marked as `server` or `slow` take seconds each.
QUICK := tests/house tests/unit tests/web
PYTEST := $(BIN)/python -m pytest
BESIDE := --no-print-directory $(if $(filter output-sync,$(.FEATURES)),--output-sync=target)

.PHONY: test-quick
test-quick: $(DEV)  ## The tests of structure, units and web, in about a minute
	@echo "The tests of structure, units and web, in about a minute: three runs beside each other, told one after the other."
	@$(MAKE) $(BESIDE) --jobs=3 quick-units quick-web-a quick-web-m

.PHONY: quick-units quick-web-a quick-web-m
quick-units:
	@$(PYTEST) tests/house tests/unit -m "not server and not slow" -p no:cacheprovider $(ARGS)
quick-web-a:
	@$(PYTEST) tests/web/test_[a-l]*.py -m "not server and not slow" -p no:cacheprovider $(ARGS)
quick-web-m:
	@$(PYTEST) tests/web/test_[m-z]*.py -m "not server and not slow" -p no:cacheprovider $(ARGS)

# Runs that are beside each other wait more than they compute. What puts a load on the machine runs alone, last.
PARTS := $(addprefix tests/,auth bench cache genauth observability resilience sandbox)
OUTSIDE := tests/clients tests/fault

.PHONY: test-rest
test-rest: $(DEV) $(CLIENTS)  ## What test-quick leaves out
	@echo "The other tests: twice two runs beside each other, each told when it ends, and then what needs all of the machine."
	@$(MAKE) $(BESIDE) --jobs=2 rest-parts rest-security
	@$(MAKE) $(BESIDE) --jobs=2 rest-server rest-outside
	$(PYTEST) $(patsubst %,--ignore=%,$(QUICK) $(PARTS) $(OUTSIDE) tests/security tests/server) $(ARGS)
	$(PYTEST) $(QUICK) -m "server or slow" $(ARGS)

.PHONY: rest-parts rest-outside rest-security rest-server
rest-parts:
	@$(PYTEST) $(PARTS) -p no:cacheprovider $(ARGS)
rest-outside:
	@$(PYTEST) $(OUTSIDE) -p no:cacheprovider $(ARGS)
rest-security rest-server: rest-%:
	@$(PYTEST) tests/$* -p no:cacheprovider $(ARGS)

.PHONY: test-pythons
test-pythons: $(DEV)  ## test-quick with each other Python from 3.11 on that this machine has
	@.ci/pythons $(QUICK) $(ARGS)

.PHONY: system-packages
system-packages:  ## Debian packages that some tests use (as root; .ci/run does it where it can)
	$(if $(SYSTEM_PACKAGES),apt-get update && apt-get install --yes --no-install-recommends $(SYSTEM_PACKAGES),@echo "None needed.")

.PHONY: lock
lock: $(DEV)  ## Compile requirements*.txt from pyproject.toml, every package pinned and hashed
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --universal --generate-hashes --python-version 3.11 -o requirements.txt
	$(BIN)/uv pip compile pyproject.toml --group dev --universal --generate-hashes --python-version 3.11 -c requirements.txt -o requirements-dev.txt

.PHONY: clean
clean:  ## Remove everything that make has made
	rm -rf $(VENV) tests/clients/node_modules bench/peers/node/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A .venv whose Python is too old or gone, as after an upgrade of the system, or without pip, as where Debian's python3-venv was
# missing, is made anew, with all that is in it.
ifneq ($(wildcard $(VENV)/pyvenv.cfg),)
ifeq ($(shell $(BIN)/python -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo fits),)
.PHONY: $(VENV)/pyvenv.cfg $(RUN) $(DEV)
endif
endif

$(VENV)/pyvenv.cfg:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed; name one with: make PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "Making $(VENV) with $$($(PYTHON) --version) ..."
	@$(PYTHON) -m venv --clear $(VENV)

# Every package is pinned and hashed; what is not in the file is not installed. A dot a second, for it may take half a minute.
define install
	@echo "Installing the packages of $< ..."
	@while sleep 1 && kill -0 $$$$ 2>/dev/null; do printf .; done & dots=$$!; trap 'kill $$dots' EXIT; trap 'exit 130' INT TERM; \
		$(BIN)/python -m pip install --quiet --require-hashes -r $< && echo
	@touch $@
endef

$(RUN): requirements.txt | $(VENV)/pyvenv.cfg
	$(install)

$(DEV): requirements-dev.txt $(RUN)
	$(install)

# GenAuth's client for Node, linters of OpenAPI and what drives a browser; without Node those tests are skipped.
$(CLIENTS): tests/clients/package-lock.json
	@if command -v npm >/dev/null; then cd tests/clients && npm ci --ignore-scripts --silent --no-audit --no-fund && touch node_modules/.package-lock.json; fi

.PHONY: image-check
image-check: $(DEV)  ## Build the image without a registry and run it, as root, in two minutes: with mmdebstrap, buildah, podman and runc
	$(BIN)/python -m tests.image

.PHONY: drills
drills: $(DEV)  ## Break things under load and write docs/reliability.md, a quarter of an hour; ARGS="redis- --quick" for some
	$(BIN)/python -m tests.drills $(or $(ARGS),--write)

BENCH := $(VENV)/.bench-installed
PEER := bench/peers/node/node_modules/.package-lock.json

.PHONY: bench
bench: $(BENCH) $(PEER) wrk  ## Measure every scenario side by side, half an hour; writes docs/performance.md and docs/scaling.md (ARGS="--only steady")
	$(BIN)/python -m bench.run $(ARGS)

.PHONY: bench-quick
bench-quick: $(BENCH) $(PEER) wrk  ## The same for a look, in under three minutes; writes nothing
	$(BIN)/python -m bench.run --quick $(ARGS)

.PHONY: wrk
wrk:
	@command -v wrk >/dev/null || { test "$$(id -u)" = 0 && apt-get update --quiet=2 && apt-get install --yes --quiet=2 --no-install-recommends wrk; } || \
		{ echo "The load generator wrk is missing; install it as root: apt-get install wrk" >&2; exit 1; }

$(BENCH): bench/requirements.txt $(RUN)
	$(install)

$(PEER): bench/peers/node/package-lock.json
	@command -v npm >/dev/null || { echo "Node and npm are missing: the Node program cannot be compared with." >&2; exit 1; }
	cd bench/peers/node && npm ci --silent --no-audit --no-fund && touch node_modules/.package-lock.json

# Generated inputs, some ten minutes of them; the figures go into docs/security.md. atheris has wheels for few machines: where
# there is none, the tests that use it are skipped.
.PHONY: fuzz
fuzz: $(DEV)  ## Try more than 100,000 generated inputs on everything that reads any
	-$(BIN)/python -m pip install --quiet --require-hashes --no-deps -r tests/security/requirements-fuzz.txt
	FUZZ=long $(BIN)/python -m pytest tests/security tests/web/test_cached_equals_uncached.py --timeout=900 $(ARGS)
