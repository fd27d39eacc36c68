//! The demonstration: Helm installs Weir, three teams and another organisation share data products, and real
//! Kafka clients show what they may.
//!
//! Every step says what it shows, the command with which to look for oneself, and what was seen. A step that does not hold
//! ends the demonstration with the state of what it is about. It does what a person would do, with the same programs:
//! `helm`, `kubectl`, Kafka's own client in Java and librdkafka's kcat.
//!
//! | module | what |
//! | --- | --- |
//! | [`stage`] | what the steps need: the lab, the clock, waiting |
//! | [`shell`] | running commands, alone and in pods |
//! | [`install`], [`platform`], [`sharing`], [`clients`], [`revocation`], [`rotation`], [`partner`], [`copy`], [`trail`] | the steps |
//! | [`acme`] | the other organisation |

pub mod acme;
pub mod clients;
pub mod copy;
pub mod install;
pub mod partner;
pub mod platform;
pub mod revocation;
pub mod rotation;
pub mod sharing;
pub mod shell;
pub mod stage;
pub mod trail;

use anyhow::{Result, anyhow};

use shell::try_sh;
use stage::Stage;

/// One step.
pub struct Step {
    /// What it is about, in a line.
    pub title: &'static str,
    /// What it shows, in a sentence or two.
    pub shows: &'static str,
    /// How to look for oneself.
    pub look: &'static str,
    /// Commands whose output tells why it did not hold.
    pub state: &'static [&'static str],
    /// Does it, and fails where it does not hold.
    pub run: fn(&mut Stage) -> Result<()>,
}

const STEPS: [Step; 9] = [
    install::STEP,
    platform::STEP,
    sharing::STEP,
    clients::STEP,
    revocation::STEP,
    rotation::STEP,
    partner::STEP,
    copy::STEP,
    trail::STEP,
];

/// How many lines of a command's output are shown when a step fails.
const STATE_LINES: usize = 40;

/// Runs every step, in order.
///
/// # Errors
/// This is not run in the lab, or a step did not hold: the error names it.
pub fn run() -> Result<()> {
    let mut stage = Stage::new()?;
    for (number, step) in (1..).zip(&STEPS) {
        stage.open(number, step);
        if let Err(error) = (step.run)(&mut stage) {
            show_state(step);
            return Err(anyhow!("step {number} does not hold: {}\n  {error:#}", step.title));
        }
        stage.close();
    }
    farewell(&stage);
    Ok(())
}

fn show_state(step: &Step) {
    for command in step.state {
        let (_, text) = try_sh(command);
        let lines: Vec<_> = text.trim_end().lines().collect();
        eprintln!("\n$ {command}");
        for line in lines.iter().skip(lines.len().saturating_sub(STATE_LINES)) {
            eprintln!("  {line}");
        }
    }
}

fn farewell(stage: &Stage) {
    println!(
        "
All of it held, in {:.0} s. The lab stays up: Weir, Kafka, the three teams and their clients. To play on:

  e2e/lab exec -- kubectl get weir --all-namespaces
  e2e/lab exec -- kubectl -n billing describe srb invoicer-reads-refunded
  e2e/lab exec -- kubectl -n billing exec invoicer-kcat -- \\
    kcat -F /bindings/invoicer/librdkafka.conf -C -t payments.orders.refunded -e
  e2e/lab exec -- kubectl apply -f config/samples/fraud     # fraud gets its access back
  e2e/lab exec -- kubectl -n fraud exec scorer -- \\
    java Reader /bindings/scorer/client.properties payments.orders.placed fraud.scorer.again end
  e2e/lab exec -- kubectl -n billing annotate streamclient invoicer weir.dev/rotate=again --overwrite

`make demo` runs it again, `make lab-down` takes all of it away.",
        stage.elapsed().as_secs_f64()
    );
}
