# Two commands do everything: `make demo` and `make test`. They install what they need.
UV_VERSION := 0.13.9
UV := .tools/bin/uv
RUN := $(UV) run --frozen --no-sync
CRASH_TESTS := $(RUN) pytest -n 2 --maxschedchunk 1 -m crash --durations 0 --durations-min 5
MESSAGES := services/scorer/src/loopwright_scorer/protocols/messages
PYTHON ?= python3
# Heavy imports take twice as long without compiled files, and threads fight over few cores.
export PYTHONDONTWRITEBYTECODE :=
export OMP_NUM_THREADS := 1
export OPENBLAS_NUM_THREADS := 1

.PHONY: setup engines demo demo-kafka up test test-crash test-crash-share test-fresh check fmt proto docs bench bench-journeys bench-scoring fuzz clean

setup: .venv/installed

# Under another name first: what is interrupted leaves no program that looks installed.
$(UV):
	partial=$$(mktemp -d ./.tools-XXXXXX) && trap 'rm -rf "$$partial"' EXIT && \
		$(PYTHON) -m venv "$$partial" && \
		"$$partial/bin/pip" install --quiet uv==$(UV_VERSION) && \
		mkdir -p $(@D) && mv -f "$$partial/bin/uv" $@

.venv/installed: $(UV) uv.lock
	$(UV) sync --locked --all-packages --compile-bytecode --no-python-downloads --python $(PYTHON)
	touch $@

engines: setup
	$(RUN) python -m loopwright.engines

demo: setup
	$(RUN) loopwright demo

demo-kafka: engines
	$(RUN) loopwright demo --engine kafka

up: setup
	$(RUN) loopwright up

test: engines
	$(RUN) pytest -n 3 --dist loadgroup -m "not crash" --durations 15 tests
	$(RUN) pytest -n 0 tests/common/sandbox/scenarios/test_container.py

test-crash: engines
	$(CRASH_TESTS) tests

# A quarter of them, another one for each of four commits.
test-crash-share: engines
	$(CRASH_TESTS) --crash-share $$(git rev-list --count HEAD) tests

test-fresh: $(UV)
	UV=$(UV) PYTHON=$(PYTHON) .ci/fresh

check: setup
	$(UV) lock --check
	$(RUN) ruff format --check .
	$(RUN) ruff check .
	$(RUN) typos
	$(RUN) mypy apps services libs tests benchmarks
	$(RUN) lint-imports
	$(RUN) python -m loopwright_common.cloudevents.event_schemas --check
	$(RUN) python -m loopwright.reference --check

fmt: setup
	$(RUN) ruff format .
	$(RUN) ruff check --fix .

proto: setup
	$(RUN) python -m grpc_tools.protoc -I $(MESSAGES) --descriptor_set_out=$(MESSAGES)/inference.binpb \
		--pyi_out=$(MESSAGES) inference.proto

docs: setup
	$(RUN) python -m loopwright_common.cloudevents.event_schemas
	$(RUN) python -m loopwright.reference

bench: setup
	$(RUN) python -m benchmarks.loop

bench-journeys: setup
	$(RUN) python -m benchmarks.journeys
	$(RUN) python -m benchmarks.journeys --engine kafka
	$(RUN) python -m benchmarks.journeys --fast
	$(RUN) python -m benchmarks.journeys --fast --engine kafka

bench-scoring: setup
	$(RUN) python -m benchmarks.scoring

# Readers of packages against damaged model files; goes on where it was interrupted.
INPUTS ?= 100000
fuzz: setup
	$(RUN) python -m tests.fuzz --inputs $(INPUTS)

clean:
	rm -rf .venv .tools .fuzz .loopwright demo-data
