//! Benchmarks of the operator that is installed in the lab. Each prints what it measured, and asserts no time.

use anyhow::{Result, bail};
use clap::Parser;

mod measure;
mod new_bindings;
mod record;

/// Measures the operator that is installed in the lab.
#[derive(Parser)]
struct Cli {
    /// Which one: new-bindings, record
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
        "record" => record::run(cli.n).await,
        other => bail!("no benchmark {other:?}: there are new-bindings and record"),
    }
}
