# make lab    opens the workbench in JupyterLab        make test   runs every check
# make test-long  long fuzzes and matrices
# make setup  is what both call first                  make bench  prints times and memory      make clean
# make conformance  asks ONNX's own node tests, and prints how many are right
# make house  prints how the package is built: lines per room, imports that run the wrong way, long functions
# make reports  runs every notebook and writes each as an HTML page into reports/, with its time and memory

IS_311 := -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null
STAMP := .venv/.setup-done
# the pip section of environment.yml as pip constraints
PINS := grep -oE '[A-Za-z0-9._-]+==[^ ]+' environment.yml

.PHONY: lab test test-long conformance house setup reports bench bench-snn badge pins clean

lab: setup
	.venv/bin/jupyter lab --LabApp.default_url=/lab/tree/notebooks/00_workbench.ipynb $(LAB_ARGS)

test: setup
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/pytest -n 2 $(PYTEST_ARGS)

test-long: setup
	.venv/bin/pytest -n 2 -m long $(PYTEST_ARGS)

conformance: setup
	.venv/bin/python tests/conformance.py

setup: $(STAMP)
	@:

house: setup
	.venv/bin/python tests/house.py

reports: setup
	.venv/bin/workbench export --execute --force -o reports notebooks/*.ipynb

bench: setup
	.venv/bin/python tests/bench.py

# Speed and accuracy (Table 5) of the paper's spiking network, about 15 minutes: make bench-snn WORKBENCH_MNIST=mnist.npz
bench-snn: setup
	WORKBENCH_MNIST="$(WORKBENCH_MNIST)" .venv/bin/python tests/bench_snn.py

# The stamp is written last, so an install that failed is tried again.
$(STAMP): pyproject.toml environment.yml
	@rm -f $@
	@.venv/bin/python $(IS_311) || { \
	    for python in python3.11 python3; do "$$python" $(IS_311) && exec "$$python" -m venv --clear .venv; done; \
	    echo "ONNX Workbench needs Python 3.11, and neither python3.11 nor python3 is one: install it, then run this again." >&2; \
	    exit 1; \
	}
	@$(PINS) > .venv/pins.txt
	.venv/bin/python -m pip install --constraint .venv/pins.txt --editable '.[test]'
	@touch $@

# Points the Binder badge in README to the repository that `origin` names.
badge:
	@url="$$(git remote get-url origin)"; name="$$(printf %s "$$url" | sed -E 's#\.git$$##; s#.*[:/]([^/]+/[^/]+)$$#\1#')"; \
	    sed -i -E "s#(mybinder\.org/v2/gh/)[^/]+/[^/]+/#\1$$name/#" README.md; grep -m1 mybinder README.md

pins:
	@$(PINS)

clean:
	rm -rf .venv reports .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
