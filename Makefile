# `make` alone explains. Every target makes its own environment in .venv first; none needs root.

SHELL := /bin/sh
PY := .venv/bin/python
ARGS ?=
# Some container images forbid Python to keep what it compiled; every process would then compile a thousand modules again, and a
# start take more than twice the processor time.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo members-demo up test check bench soak format lock servers environment environment-dev

help:  ## say what can be done here
	@echo 'Penstock: a video is uploaded once and streams adaptively to any player.'
	@echo
	@echo '  make demo     watch one real clip go all the way: upload, processing (a worker is killed on'
	@echo '                the way), HLS and DASH checked frame by frame; prints an address to watch it at'
	@echo '  make members-demo   watch real nodes join, leave, die, lose their links (as root) and come back'
	@echo '  make up       start Penstock on this machine, data in ./data (ARGS="--port 9000" and the like)'
	@echo '  make test     every check and every test; says at its end what this machine could not run'
	@echo '  make check    formatting, lints, types, import directions, documents, HTTP contract'
	@echo '  make bench    the benchmarks, each beside what it is measured against (trials; ARGS="--full")'
	@echo '  make soak     processing and clusters that die at random, files that are damaged at random, from fresh seeds (ARGS="--minutes 60")'
	@echo
	@echo '  make format   format the code       make lock      renew requirements/*.txt'
	@echo '  sudo make servers   install the Debian packages that some tests need (PostgreSQL, Chromium, ...)'
	@echo
	@echo 'The first run sets up .venv from Python 3.11 to 3.14 and pip alone (about 200 MB to download).'

demo: environment  ## one real clip through every stage
	@$(PY) scripts/demo.py $(ARGS)

members-demo: environment  ## nodes that find, lose and find each other
	@$(PY) scripts/members_demo.py $(ARGS)

up: environment  ## start Penstock on this machine
	@.venv/bin/penstock up $(ARGS)

test: environment-dev  ## all checks and all tests
	@$(PY) scripts/test.py $(ARGS)

check: environment-dev  ## everything that needs no running
	@$(PY) scripts/check.py

bench: environment-dev  ## the benchmarks
	@$(PY) scripts/bench.py $(ARGS)

soak: environment-dev  ## a long run with failures
	@$(PY) scripts/soak.py $(ARGS)

format: environment-dev
	@.venv/bin/ruff check --fix-only --quiet .
	@.venv/bin/ruff format .

lock: environment-dev
	@$(PY) scripts/lock.py

servers:
	@python3 scripts/servers.py install

environment:
	@scripts/bootstrap runtime

environment-dev:
	@scripts/bootstrap dev
