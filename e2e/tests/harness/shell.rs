//! Commands.

use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// Runs a command with `input`; whether it exited with 0, and what it printed.
pub async fn try_run(program: &str, arguments: &[&str], input: &str) -> (bool, String) {
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("failed to run {program}: {e}"));
    let mut stdin = child.stdin.take().unwrap();
    // A command that does not read its input closes it.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let output = child.wait_with_output().await.unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

/// Runs a command that must succeed; what it printed.
pub async fn run(program: &str, arguments: &[&str]) -> String {
    let (ok, text) = try_run(program, arguments, "").await;
    assert!(ok, "{program} {arguments:?} failed:\n{text}");
    text
}

/// Runs kubectl, which must succeed; what it printed.
pub async fn kubectl(arguments: &[&str]) -> String {
    run("kubectl", arguments).await
}

/// Waits for all pods of `what`, e.g. `statefulset/kafka`, to be as it says, and ready. Fails with what stands in their way.
pub async fn rolled_out(namespace: &str, what: &str) {
    let (is_so, mut said) =
        try_run("kubectl", &["-n", namespace, "rollout", "status", what, "--timeout=180s"], "").await;
    if is_so {
        return;
    }
    for around in [
        &["describe", "pods"][..],
        &["get", "events", "--sort-by=.lastTimestamp"],
        &["logs", what, "--all-pods", "--tail=40"],
    ] {
        said += &try_run("kubectl", &[&["-n", namespace], around].concat(), "").await.1;
    }
    panic!("{what} in {namespace} is not ready:\n{said}");
}
