# Everything runs in .venv, which is made on demand. Nothing outside the checkout is touched.
#
#   make demo         train a small network on handwritten digits, write out/digits.png
#   make demo-photos  filter two photographs, write out/photographs.png
#   make test         run the tests                   PYTEST_ARGS="-k forward -x" goes to pytest
#   make mutate       put faults into a copy of the sources, print those that no test sees
#                                                     MUTATE_ARGS="--only words" picks some
#   make test-genuine run the tests with AMD's own libMIOpen, from Debian   GENUINE=7 for its newer one
#   make bench        time layers of seven networks against PyTorch   BENCH_ARGS="--help"
#   make lint         ruff, cython-lint, clang-format, mypy
#   make wheel        build dist/mioconv-*.whl and list what is in it
#   make clean        remove everything that was made here
#
# PYTHON is the interpreter that .venv is made from; WERROR=ON turns compiler warnings into errors.

PYTHON ?= python3
VENV ?= .venv
WERROR ?= OFF
PYTEST_ARGS ?=
BENCH_ARGS ?=
MUTATE_ARGS ?=
GENUINE ?= 6
TORCH ?= 2.13.0

PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check
# For the shell, when it is built: make itself would see the folder as it was before.
WHEEL := $$(echo dist/mioconv-*.whl)
# What the installed package is made from: a second run builds nothing unless one of these changed.
SOURCES := pyproject.toml CMakeLists.txt README.md LICENSE \
  $(shell find src include providers cmake examples bench -type f -not -name '*.pyc')
CPP := $(shell find include providers bench -name '*.h' -o -name '*.hpp' -o -name '*.cpp')

.PHONY: demo demo-photos test test-genuine mutate bench lint lint-ruff lint-format lint-cython lint-cpp lint-mypy wheel clean
.DELETE_ON_ERROR:

demo: $(VENV)/demo.stamp
	$(PY) examples/digits.py

demo-photos: $(VENV)/demo.stamp
	$(PY) examples/photographs.py

test: $(VENV)/test.stamp
	$(PY) -m pytest $(PYTEST_ARGS)

# Some of the tests need PyTorch.
mutate: $(VENV)/test.stamp
	@$(PY) -c "import torch" || $(PIP) install torch==$(TORCH)
	cd tests && ../$(PY) -m mutation $(MUTATE_ARGS)

# 77: this machine cannot do it, and the text says why.
test-genuine: $(VENV)/test.stamp
	cd tests && $(abspath $(PY)) -m genuine $(GENUINE) $(PYTEST_ARGS) || [ $$? -eq 77 ]

# PyTorch is not among the extras: which wheel is right depends on the machine.
bench: $(VENV)/bench.stamp
	@$(PY) -c "import torch" || $(PIP) install torch==$(TORCH)
	$(VENV)/bin/mioconv bench $(BENCH_ARGS)

# One target for each linter: `make -k lint` runs the rest after one has failed.
lint: lint-ruff lint-format lint-cython lint-cpp lint-mypy lint-stubs

lint-ruff: $(VENV)/lint.stamp
	$(PY) -m ruff check .

lint-format: $(VENV)/lint.stamp
	$(PY) -m ruff format --check .

lint-cython: $(VENV)/lint.stamp
	PATH="$(abspath $(VENV))/bin:$$PATH" cython-lint src/mioconv

lint-cpp: $(VENV)/lint.stamp
	@echo "clang-format --dry-run -Werror"
	@$(VENV)/bin/clang-format --dry-run -Werror $(CPP)

lint-mypy: $(VENV)/lint.stamp
	$(PY) -m mypy

# The stubs of the compiled modules say what the modules do.
lint-stubs: $(VENV)/lint.stamp
	cd tests && $(abspath $(PY)) -m mypy.stubtest --concise --ignore-unused-allowlist --allowlist stubs_allowed.txt \
	  $(subst /,.,$(patsubst src/%.pyi,%,$(shell find src -name '*.pyi')))

wheel: $(VENV)/wheel.stamp
	$(PY) -m zipfile -l $(WHEEL)
	ls -l $(WHEEL)

clean:
	rm -rf $(VENV) build dist out .pytest_cache .hypothesis .mypy_cache .ruff_cache

$(VENV)/venv.stamp:
	$(PYTHON) -m venv $(VENV)
	touch $@

# One wheel serves every extra below: the package is compiled once.
$(VENV)/wheel.stamp: $(VENV)/venv.stamp $(SOURCES)
	rm -f dist/mioconv-*.whl
	$(PIP) wheel --quiet --no-deps --wheel-dir dist \
	  --config-settings=cmake.define.MIOCONV_WERROR=$(WERROR) .
	touch $@

# The version may be the one that is installed already: pip would keep that one if not forced.
$(VENV)/package.stamp: $(VENV)/wheel.stamp
	$(PIP) install --quiet --force-reinstall --no-deps $(WHEEL)
	touch $@

$(VENV)/%.stamp: $(VENV)/package.stamp
	$(PIP) install --quiet "$(WHEEL)[$*]"
	touch $@

.SECONDARY: $(VENV)/package.stamp $(VENV)/wheel.stamp $(VENV)/venv.stamp
