//! The `weir` command.

use std::io::{IsTerminal, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Parser, Subcommand, ValueEnum};
use kube::ResourceExt;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;
use weir::cli::{People, Target};
use weir::run::IntakeSettings;

/// Governs who may use the streaming data products on Apache Kafka.
#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    target: Target,
}

#[derive(Subcommand)]
enum Command {
    #[command(flatten)]
    People(People),
    /// Run the operator
    Run(Run),
    /// Run the partner API
    ServePartners(ServePartners),
    /// Fail if an uninstallation would strand objects (asked by the chart before it is deleted)
    PreflightUninstall,
    /// Print the CustomResourceDefinitions as YAML
    Crds {
        /// Write one file a kind into this directory instead
        #[arg(long)]
        dir: Option<PathBuf>,
    },
}

#[derive(Args)]
struct Run {
    /// Namespace that Weir runs in: its Secrets and its Lease are there
    #[arg(long, env = "POD_NAMESPACE")]
    namespace: String,
    /// Name of this instance, unique among the replicas
    #[arg(long, env = "POD_NAME")]
    name: String,
    /// ServiceAccount that Weir runs as, for advice in messages
    #[arg(long, env = "SERVICE_ACCOUNT", default_value = "weir")]
    service_account: String,
    /// Address of /livez, /readyz and /metrics
    #[arg(long, default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
    /// Address of this instance, as brokers and the other instances see it
    #[arg(long, env = "POD_IP")]
    address: Option<IpAddr>,
    /// Address that shippers of brokers' logs post to, by HTTPS; without it there is no intake
    #[arg(long)]
    intake: Option<SocketAddr>,
    /// Directory with tls.crt and tls.key of the intake
    #[arg(long, default_value = "/intake-tls")]
    intake_certificate: PathBuf,
    /// Which messages to log, as tracing-subscriber's EnvFilter has it
    #[arg(long, env = "WEIR_LOG", default_value = "info")]
    log_level: String,
    /// How to log
    #[arg(long, value_enum, default_value = "text")]
    log_format: LogFormat,
}

#[derive(Args)]
struct ServePartners {
    /// Namespace that Weir runs in: partners' encrypted credentials are there
    #[arg(long, env = "POD_NAMESPACE")]
    namespace: String,
    /// Address that partners call, by HTTPS
    #[arg(long, default_value = "0.0.0.0:8443")]
    listen: SocketAddr,
    /// Address of /livez, /readyz and /metrics
    #[arg(long, default_value = "0.0.0.0:8080")]
    probes: SocketAddr,
    /// Directory with tls.crt and tls.key of this server
    #[arg(long, default_value = "/tls")]
    certificate: PathBuf,
    /// Which messages to log, as tracing-subscriber's EnvFilter has it
    #[arg(long, env = "WEIR_LOG", default_value = "info")]
    log_level: String,
    /// How to log
    #[arg(long, value_enum, default_value = "text")]
    log_format: LogFormat,
}

#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    /// One JSON object a line
    Json,
    /// For people
    Text,
}

fn main() -> ExitCode {
    let Cli { command, target } = Cli::parse();
    match execute(command, target) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("weir: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn execute(command: Command, target: Target) -> anyhow::Result<()> {
    match command {
        Command::People(people) => runtime()?.block_on(weir::cli::execute(people, target)),
        Command::Run(run) => operate(run),
        Command::ServePartners(serve) => serve_partners(serve),
        Command::PreflightUninstall => preflight_uninstall(),
        Command::Crds { dir } => crds(dir),
    }
}

fn runtime() -> anyhow::Result<Runtime> {
    Runtime::new().context("failed to start")
}

fn preflight_uninstall() -> anyhow::Result<()> {
    let stranded = runtime()?.block_on(async {
        let client = kube::Client::try_default().await.context("failed to find out how to reach the API server")?;
        weir::uninstall::stranded(&client).await.context("failed to list what is there")
    })?;
    match weir::uninstall::refusal(&stranded) {
        Some(refusal) => anyhow::bail!(refusal),
        None => Ok(()),
    }
}

fn operate(run: Run) -> anyhow::Result<()> {
    log(&run.log_level, run.log_format)?;
    let settings = weir::run::Settings {
        namespace: run.namespace,
        identity: run.name,
        service_account: run.service_account,
        listen: run.listen,
        address: run.address,
        intake: run.intake.map(|listen| IntakeSettings { listen, certificate: run.intake_certificate }),
    };
    runtime()?.block_on(async {
        let shutdown = CancellationToken::new();
        tokio::spawn(cancel_on_signal(shutdown.clone()));
        weir::run::run(settings, shutdown).await
    })
}

fn serve_partners(serve: ServePartners) -> anyhow::Result<()> {
    log(&serve.log_level, serve.log_format)?;
    let settings = weir::partners::Settings {
        namespace: serve.namespace,
        listen: serve.listen,
        probes: serve.probes,
        certificate: serve.certificate,
    };
    runtime()?.block_on(async {
        let shutdown = CancellationToken::new();
        tokio::spawn(cancel_on_signal(shutdown.clone()));
        weir::partners::run(settings, shutdown).await
    })
}

fn log(level: &str, format: LogFormat) -> anyhow::Result<()> {
    // How Java says goodbye is no warning.
    let filter = EnvFilter::try_new(format!("rustls=error,{level}")).context("failed to read --log-level")?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(std::io::stdout().is_terminal());
    match format {
        LogFormat::Json => log.json().init(),
        LogFormat::Text => log.init(),
    }
    Ok(())
}

/// SIGTERM and Ctrl-C end the operator in good order.
async fn cancel_on_signal(shutdown: CancellationToken) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    shutdown.cancel();
    Ok(())
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
