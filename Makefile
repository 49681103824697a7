# The only commands a newcomer needs. Each makes the environment when it is missing.

PYTHON ?= python3
export L2S_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/distill-l2s
# Outside the clone and named after the constraints, so that clones share it and a change makes a new one.
ENV := $(L2S_CACHE)/env-$(shell sha256sum constraints.txt | cut -c1-12)
RUN := PYTHONPATH=$(CURDIR) $(ENV)/bin/
NODES := tests/faults/test_nodes.py

.PHONY: demo demo-synthetic test check bench env clean
.DELETE_ON_ERROR:

demo: $(ENV)/complete  ## Table 1 in miniature: real speech, real weights, about ten minutes on two cores
	@$(RUN)python -m trainables.miniature
	@$(RUN)python sweeps/commonvoice20.py --preset mini

demo-synthetic: $(ENV)/complete  ## the same on synthetic speech, for machines without apt-get
	@$(RUN)python -m trainables.miniature --synthetic
	@$(RUN)python sweeps/commonvoice20.py --preset mini --name commonvoice20-synthetic \
		--data $(L2S_CACHE)/miniature/synthetic_common_voice

test: $(ENV)/complete  ## all tests; those of faults mostly wait for processes to start and die, so most of them beside the others
	@log=$$(mktemp); trap 'trap "" INT TERM; kill $$faults $$here 2> /dev/null; wait; rm $$log; exit 130' INT TERM; \
	$(RUN)python -m pytest --timeout 600 tests/faults --ignore $(NODES) > $$log 2>&1 & faults=$$!; \
	$(RUN)python -m pytest --ignore tests/faults & here=$$!; wait $$here; rest=$$?; \
	$(RUN)python -m pytest --timeout 600 $(NODES) & here=$$!; wait $$here; nodes=$$?; \
	wait $$faults; faulty=$$?; cat $$log; rm $$log; exit $$((rest + nodes + faulty))

check: $(ENV)/complete  ## style, types, import contracts, links, deployment files
	@$(RUN)ruff check .
	@$(RUN)ruff format --check .
	@$(RUN)pyright --pythonpath $(ENV)/bin/python
	@$(RUN)lint-imports --no-cache
	@$(RUN)python -m pytest tests/test_documents.py tests/test_deployment.py

bench: $(ENV)/complete  ## every claim of speed against its peer, about 25 minutes on two cores that do nothing else
	@$(RUN)python -m benchmarks

env: $(ENV)/complete  ## what to source: source "$$(make --silent env)"
	@echo $(ENV)/bin/activate

clean:  ## what the commands above left in this folder
	rm -rf runs build *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

$(ENV)/complete:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(v not in ((3, 11), (3, 12)) and f"Python must be 3.11 or 3.12, but {sys.executable} is {v[0]}.{v[1]}; try make PYTHON=python3.11")'
	@echo "Installing about 6 GB into $(ENV), once"
	@rm -rf $(ENV)
	@$(PYTHON) -m venv $(ENV) || { rm -rf $(ENV); echo "Python's venv is missing: on Debian and Ubuntu, apt-get install python3-venv"; exit 1; }
	@$(PYTHON) -c 'import tomllib; p = tomllib.load(open("pyproject.toml", "rb"))["project"]; print(*p["dependencies"], *p["optional-dependencies"]["dev"], sep="\n")' > $(ENV)/requirements.txt
	@$(ENV)/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt --requirement $(ENV)/requirements.txt
	@touch $@
