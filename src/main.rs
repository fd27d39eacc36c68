//! The `weir` command.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use kube::ResourceExt;

/// Governs who may use the streaming data products on Apache Kafka.
#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print the CustomResourceDefinitions as YAML
    Crds {
        /// Write one file a kind into this directory instead
        #[arg(long)]
        dir: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    match execute(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("weir: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn execute(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Crds { dir } => crds(dir),
    }
}

fn crds(dir: Option<PathBuf>) -> anyhow::Result<()> {
    for crd in weir::crds::all() {
        let yaml = format!("---\n{}", serde_yaml::to_string(&crd)?);
        match &dir {
            Some(dir) => {
                let file = dir.join(format!("{}.yaml", crd.name_any()));
                std::fs::write(&file, yaml).with_context(|| format!("failed to write {}", file.display()))?;
            }
            None => std::io::stdout().write_all(yaml.as_bytes())?,
        }
    }
    Ok(())
}
