//! What is shown of the record: found by labels, read in a table, and gone when its time is over.

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use weir::api::{Action, SecurityEvent};

use crate::events::export;
use crate::harness::manifests::client;
use crate::harness::shell::{run, try_run};
use crate::harness::{Harness, NAMESPACE};

/// Of a line (RFC 4180).
fn cells(line: &str) -> Vec<String> {
    let (mut cells, mut is_quoted) = (vec![String::new()], false);
    for c in line.chars() {
        match c {
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => cells.push(String::new()),
            c => cells.last_mut().unwrap().push(c),
        }
    }
    cells
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn events_are_found_by_their_labels_read_well_and_go_when_they_are_old() {
    let h = Harness::start().await;
    let consumer = h.tenant("consumer").await;
    consumer.apply(&client("app")).await;
    let issued = consumer.told(Action::CredentialIssued, 1).await.remove(0);
    let labels = "weir.dev/action=CredentialIssued,weir.dev/severity=Informational,weir.dev/object=StreamClient.app";
    let table = run("kubectl", &["-n", &consumer.name, "get", "se", "-l", labels]).await;
    let lines: Vec<Vec<_>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["NAME", "WHO", "WHAT", "KIND", "OBJECT", "OUTCOME", "REASON", "COUNT", "AGE"]);
    assert_eq!(
        (lines.len(), &lines[1][1..6]),
        (2, &["weir", "CredentialIssued", "StreamClient", "app", "Success"][..])
    );

    // The same as a table for people.
    let since = issued.spec.time.0.to_string();
    let csv = run("weir", &["audit", "export", "--format", "csv", "--since", &since]).await;
    // What is not Weir's is said on the other stream.
    let rows: Vec<_> = csv.lines().filter(|line| !line.starts_with("offset ")).map(cells).collect();
    assert!(rows.iter().all(|row| row.len() == rows[0].len()), "{csv}");
    let at = |name: &str| rows[0].iter().position(|cell| cell == name).unwrap();
    let of_it = rows.iter().find(|row| row[at("uid")] == issued.spec.uid).unwrap();
    assert_eq!((of_it[at("action")].as_str(), of_it[at("name")].as_str()), ("CredentialIssued", "app"));
    assert!(rows[1..].iter().all(|row| row[at("time")].parse::<Timestamp>().unwrap() >= issued.spec.time.0));
    assert!(rows.len() - 1 < export().await.len(), "what was before is left out");

    // As Weir would have made it eight days ago.
    let mut old = serde_json::to_value(&issued).unwrap();
    old["metadata"] = json!({"name": "old", "namespace": consumer.name});
    old["spec"]["uid"] = json!("00000000-0000-8000-8000-000000000000");
    old["spec"]["time"] = json!(format!("{:.6}", Timestamp::now() - SignedDuration::from_hours(8 * 24)));
    let account = format!("system:serviceaccount:{NAMESPACE}:weir");
    let (made, said) = try_run("kubectl", &["--as", &account, "create", "-f", "-"], &old.to_string()).await;
    assert!(made, "{said}");
    // It is looked where something happens.
    consumer.apply(&client("another")).await;
    consumer.gone::<SecurityEvent>("old").await;
    assert_eq!(consumer.told(Action::CredentialIssued, 2).await.len(), 2, "what is new stays");
    consumer.end().await;
}
