//! What happens when a broker stops answering. By itself, because it disturbs everyone else on the cluster.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod kafka_lab;

use std::fs::DirEntry;
use std::process::Command;
use std::time::{Duration, Instant};

use weir::kafka::KafkaAdminClient;
use weir::ports::{AclFilter, KafkaAdmin};

use crate::kafka_lab::{all, eventually, eventually_within, file, lab, may_read, unique};

/// How long a write may take to find its way. If the victim is the active controller as well, each of the other brokers
/// may forward writes to it until its own `request.timeout.ms` (30 s) has passed, although another was elected long
/// before: about 70 s were seen.
const WRITE_LIMIT: Duration = Duration::from_secs(150);

/// A broker's process, stopped until dropped.
struct Stopped(String);

fn signal(name: &str, pid: &str) -> bool {
    Command::new("kill").args([name, pid]).status().is_ok_and(|status| status.success())
}

impl Stopped {
    /// Once every thread of it stands still: the signal is sent before that.
    async fn new(pid: &str) -> Self {
        assert!(signal("-STOP", pid), "failed to stop {pid}");
        let stopped = Self(pid.to_owned());
        eventually(&format!("every thread of {pid} stands still"), || async {
            let threads = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?;
            let status =
                |thread: std::io::Result<DirEntry>| std::fs::read_to_string(thread.ok()?.path().join("status")).ok();
            let is_still = |status: &String| status.contains("State:\tT (stopped)");
            threads.map(status).all(|s| s.as_ref().is_some_and(is_still)).then_some(())
        })
        .await;
        stopped
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        signal("-CONT", &self.0);
    }
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn reading_and_writing_go_on_when_the_broker_in_use_stops_answering() {
    let lab = lab();
    let pids = lab.broker_pids.clone().expect("the lab's description has no broker_pids");
    let onlooker = KafkaAdminClient::connect(&lab.admin(), "weir-test").await.unwrap();
    let cluster = onlooker.describe_cluster().await.unwrap();
    assert!(cluster.brokers.len() >= 3, "failing over needs three brokers");
    let victim = cluster.brokers.last().unwrap();
    let mut endpoint = lab.admin();
    // The client begins with the victim, and stays with it.
    endpoint.bootstrap_servers = vec![format!("{}:{}", victim.host, victim.port)];
    let client = KafkaAdminClient::connect(&endpoint, "weir-test").await.unwrap();
    let user = unique("failover");
    let (before, after) = (may_read(&user, "before"), may_read(&user, "after"));
    all(client.create_acls(std::slice::from_ref(&before)).await.unwrap());
    let of_user = [AclFilter::Principal(format!("User:{user}"))];
    // The controller has it; each broker learns it by itself.
    eventually("every broker has the entry", || async {
        for broker in &cluster.brokers {
            let seen = onlooker.describe_acls(Some(broker.id), &of_user).await.ok()?;
            seen.contains(&before).then_some(())?;
        }
        Some(())
    })
    .await;

    let stopped = Stopped::new(file(&pids[&victim.id]).trim()).await;
    let start = Instant::now();
    // This one finds out, and is read again elsewhere.
    let seen = client.describe_acls(None, &of_user).await.unwrap();
    eprintln!("read elsewhere after {:?}", start.elapsed());
    assert!(seen.contains(&before));
    let start = Instant::now();
    eventually_within(WRITE_LIMIT, "another broker takes the write", || async {
        let results = client.create_acls(std::slice::from_ref(&after)).await.unwrap();
        results[0].as_ref().ok().copied()
    })
    .await;
    eprintln!("written elsewhere after {:?}", start.elapsed());
    drop(stopped);

    eventually("the broker is back and has both", || async {
        let seen = client.describe_acls(Some(victim.id), &of_user).await.ok()?;
        (seen.len() == 2).then_some(())
    })
    .await;
    all(client.delete_acls(&of_user).await.unwrap());
}
