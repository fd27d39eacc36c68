.DEFAULT_GOAL := help
.PHONY: help generate verify test unit e2e demo bench lab lab-down image

help: ## Say what there is to make
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "%-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

generate: ## Write crds/, the chart's copy of it and the docs' tables from the code
	cargo run --quiet --bin weir -- crds --dir crds
	cp crds/*.yaml charts/weir/files/crds/
	cargo run --quiet --package weir-e2e --bin apidocs -- crds > docs/api.md
	cargo run --quiet --bin weir -- audit types > docs/security-event-types.md

verify: generate ## Fail if anything generated is stale, unformatted or linted against
	git diff --exit-code -- crds charts/weir/files/crds docs/api.md docs/security-event-types.md
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- --deny warnings
	e2e/lab up
	e2e/lab exec -- helm lint --strict charts/weir
	e2e/lab exec -- helm template weir charts/weir --namespace weir-system > /dev/null

test: unit e2e ## Run every test; brings the lab up and leaves it up (as root)

unit: ## Run the tests that need no lab
	cargo test --workspace

e2e: ## Run the tests that need the lab: all, or TESTS="access bad_input"
	e2e/test $(TESTS)

demo: ## Bring up the lab and show Weir at work there, step by step (as root)
	e2e/lab up
	cargo build --package weir --package weir-e2e --bin weir --bin demo
	e2e/lab image weir --binary $${CARGO_TARGET_DIR:-target}/debug/weir
	e2e/lab exec -- demo

BENCH ?= new-bindings
N ?= 1000
bench: ## Measure the operator that is installed in the lab: BENCH=new-bindings|record N=1000
	cargo bench --profile dev --package weir-e2e --bench operator --no-run
	e2e/lab exec -- cargo bench --offline --profile dev --package weir-e2e --bench operator -- $(BENCH) $(N)

image: ## Build the operator's image and load it into the lab
	cargo build --release --bin weir
	e2e/lab image weir --binary $${CARGO_TARGET_DIR:-target}/release/weir

lab: ## Bring up the lab: Kubernetes and Kafka on this machine (as root)
	e2e/lab up

lab-down: ## Take the lab down
	e2e/lab down
