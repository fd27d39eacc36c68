//! The intake against what is no log: whatever is posted, it answers, goes on, and takes up no more than it may.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::events::metric_of;
use crate::harness::Harness;
use crate::harness::operator::Operator;
use crate::harness::shell::{run, try_run};
use crate::intake::{Poster, denied};

/// How many posts are mutated.
const CASES: usize = 300;
/// What the process may take up afterwards, in bytes: its limit is 512 MiB.
const MEMORY: f64 = 400.0 * 1024.0 * 1024.0;

/// What is posted.
struct Case {
    what: String,
    headers: Vec<&'static str>,
    body: Vec<u8>,
}

/// The same numbers each time (xorshift64).
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % n as u64).unwrap()
    }
}

const JSON: &str = "Content-Type: application/json";
const TEXT: &str = "Content-Type: text/plain";

/// Posts as shippers send them.
fn valid() -> Vec<(&'static str, String)> {
    let record = denied("fuzz", "t");
    let message = serde_json::from_str::<Value>(&record).unwrap()["message"].clone();
    let otlp = json!({"resourceLogs": [{"scopeLogs": [{"scope": {"name": "kafka.authorizer.logger"}, "logRecords": [
        {"timeUnixNano": "1795843127920000000", "body": {"stringValue": message}}]}]}]});
    let confluent = json!({"type": "io.confluent.kafka.server/authentication", "time": "2026-11-28T05:18:47.920Z",
        "data": {"authenticationInfo": {"principal": "None:X", "metadata": {"identifier": "fuzz"}},
            "requestMetadata": {"client_address": "/198.51.100.7"}, "result": {"status": "UNAUTHENTICATED", "message": "no"}}});
    let line = format!("2026-11-28 05:18:47,920 INFO kafka.authorizer.logger: {}", message.as_str().unwrap());
    vec![
        (JSON, record.clone()),
        (JSON, format!("[{record},{record}]")),
        (JSON, format!("{record}\n{record}\n")),
        (JSON, json!({"log": record}).to_string()),
        (JSON, otlp.to_string()),
        (JSON, confluent.to_string()),
        (TEXT, format!("{line}\n{line}\n")),
    ]
}

fn mutated(random: &mut Random) -> Case {
    let all = valid();
    let (type_, text) = all[random.below(all.len())].clone();
    let (mut headers, mut body) = (vec![type_], text.into_bytes());
    let at = random.below(body.len());
    let what = match random.below(8) {
        0 => {
            body.truncate(at);
            "cut off"
        }
        1 => {
            for _ in 0..=random.below(20) {
                let at = random.below(body.len());
                body[at] ^= 1 << random.below(8);
            }
            "bits flipped"
        }
        2 => {
            let open = ["[", "{\"a\":", "[{\"a\":"][random.below(3)];
            body.splice(at..at, open.repeat(1 + random.below(100_000)).into_bytes());
            "nested"
        }
        3 => {
            let digits = "9".repeat(1 + random.below(100_000));
            body = format!("{{\"time\":-{digits}.{digits}e{digits},\"message\":1e999999}}").into_bytes();
            "giant numbers"
        }
        4 => {
            let bad: [&[u8]; 4] = [b"\xff\xfe", b"\xc0\x80", b"\xed\xa0\x80", b"\0"];
            body.splice(at..at, bad[random.below(4)].iter().copied());
            "no UTF-8"
        }
        5 => {
            body.splice(at..at, vec![b'x'; 1 + random.below(5 * 1024 * 1024)]);
            "a huge line"
        }
        6 => {
            let types =
                ["Content-Type: application/x-protobuf", "Content-Type;", "Content-Type: ;;,", "Content-Type: \u{fc}"];
            headers = vec![[JSON, TEXT, types[random.below(4)]][random.below(3)]];
            "another type"
        }
        _ => {
            let more = ["Content-Type: text/plain", "Content-Encoding: gzip", "Content-Encoding: br", "X-A: b"];
            headers.extend([more[random.below(4)], more[random.below(4)]]);
            "headers twice"
        }
    };
    Case { what: what.to_owned(), headers, body }
}

/// What curl says where it got no answer.
const CUT: &str = "000";

/// A body of 200 MB, compressed, and the same cut off; tiny objects, which would be trees of 400 MB.
async fn bombs(home: &Path) -> Vec<Case> {
    let file = home.join("bomb.gz");
    let make = format!("head -c 209715200 /dev/zero | tr '\\0' '[' | gzip -9 > {}", file.display());
    run("sh", &["-c", &make]).await;
    let bomb = std::fs::read(&file).unwrap();
    let case = |what: &str, headers: &[&'static str], body: Vec<u8>| Case {
        what: what.into(),
        headers: headers.to_vec(),
        body,
    };
    let mut all = Vec::new();
    for type_ in [JSON, TEXT] {
        let headers = [type_, "Content-Encoding: gzip"];
        all.push(case("a bomb", &headers, bomb.clone()));
        all.push(case("a bomb that is cut off", &headers, bomb[..bomb.len() / 2].to_vec()));
        all.push(case("tiny objects", &[type_], r#"{"a":0},"#.repeat(500_000).into_bytes()));
        all.push(case(
            "tiny objects in an array",
            &[type_],
            format!("[{}{{}}]", r#"{"a":0},"#.repeat(500_000)).into_bytes(),
        ));
        all.push(case("empty lines", &[type_], vec![b'\n'; 4_000_000]));
    }
    all
}

/// Posts all of it with one curl, over as few connections as the intake allows. The status of each.
async fn post(poster: &Poster, home: &Path, cases: &[Case]) -> Vec<String> {
    let mut config = String::new();
    for (n, case) in cases.iter().enumerate() {
        let file: PathBuf = home.join(n.to_string());
        std::fs::write(&file, &case.body).unwrap();
        if n > 0 {
            config.push_str("next\n");
        }
        let headers = case.headers.iter().map(|h| format!("header = \"{h}\"\n"));
        config.push_str(&format!(
            "url = \"{}\"\ncacert = \"{}\"\nheader = \"Authorization: Bearer {}\"\nheader = \"Expect:\"\n{}silent\n\
             max-time = 60\noutput = \"/dev/null\"\nwrite-out = \"%{{http_code}}\\n\"\ndata-binary = \"@{}\"\n",
            Poster::url("main"),
            poster.ca,
            poster.token,
            headers.collect::<String>(),
            file.display(),
        ));
    }
    // Whether the last one succeeded tells nothing.
    let (_, text) = try_run("curl", &["--config", "-"], &config).await;
    text.lines().map(str::to_owned).collect()
}

/// The memory that a pod's process takes up, in bytes.
async fn memory(h: &Harness, pod: &str) -> f64 {
    metric_of(h, pod, "process_resident_memory_bytes").await.unwrap()
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn whatever_is_posted_is_answered_and_does_no_harm() {
    let h = Harness::start().await;
    let poster = Poster::of(&h);
    let operator = Operator::of(&h);
    let leader = operator.governing().await;
    let (restarts, before) = (operator.restarts(&leader).await, memory(&h, &leader).await);
    let home = std::env::temp_dir().join(format!("weir-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&home).unwrap();
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let mut cases = bombs(&home).await;
    cases.extend((0..CASES).map(|_| mutated(&mut random)));
    let answers = post(&poster, &home, &cases).await;
    std::fs::remove_dir_all(&home).unwrap();
    assert_eq!(answers.len(), cases.len(), "{answers:?}");
    for (n, (case, answer)) in cases.iter().zip(&answers).enumerate() {
        // Of a bomb not all is heard out: who still sends may not see the answer.
        let is_cut = case.what.starts_with("a bomb") && answer == CUT;
        let is_answer = ["200", "400", "413", "415", "503"].contains(&answer.as_str()) || is_cut;
        let start = String::from_utf8_lossy(&case.body[..case.body.len().min(200)]).into_owned();
        assert!(is_answer, "{answer} to post {n}, {}: {:?} {start:?}", case.what, case.headers);
    }
    let of =
        |what: &'static str| cases.iter().zip(&answers).filter(move |(c, _)| c.what == what).map(|(_, a)| a.as_str());
    assert!(of("a bomb").all(|answer| ["413", CUT].contains(&answer)), "{answers:?}");
    assert!(of("tiny objects in an array").any(|answer| answer == "413"), "{answers:?}");
    assert_eq!(poster.json(&denied("fuzz", "afterwards")).await.0, 200);
    assert_eq!((operator.leader().await, operator.restarts(&leader).await), (leader.clone(), restarts));
    let after = memory(&h, &leader).await;
    eprintln!("memory: {:.0} MiB before, {:.0} MiB after", before / 1_048_576.0, after / 1_048_576.0);
    assert!(after < MEMORY, "{after}");
}
