# Names only: each target is one command. `make demo` and `make test` install what is missing first.
SHELL := /bin/bash
PY := .venv/bin/python
# One more than there are processors: a test that waits for a disk or for the only thread of a program leaves one idle.
TESTERS := $(shell n=$$(nproc); echo $$((n < 4 ? n + 1 : 4)))
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo -E)

.PHONY: setup demo test lint bench qualify lab-matrix golden schema clean

setup:
	@.ci/setup

demo: setup
	@$(SUDO) $(PY) -m tests.lab.demo

test: setup
	@$(SUDO) $(PY) -m pytest -n $(TESTERS) --dist loadfile --no-loadscope-reorder

lint: setup
	@.ci/lint

qualify: setup
	@$(SUDO) $(PY) -m tests.lab.qualify
	@$(SUDO) $(PY) -m pytest -m qualify

lab-matrix: setup
	@$(SUDO) $(PY) -m tests.lab.everywhere

bench: setup
	@$(SUDO) $(PY) -m benchmarks

golden: setup
	@REPOBUILD_GOLDEN=write $(PY) -m pytest -q tests/golden

schema: setup
	@$(PY) -m tests.unit.test_config_schema

clean:
	$(SUDO) rm -rf .demo .qualify .lab-matrix .venv
