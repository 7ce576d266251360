# Two commands do everything: `make demo` and `make test`. They install what they need.
UV_VERSION := 0.13.9
UV := .tools/bin/uv
RUN := $(UV) run --frozen --no-sync
MESSAGES := services/scorer/src/loopwright_scorer/protocols/messages
PYTHON ?= python3
# Heavy imports take twice as long without compiled files, and threads fight over few cores.
export PYTHONDONTWRITEBYTECODE :=
export OMP_NUM_THREADS := 1
export OPENBLAS_NUM_THREADS := 1

.PHONY: setup demo demo-kafka up test test-crash check fmt proto docs bench bench-scoring clean

setup: .venv/installed

$(UV):
	$(PYTHON) -m venv .tools
	.tools/bin/pip install --quiet uv==$(UV_VERSION)

.venv/installed: $(UV) uv.lock
	$(UV) sync --locked --all-packages --compile-bytecode --no-python-downloads --python $(PYTHON)
	touch $@

demo: setup
	$(RUN) loopwright demo

demo-kafka: setup
	$(RUN) loopwright demo --engine kafka

up: setup
	$(RUN) loopwright up

test: setup
	$(RUN) pytest -n 2 --dist loadgroup -m "not e2e and not crash" tests
	$(RUN) pytest -n 2 --dist loadfile -m "e2e and not crash" tests

test-crash: setup
	$(RUN) pytest -m crash tests

check: setup
	$(UV) lock --check
	$(RUN) ruff format --check .
	$(RUN) ruff check .
	$(RUN) typos
	$(RUN) mypy apps services libs tests benchmarks
	$(RUN) lint-imports
	$(RUN) python -m loopwright_common.cloudevents.event_schemas --check
	$(RUN) python -m loopwright.settings_reference --check

fmt: setup
	$(RUN) ruff format .
	$(RUN) ruff check --fix .

proto: setup
	$(RUN) python -m grpc_tools.protoc -I $(MESSAGES) --descriptor_set_out=$(MESSAGES)/inference.binpb \
		--pyi_out=$(MESSAGES) inference.proto

docs: setup
	$(RUN) python -m loopwright_common.cloudevents.event_schemas
	$(RUN) python -m loopwright.settings_reference

bench: setup
	$(RUN) python -m benchmarks.loop

bench-scoring: setup
	$(RUN) python -m benchmarks.scoring

clean:
	rm -rf .venv .tools .loopwright demo-data
