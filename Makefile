.DEFAULT_GOAL := help
.PHONY: help test lab lab-down lab-test

help: ## Say what there is to make
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

test: ## Run the tests that need no cluster
	cargo test --workspace

lab: ## Bring up the lab: Kubernetes and Kafka on this machine (as root)
	e2e/lab up

lab-down: ## Take the lab down
	e2e/lab down

lab-test: lab ## Test the lab itself
	cargo test -p weir-e2e --test lab --no-run
	e2e/lab exec -- cargo test -p weir-e2e --test lab -- --ignored
