//! Benchmarks of the operator that is installed in the lab. Each prints what it measured, and asserts no time.

use anyhow::{Result, bail};
use clap::Parser;

mod measure;
mod new_bindings;

/// Measures the operator that is installed in the lab.
#[derive(Parser)]
struct Cli {
    /// Which one: new-bindings
    name: String,
    /// How many
    #[arg(default_value_t = 1000)]
    n: usize,
    /// What `cargo bench` passes on
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main]
async fn main() -> Result<()> {
    let cli = Cli::parse();
    match cli.name.as_str() {
        "new-bindings" => new_bindings::run(cli.n).await,
        other => bail!("no benchmark {other:?}: there is new-bindings"),
    }
}
