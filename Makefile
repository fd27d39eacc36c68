.PHONY: generate verify test

# crds/, the chart's copy of it and the API reference, all from the types in src/api.
generate:
	cargo run --quiet --bin weir -- crds --dir crds
	cp crds/*.yaml charts/weir/files/crds/
	cargo run --quiet --package weir-e2e --bin apidocs -- crds > docs/api.md

# Nothing generated is stale, and everything is well formed. The API server's own opinion is asked by `make test`.
verify: generate
	git diff --exit-code -- crds charts/weir/files/crds docs/api.md
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- --deny warnings
	helm lint --strict charts/weir
	helm template weir charts/weir --namespace weir-system > /dev/null

test:
	cargo test --workspace
