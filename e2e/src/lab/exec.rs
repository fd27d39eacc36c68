//! `lab exec -- COMMAND`: runs a command inside the lab.

use std::env;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result, anyhow};

use super::enter::enter_running;
use super::facts::Lab;
use super::paths::{INSIDE, Paths};
use super::test_kafka;

/// Becomes the command, inside the lab, with the administrator's kubeconfig and
/// the lab's programs on PATH. Its exit code is that of `lab`.
pub fn exec(paths: &Paths, argv: &[OsString]) -> Result<()> {
    let (program, arguments) =
        argv.split_first().ok_or_else(|| anyhow!("no command was given: e2e/lab exec -- COMMAND"))?;
    enter_running(paths)?;
    let lab = Lab::read(&paths.state)?;
    let error = Command::new(program)
        .args(arguments)
        .env("PATH", path(paths)?)
        .env("KUBECONFIG", &lab.kubeconfig)
        .env("WEIR_LAB", &lab.state)
        .env("KAFKA_BOOTSTRAP", &lab.kafka.scram)
        .env("KAFKA_ADMIN_PROPERTIES", &lab.kafka.admin_properties)
        .env("WEIR_TEST_KAFKA", test_kafka::file(&lab.state))
        .env("CONTAINERD_ADDRESS", format!("{INSIDE}/containerd/containerd.sock"))
        .env("CONTAINERD_NAMESPACE", "k8s.io")
        .exec();
    Err(error).with_context(|| format!("failed to run {}", program.to_string_lossy()))
}

/// The lab's programs, this checkout's own (debug before release), and then
/// what was there.
fn path(paths: &Paths) -> Result<OsString> {
    let target = paths.target();
    let mut path = vec![paths.bin(), target.join("debug"), target.join("release")];
    let before = env::var_os("PATH").unwrap_or_default();
    path.extend(env::split_paths(&before));
    env::join_paths(path).context("failed to put the lab's programs on PATH")
}
