# The words that a newcomer needs. Everything installs into .venv; as root, Debian packages that the tests need are installed too.
#   make demo              a simulated community on four wires, live        (ARGS="--for 30s --json")
#   make test              lint, types, layering, all tests                 (about ten minutes on two cores)
#   make check             lint, types and layering alone
#   make test-long         everything that takes longer than a change should wait
#   make bench             measures, as JSON
#   make fuzz              each driver under a coverage-guided fuzzer    (ARGS="--seconds 20 gt06 jt808")

VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

.PHONY: demo test check bench fuzz test-long lock clean

demo: $(VENV)/.demo
	@exec $(BIN)/anhu demo $(ARGS)

check: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: $(VENV)/.test
	@deploy/prepare.sh packages
	@$(MAKE) --no-print-directory check
	$(BIN)/pytest -n 2 --dist loadfile -m "not slow" $(ARGS)

test-long: $(VENV)/.test
	@deploy/prepare.sh packages
	$(BIN)/pytest -n 2 --dist loadfile $(ARGS)

bench: $(VENV)/.test
	@$(BIN)/python -m bench $(ARGS)

# The fuzzer goes into a folder of its own: it is no requirement of the tests.
fuzz: build/fuzzer $(VENV)/.test
	@PYTHONPATH=build/fuzzer $(BIN)/python -m tests.fuzz $(ARGS)

build/fuzzer: | $(VENV)/.test
	$(BIN)/pip install -q --disable-pip-version-check --target $@ atheris

# Pins versions and hashes anew (needs uv).
lock:
	uv pip compile -q --generate-hashes --no-header --universal --python-version 3.11 -U requirements/build.in -o requirements/build.txt
	uv pip compile -q --generate-hashes --no-header --universal --python-version 3.11 -U pyproject.toml --extra embedded -o requirements/run.txt
	uv pip compile -q --generate-hashes --no-header --universal --python-version 3.11 -U pyproject.toml --extra embedded --extra test -o requirements/test.txt

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(VENV)/.demo: requirements/build.txt requirements/run.txt pyproject.toml
	@deploy/prepare.sh venv run
	@touch $@

$(VENV)/.test: requirements/build.txt requirements/test.txt pyproject.toml
	@deploy/prepare.sh venv test
	@touch $@ $(VENV)/.demo
