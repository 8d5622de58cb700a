# Two commands matter: `make run` and `make test`. Works with GNU make 3.81 and any POSIX sh.
# PORT and EVENTS_DATA_DIR are taken from the environment or from the command line (make run PORT=9000).

VENV := .venv
PYTHON := $(VENV)/bin/python
PYTEST := $(PYTHON) -m pytest -n auto --dist worksteal --durations=30 -m 'not long'

# Where it is set (many images do so), each of the hundreds of processes that the tests start would compile our code anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help run test quick coverage check demo bench faults screenshots docs release clean

help: ## List what can be made
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1|\2/p' Makefile | awk -F '|' '{ printf "%-17s %s\n", $$1, $$2 }'

run: $(VENV)/.installed ## Start the whole platform (PORT=8000, EVENTS_DATA_DIR=.data); Ctrl-C stops it
	@exec $(PYTHON) manage.py up

test: $(VENV)/.installed-dev ## Run every test against a real PostgreSQL and Redis
	@exec $(PYTEST)

quick: $(VENV)/.installed-dev ## The inner loop: tests that need no database and no second program
	@exec $(PYTHON) -m pytest -q -n auto --dist worksteal -m 'not (slow or faults or long or database)'

# Tracing each line nearly doubles the time of a test, so it is a run of its own.
coverage: $(VENV)/.installed-dev ## The same with branch coverage, which must be 90 % or more
	@exec $(PYTEST) --cov --cov-report=term:skip-covered

check: $(VENV)/.installed-dev ## What CI runs beside the tests: lint, types, import rules, migrations
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH" exec scripts/check

demo: $(VENV)/.installed ## Send real GitHub webhook payloads to the running platform
	@exec $(PYTHON) manage.py demo

bench: $(VENV)/.installed-dev ## Measure against the textbook build (ONLY=intake for one benchmark; docs/benchmarks.md)
	@exec $(PYTHON) -m benchmarks $(if $(ONLY),--only $(ONLY))

# Half an hour. TABLE=1 writes what came out into docs/operations/faults.md, when no row was left out.
faults: $(VENV)/.installed-dev ## Run the fault-injection tests (ONLY=redis-hangs-25s for one row of docs/operations/faults.md)
	@FAULTS_TABLE=$(TABLE) exec $(PYTHON) -m pytest -m 'faults or long' $(if $(ONLY),tests/faults -k '$(ONLY)')

screenshots: $(VENV)/.installed-dev ## Take a picture of every page into docs/images (needs chromium)
	@SCREENSHOTS=docs/images exec $(PYTHON) -m pytest -q tests/browser/test_screenshots.py

docs: $(VENV)/.installed-dev ## Build the documentation as a site into site/; a broken link is an error
	@$(PYTHON) -m scripts.write_api_page
	@$(PYTHON) -m scripts.write_untested_page
	@$(PYTHON) -m scripts.write_sizing_page
	@NO_MKDOCS_2_WARNING=1 exec $(PYTHON) -m mkdocs build --strict

# Of the standard library alone, so that no environment is needed.
release: ## Close the changelog, commit and tag a release: make release VERSION=0.2.0 (on main; pushes nothing)
	@python3 scripts/release.py $(VERSION)

clean: ## Remove the virtual environment and the caches; the data stays
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage htmlcov

# Stamps: a second start installs nothing. `touch .venv/.made` keeps an environment of one's own (scripts/install).
$(VENV)/.installed: requirements.txt
	@scripts/install requirements.txt
	@touch $@

$(VENV)/.installed-dev: requirements-dev.txt $(VENV)/.installed
	@scripts/install requirements-dev.txt
	@touch $@
