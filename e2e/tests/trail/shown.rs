//! What is shown of the record: found by labels, read in a table, and gone when its time is over.

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use weir::api::{Action, SecurityEvent};

use crate::harness::manifests::client;
use crate::harness::shell::{run, try_run};
use crate::harness::{Harness, NAMESPACE};

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
