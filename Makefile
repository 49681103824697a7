# The only commands a newcomer needs. Each makes the environment when it is missing.

# Every path is a variable of the recipes' shell, in quotes, and never a target or a part of a recipe's text: make takes
# a space for the end of a name, and the shell would run what it finds in a name without quotes.
define NEWLINE


endef
quoted = '$(subst ','\'',$(subst $(NEWLINE),\n,$(1)))'
# As trainables/cache.py understands a path: `~` is the home folder, and a relative one begins here.
absolute = $(shell path=$(call quoted,$(1)); case $$path in (/*) ;; \
	(\~|\~/*) path=$$HOME$$(printf %s "$$path" | cut -c2-) ;; (*) path=$$PWD/$$path ;; esac; printf %s "$$path")

export PYTHON := $(or $(value PYTHON),python3)
CACHE := $(or $(value L2S_CACHE),$(or $(value XDG_CACHE_HOME),$(value HOME)/.cache)/distill-l2s)
override L2S_CACHE := $(call absolute,$(CACHE))
export L2S_CACHE
# Outside the clone and named after the constraints, so that clones share it and a change makes a new one.
export CONSTRAINTS := $(or $(value CONSTRAINTS),constraints.txt)
ENV := $(CACHE)/env-$(shell sha256sum $(call quoted,$(CONSTRAINTS)) | cut -c1-12)
export VENV := $(call absolute,$(ENV))
# Only what lies beside this file is ever deleted to make an environment.
MARK := made-by-make
MISSING := $(shell [ -e $(call quoted,$(VENV)/complete) ] || echo environment)
RUN := PYTHONPATH="$$PWD" "$$VENV"/bin/
export NODES := tests/faults/test_nodes.py
export RAY := $(or $(value RAY),2.54.1)
OF_RAY := tests/faults tests/orchestrator/cluster

.PHONY: demo demo-hubert demo-synthetic test test-ray of-ray check bench env clean environment

demo: $(MISSING)  ## Table 1 in miniature: real speech, real weights, about five minutes on two cores
	@$(RUN)python -m trainables.miniature
	@$(RUN)python sweeps/commonvoice20.py --preset mini

demo-hubert: $(MISSING)  ## Table 2 of HuBERT's distillation in miniature: students, losses and amounts of English speech
	@$(RUN)python -m trainables.miniature --english
	@$(RUN)python sweeps/hubert_librispeech.py --preset mini

demo-synthetic: $(MISSING)  ## the same on synthetic speech, for machines without apt-get
	@$(RUN)python -m trainables.miniature --synthetic
	@$(RUN)python sweeps/commonvoice20.py --preset mini --name commonvoice20-synthetic \
		--data "$$L2S_CACHE/miniature/synthetic_common_voice"

test: $(MISSING)  ## all tests; those of faults mostly wait for processes to start and die, so most of them beside the others
	@log=$$(mktemp); trap 'trap "" INT TERM; kill $$faults $$here 2> /dev/null; wait; rm "$$log"; exit 130' INT TERM; \
	$(RUN)python -m pytest --timeout 600 tests/faults --ignore "$$NODES" > "$$log" 2>&1 & faults=$$!; \
	$(RUN)python -m pytest --ignore tests/faults & here=$$!; wait $$here; rest=$$?; \
	$(RUN)python -m pytest --timeout 600 "$$NODES" & here=$$!; wait $$here; nodes=$$?; \
	wait $$faults; faulty=$$?; cat "$$log"; rm "$$log"; exit $$((rest + nodes + faulty))

test-ray:  ## the tests that start Ray, with the oldest release of it that may be used, or another: make test-ray RAY=2.57.0
	@mkdir -p -- "$$L2S_CACHE" && sed "s/^ray==.*/ray==$$RAY/" constraints.txt > "$$L2S_CACHE/ray-$$RAY.txt"
	@$(MAKE) --no-print-directory CONSTRAINTS="$$L2S_CACHE/ray-$$RAY.txt" of-ray

of-ray: $(MISSING)
	@$(RUN)python -m pytest --timeout 600 $(OF_RAY)

check: $(MISSING)  ## style, types, import contracts, links, deployment files
	@$(RUN)ruff check .
	@$(RUN)ruff format --check .
	@$(RUN)pyright --pythonpath "$$VENV/bin/python"
	@$(RUN)lint-imports --no-cache
	@$(RUN)python -m pytest tests/test_documents.py tests/test_deployment.py tests/test_public_interfaces.py

bench: $(MISSING)  ## every claim of speed against its peer, over 25 minutes on two cores that do nothing else
	@$(RUN)python -m benchmarks

env: $(MISSING)  ## what to source: source "$$(make --silent env)"
	@printf '%s\n' "$$VENV/bin/activate"

clean:  ## what the commands above left in this folder
	rm -rf runs build ./*.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

ifdef MISSING  # so that nobody makes anew what is there
# Neither Python's `activate` nor Ray's command lines quote these; PATH and PYTHONPATH cannot hold a colon.
UNQUOTED := *[[:cntrl:]:\'\"\`\$$\\]*

environment:
	@case $$VENV in ($(UNQUOTED)) printf '%s\n' "The environment's path must have no quotes, colons, dollar signs,\
	 backslashes or control characters, but is $$VENV instead; choose another L2S_CACHE." >&2; exit 1 ;; esac
	@"$$PYTHON" -c 'import sys; v = sys.version_info[:2]; sys.exit(v not in ((3, 11), (3, 12)) and f"Python must be 3.11 or 3.12, but {sys.executable} is {v[0]}.{v[1]}; try make PYTHON=python3.11")'
	@if [ -e "$$VENV/$(MARK)" ]; then rm -rf -- "$$VENV"; fi
	@[ ! -e "$$VENV" ] || rmdir -- "$$VENV" 2> /dev/null || { printf '%s\n' "The environment's folder must be new, empty\
	 or an environment that make began, but $$VENV is neither; delete it, or choose another L2S_CACHE." >&2; exit 1; }
	@echo "Installing about 6 GB into $$VENV, once" >&2
	@mkdir -p -- "$$VENV" && touch -- "$$VENV/$(MARK)"
	@"$$PYTHON" -m venv "$$VENV" >&2 || { rm -rf -- "$$VENV"; echo "Python's venv is missing: on Debian and Ubuntu, apt-get install python3-venv" >&2; exit 1; }
	@"$$PYTHON" -c 'import tomllib; p = tomllib.load(open("pyproject.toml", "rb"))["project"]; print(*p["dependencies"], *p["optional-dependencies"]["dev"], sep="\n")' > "$$VENV/requirements.txt"
	@"$$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --constraint "$$CONSTRAINTS" --requirement "$$VENV/requirements.txt" >&2
	@touch -- "$$VENV/complete"
endif
