//! `lab`: brings a real Kubernetes and a real Kafka up on this machine, runs
//! commands inside, and takes all of it down again. `e2e/lab` starts it.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow, bail};
use clap::{Parser, Subcommand};
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::Uid;
use weir_e2e::lab::command::create_dir;
use weir_e2e::lab::paths::Paths;
use weir_e2e::lab::progress::Progress;
use weir_e2e::lab::{down, enter, exec, holder, images, status, up};

/// A real Kubernetes and a real Kafka on this machine.
#[derive(Parser)]
#[command(name = "lab")]
struct Cli {
    #[command(subcommand)]
    command: Cmd,
}

#[derive(Subcommand)]
enum Cmd {
    /// Bring up what is not up; quick if all of it is
    Up,
    /// End what `up` started and remove all but the caches
    Down,
    /// Say what is up; exits with 1 if not all of it is
    Status,
    /// Build programs and images into the cache, and start nothing
    Build,
    /// Run a command inside the lab
    Exec {
        /// The command and its arguments
        #[arg(trailing_var_arg = true, required = true, allow_hyphen_values = true)]
        argv: Vec<OsString>,
    },
    /// Load an image from a docker-archive
    LoadImage {
        /// The name that the archive holds it under
        name: String,
        /// The archive
        archive: PathBuf,
    },
    /// Build an image and, if the lab is up, load it
    Image {
        #[command(subcommand)]
        which: Which,
    },
    #[command(hide = true)]
    Hold,
    #[command(hide = true)]
    Enter {
        #[arg(trailing_var_arg = true, required = true, allow_hyphen_values = true)]
        argv: Vec<String>,
    },
}

#[derive(Subcommand)]
enum Which {
    /// The operator, from target/release/weir, or else target/debug/weir
    Weir {
        /// Another binary
        #[arg(long)]
        binary: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Cmd) -> Result<ExitCode> {
    if !Uid::effective().is_root() {
        bail!("needs root: it makes namespaces, mounts and cgroups");
    }
    let paths = Paths::find()?;
    match command {
        Cmd::Up => {
            let _turn = lock(&paths)?;
            up::up(&paths)?;
        }
        Cmd::Down => {
            let _turn = lock(&paths)?;
            down::down(&paths)?;
        }
        Cmd::Build => {
            let _turn = lock(&paths)?;
            up::build(&paths, Progress::start())?;
        }
        Cmd::Status => {
            let (text, all) = status::status(&paths);
            // A reader that has gone (`| head`) is no failure.
            let _ = std::io::stdout().write_all(text.as_bytes());
            return Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Cmd::Exec { argv } => exec::exec(&paths, &argv)?,
        Cmd::LoadImage { name, archive } => {
            let archive =
                fs::canonicalize(&archive).with_context(|| format!("failed to find {}", archive.display()))?;
            let _turn = lock(&paths)?;
            enter::enter_running(&paths)?;
            up::load_image(&paths, &name, &archive)?;
        }
        Cmd::Image { which: Which::Weir { binary } } => image(&paths, binary)?,
        Cmd::Hold => holder::hold(&paths)?,
        Cmd::Enter { argv } => enter::become_component(&paths, &argv)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn image(paths: &Paths, binary: Option<PathBuf>) -> Result<()> {
    let _turn = lock(paths)?;
    let (name, archive) = images::weir(paths, binary)?;
    println!("{name} {}", archive.display());
    if enter::enter_running(paths).is_ok() {
        up::load_image(paths, &name, &archive)?;
    }
    Ok(())
}

/// Makes commands that change the lab of one checkout take turns.
fn lock(paths: &Paths) -> Result<Flock<File>> {
    let path = paths.lock();
    if let Some(parent) = path.parent() {
        create_dir(parent)?;
    }
    let open = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = open.with_context(|| format!("failed to open {}", path.display()))?;
    Flock::lock(file, FlockArg::LockExclusive)
        .map_err(|(_, error)| anyhow!("failed to lock {}: {error}", path.display()))
}
