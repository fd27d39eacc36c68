.DEFAULT_GOAL := help
.PHONY: help generate verify test demo lab lab-down image

help: ## Say what there is to make
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

generate: ## Write crds/, the chart's copy of it and docs/api.md from the types
	cargo run --quiet --bin weir -- crds --dir crds
	cp crds/*.yaml charts/weir/files/crds/
	cargo run --quiet --package weir-e2e --bin apidocs -- crds > docs/api.md

verify: generate ## Fail if anything generated is stale, unformatted or linted against
	git diff --exit-code -- crds charts/weir/files/crds docs/api.md
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- --deny warnings
	e2e/lab exec -- helm lint --strict charts/weir
	e2e/lab exec -- helm template weir charts/weir --namespace weir-system > /dev/null

test: ## Run every test, on the lab
	cargo test --workspace

demo: ## Bring up the lab and show Weir at work there, step by step (as root)
	e2e/lab up
	cargo build --package weir --package weir-e2e --bin weir --bin demo
	e2e/lab image weir --binary $${CARGO_TARGET_DIR:-target}/debug/weir
	e2e/lab exec -- demo

lab: ## Bring up the lab: Kubernetes and Kafka on this machine (as root)
	e2e/lab up

lab-down: ## Take the lab down
	e2e/lab down
