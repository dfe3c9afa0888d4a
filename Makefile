# `make` prints what there is to do.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help venv setup images demo demo-down lint unit test test-kernel test-apps test-watch bench bench-fleet docs lock clean

export PATH := $(CURDIR)/.venv/bin:$(PATH)
export CONTAINERS_CONF := $(CURDIR)/lab/containers.conf

state := $(HOME)/.cache/plainstack-lab

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: .venv/.stamp ## Make .venv with Ansible and the tools; all that deploying needs

.venv/.stamp: requirements/dev.txt cli/pyproject.toml
	@python=$$(tools/find-python) && echo "Making .venv with $$python (about a minute)" && $$python -m venv --clear .venv
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements/dev.txt
	@.venv/bin/uv pip install --quiet --python .venv/bin/python --no-deps --editable cli
	@touch $@

setup: ## Install what the lab needs: system packages (apt) and .venv
	@tools/system-packages
	@$(MAKE) --silent --no-print-directory venv

images: setup ## Build the lab's images that are missing or out of date
	@.venv/bin/python lab/image.py debian-12 debian-13 debian-12-packages debian-13-packages pebble

demo: setup ## Deploy app_example to a throwaway VM, over HTTPS
	@.venv/bin/python lab/image.py debian-13 pebble
	.venv/bin/ansible-playbook lab/create.yml -i inventories/demo
	.venv/bin/ansible-playbook deploy.yml -i inventories/demo
	@printf '%s\n' "$$DEMO"

demo-down: ## Remove the VM of the demo
	.venv/bin/ansible-playbook lab/destroy.yml -i inventories/demo

lint: venv ## Check style and types
	@.venv/bin/python tools/run_tests.py lint

unit: venv ## Run the unit tests
	@.venv/bin/python tools/run_tests.py unit

test: images ## Run all tests, those in VMs too
	@.venv/bin/python tools/run_tests.py

test-kernel: setup ## Test a VM with its own kernel, in QEMU; 3 minutes with KVM, half an hour without
	@tools/system-packages qemu-system-x86 e2fsprogs
	@.venv/bin/python -m pytest -v -x tests/kernel

test-apps: images ## Test apps that nobody here wrote, Django and a browser among them; a quarter of an hour
	@tools/system-packages chromium
	@.venv/bin/python tools/run_tests.py realapps

test-watch: images ## Test alerts at a webhook and a mail server, metrics and a log server; a quarter of an hour
	@.venv/bin/python tools/run_tests.py alerts monitoring

bench: images ## Measure what docs/benchmarks.md says
	@.venv/bin/python bench/bench.py

bench-fleet: images ## Measure how the cost grows with the number of servers
	@.venv/bin/python bench/fleet.py

docs: venv ## Put what was measured (results/) into docs/, and write the reference
	@for file in results/*; do [ ! -e "$$file" ] || cp -v "$$file" docs/; done
	@.venv/bin/python tools/reference.py --write

lock: venv ## Resolve requirements/dev.in anew
	.venv/bin/uv pip compile --quiet --upgrade --universal --python-version 3.12 --generate-hashes --no-emit-index-url --no-emit-find-links \
	    --custom-compile-command 'make lock' --output-file requirements/dev.txt requirements/dev.in

clean: ## Remove .venv, caches and everything of the lab
	@tools/clean

define DEMO

The app is live: https://hello.localhost:8443/
The browser will warn: the certificate comes from Pebble, Let's Encrypt's test server, whose root no browser trusts.
This trusts it:

  curl --cacert $(state)/pebble/root.pem --resolve hello.localhost:8443:127.0.0.1 https://hello.localhost:8443/

Next:
  Release a change     edit app_example/hello/templates/index.html, then
                       .venv/bin/ansible-playbook deploy.yml -i inventories/demo
  Go back              .venv/bin/ansible-playbook rollback.yml -i inventories/demo
  Log in to the VM     ssh -i $(state)/id_ed25519 -p 2201 -o UserKnownHostsFile=/dev/null -o StrictHostKeyChecking=no admin@127.0.0.1
  Read the app's log   sudo journalctl -u 'hello@*'      (in the VM)
  Remove it all        make demo-down
endef
export DEMO
