# make lab    opens the workbench in JupyterLab        make test   runs every check
#             make lab EDITION=ko  the Korean notebooks
# make test-long  long fuzzes and matrices
# make setup  is what both call first                  make bench  prints times and memory      make clean
# make conformance  asks ONNX's own node tests, and prints how many are right
# make house  prints how the package is built: lines per room, imports that run the wrong way, long functions
# make badge  points README's links to your fork      make students  a branch without solutions
# make reports  runs every notebook and writes each as an HTML page into reports/, with its time and memory;
#               make reports EDITION=ko  the Korean ones, into reports/ko/
# make korean  brings notebooks/ko up to notebooks, and names what is to be translated

IS_311 := -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null
STAMP := .venv/.setup-done
# the pip section of environment.yml as pip constraints
PINS := grep -oE '[A-Za-z0-9._-]+==[^ ]+' environment.yml

.PHONY: lab test test-long conformance house setup reports korean bench bench-snn badge students pins clean

lab: setup
	$(if $(EDITION),.venv/bin/jupyter lab --LabApp.default_url=/lab/tree/notebooks/$(EDITION)/00_workbench.ipynb,.venv/bin/workbench lab) $(LAB_ARGS)

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
	.venv/bin/workbench export --execute --force -o reports/$(EDITION) notebooks/$(EDITION:%=%/)*.ipynb

korean: setup
	.venv/bin/python tests/editions.py $(DONE)

bench: setup
	.venv/bin/python tests/bench.py

# Speed and accuracy (Table 5) of the paper's spiking network, about 15 minutes: make bench-snn WORKBENCH_MNIST=mnist.npz
bench-snn: setup
	WORKBENCH_MNIST="$(WORKBENCH_MNIST)" .venv/bin/python tests/bench_snn.py

# The stamp is written last, so an install that failed is tried again. JupyterLab's extension is a copy: hence its files.
$(STAMP): pyproject.toml environment.yml $(wildcard binder/hatch_build.py workbench/widgets/lab.js workbench/show/live/runtime.py)
	@rm -f $@
	@.venv/bin/python $(IS_311) || { \
	    for python in python3.11 python3; do "$$python" $(IS_311) && exec "$$python" -m venv --clear .venv; done; \
	    echo "ONNX Workbench needs Python 3.11, and neither python3.11 nor python3 is one: install it, then run this again." >&2; \
	    exit 1; \
	}
	@$(PINS) > .venv/pins.txt
	.venv/bin/python -m pip install --constraint .venv/pins.txt --editable '.[test]'
	.venv/bin/python -m workbench.show.live || true  # reports that answer; it says so where npm's registry is out of reach
	@touch $@

# Points README's links (Binder, nbgitpuller) to the repository on GitHub that `origin` names.
badge:
	@name="$$(git remote get-url origin | sed -nE 's#\.git/?$$##; s#.*github\.com[:/]([^/]+/[^/]+)$$#\1#p')"; \
	    [ -n "$$name" ] || { echo "origin is no repository on GitHub, and the links need one: git remote set-url origin …" >&2; exit 1; }; \
	    sed -i -E "s#(mybinder\.org/v2/gh/)[^/]+/[^/]+/#\1$$name/#g; s#(github\.com%2F)[^%]+%2F[^&]+#\1$${name%/*}%2F$${name#*/}#g" README.md; \
	    echo "README's links lead to $$name."

# The branch `students`: the last commit without solutions and tests, and without the history that holds them.
students:
	@GIT_INDEX_FILE="$$(mktemp -u)"; export GIT_INDEX_FILE; trap 'rm -f "$$GIT_INDEX_FILE"' EXIT; git read-tree HEAD && \
	    git rm -r -q --cached --ignore-unmatch notebooks/solutions notebooks/ko/solutions tests/notebooks 'tests/*.py' && \
	    last="$$(git rev-parse -q --verify students || git rev-parse -q --verify origin/students)"; \
	    git branch -f students "$$(git commit-tree $${last:+-p $$last} -m "As of $$(git rev-parse --short HEAD)" "$$(git write-tree)")" && \
	    echo "Branch students is made: git push origin students"

pins:
	@$(PINS)

clean:
	rm -rf .venv reports .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
