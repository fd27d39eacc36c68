//! A chain that somebody meddled with is found out, wherever and however.

use jiff::Timestamp;
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
use proptest::{prop_assert, prop_assert_eq};

use super::breaks::{Break, Broken};
use super::chain::{Head, Record, SEAL};
use super::checkpoint::{Checkpoint, Signer, verify};
use super::proof::{CONFIRMED, Proof, Proven};
use crate::api::{Action, ObjectRef, SecurityEventSpec};
use crate::domain::event::{Happening, event};
use crate::domain::secret::Secret;

// RFC 8410, section 10.3.
const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";

fn signer() -> Signer {
    Signer::from_pem(&Secret::new(KEY)).unwrap()
}

fn granted(n: usize) -> SecurityEventSpec {
    let object = ObjectRef {
        kind: "RoleBinding".into(),
        namespace: Some("billing".into()),
        name: format!("reads-{n}"),
        uid: Some(format!("uid-{n}")),
    };
    let happening = Happening::new(Action::AccessGranted, object, "Granted", "access began");
    // What is more precise than what is told must not make a difference.
    event(happening, &n.to_string(), Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_nanos(1_234_567_891))
}

/// A chain of `n` events with a checkpoint behind every third record; and the last checkpoint.
fn chain(n: usize) -> (Vec<Record>, Option<String>) {
    let (mut head, mut records, mut last) = (Head::new("c"), Vec::new(), None);
    for place in 0..n {
        push(&mut records, &mut head, &granted(place));
        if place % 3 == 2 {
            last = Some(sign(&mut records, &mut head));
        }
    }
    (records, last)
}

fn prove(records: &[Record], outside: Option<Checkpoint>) -> Result<Proven, Broken> {
    let mut proof = Proof::new(vec![signer().public_key()], outside, None);
    for (offset, record) in (0..).zip(records) {
        proof.take(offset, record);
    }
    proof.end(Timestamp::UNIX_EPOCH)
}

/// What an event says behind a head, and the head behind it.
fn push(records: &mut Vec<Record>, head: &mut Head, event: &SecurityEventSpec) {
    let (mut record, after) = head.follow(event);
    record.headers.push((SEAL.to_owned(), signer().seal(&after)));
    records.push(record);
    *head = after;
}

fn of_trail(action: Action, reason: &str, message: &str, entries: Vec<String>, key: &str) -> SecurityEventSpec {
    let object = ObjectRef { kind: "AuditTrail".into(), namespace: None, name: "default".into(), uid: None };
    let happening = Happening { entries, ..Happening::new(action, object, reason, message) };
    event(happening, key, Timestamp::UNIX_EPOCH)
}

fn sign(records: &mut Vec<Record>, head: &mut Head) -> String {
    let text = signer().sign(head, Timestamp::UNIX_EPOCH);
    push(records, head, &of_trail(Action::AuditCheckpoint, "Signed", &text, Vec::new(), &head.records.to_string()));
    text
}

/// Where a chain goes on behind its last record.
fn end_of(records: &[Record]) -> Head {
    let value = &records.last().unwrap().value;
    let (_, link) = super::chain::read(value).unwrap();
    Head::behind(value, &link)
}

fn outside(last: &Option<String>) -> Option<Checkpoint> {
    last.as_ref().map(|text| verify(text, &signer().public_key()).unwrap())
}

#[test]
fn what_nobody_touched_is_proven() {
    let (records, last) = chain(7);
    let proven = prove(&records, outside(&last)).unwrap();
    assert_eq!((proven.first, proven.records, proven.signed), (0, 9, 7));
}

#[test]
fn what_was_read_is_what_was_told() {
    let told = granted(3);
    let (record, _) = Head::new("c").follow(&told);
    let (read, link) = super::chain::read(&record.value).unwrap();
    assert_eq!((read, link.sequence), (told, 0));
}

#[test]
fn each_break_is_called_what_it_is() {
    let (records, last) = chain(7);
    let checkpoint = outside(&last);
    let with = |change: &dyn Fn(&mut Vec<Record>)| {
        let mut records = records.clone();
        change(&mut records);
        prove(&records, checkpoint.clone()).unwrap_err().0.remove(0)
    };
    let changed = |r: &mut Record, from: &str, to: &str| {
        r.value = String::from_utf8(r.value.clone()).unwrap().replace(from, to).into_bytes();
    };
    let altered = with(&|all| changed(&mut all[1], "access began", "access beGan"));
    assert!(matches!(altered, Break::Altered { before: 1, sequence: 2, .. }), "{altered}");
    let removed = with(&|all| drop(all.remove(4)));
    assert!(matches!(removed, Break::Gap { expected: 4, found: 5, .. }), "{removed}");
    let first = with(&|all| drop(all.remove(0)));
    assert!(matches!(first, Break::Gap { expected: 0, found: 1, .. }), "{first}");
    let swapped = with(&|all| all.swap(4, 5));
    assert!(matches!(swapped, Break::Gap { expected: 4, found: 5, .. }), "{swapped}");
    let repeated = with(&|all| all.insert(5, all[4].clone()));
    assert!(matches!(repeated, Break::Repeated { expected: 5, found: 4, .. }), "{repeated}");
    let cut = with(&|all| all.truncate(5));
    assert!(matches!(cut, Break::CutOff { found: 5, expected: 7, .. }), "{cut}");
    let empty = with(&|all| all.clear());
    assert!(matches!(empty, Break::Empty { expected: 7, .. }), "{empty}");
    let relabelled = with(&|all| all[2].headers[3].1 = "dev.weir.access.revoked.v1".into());
    assert!(matches!(relabelled, Break::Relabelled { what: "headers", sequence: 2, .. }), "{relabelled}");
    let key = with(&|all| all[2].key = "RoleBinding/billing/other".into());
    assert!(matches!(key, Break::Relabelled { what: "key", .. }), "{key}");
    let garbage = with(&|all| all[2].value = b"{}".to_vec());
    assert!(matches!(garbage, Break::Unreadable { offset: 2, .. }), "{garbage}");
    let unsigned = with(&|all| {
        let (event, _) = super::chain::read(&all[3].value).unwrap();
        // Other bits than the last ones, which base64 may not keep.
        let (text, signature) = event.message.rsplit_once('.').unwrap();
        let other = if signature.starts_with('A') { "B" } else { "A" };
        changed(&mut all[3], &event.message, &format!("{text}.{other}{}", &signature[1..]));
    });
    assert!(matches!(unsigned, Break::BadCheckpoint { offset: 3, .. }), "{unsigned}");
    let of_nobody = with(&|all| changed(&mut all[3], "\"message\":\"ey", "\"message\":\"ez"));
    assert!(matches!(of_nobody, Break::Altered { before: 3, .. }), "{of_nobody}");
}

#[test]
fn a_chain_that_was_written_anew_does_not_agree_with_a_checkpoint() {
    let (_, last) = chain(7);
    let anew = |id: &str| {
        let (mut head, mut records) = (Head::new(id), Vec::new());
        for n in 10..20 {
            let (record, after) = head.follow(&granted(n));
            records.push(record);
            head = after;
        }
        prove(&records, outside(&last)).unwrap_err().0.remove(0)
    };
    assert!(matches!(anew("c"), Break::Rewritten { sequence: 6, .. }));
    assert!(matches!(anew("d"), Break::Replaced { .. }));
}

#[test]
fn one_break_hides_no_other() {
    let (mut records, last) = chain(12);
    let garble =
        |r: &mut Record| r.value = String::from_utf8(r.value.clone()).unwrap().replace("began", "beGan").into();
    garble(&mut records[1]);
    garble(&mut records[9]);
    let cut = records[..14].to_vec();
    let Broken(breaks) = prove(&cut, outside(&last)).unwrap_err();
    let [Break::Altered { before: 1, .. }, Break::Altered { before: 9, .. }, Break::CutOff { .. }] = breaks[..] else {
        panic!("{breaks:?}")
    };
}

#[test]
fn a_break_that_somebody_confirmed_counts_no_more_once_that_is_signed_and_a_later_one_counts() {
    let (mut records, _) = chain(4);
    drop(records.remove(1));
    let broken = prove(&records, None).unwrap_err();
    let confirmed = of_trail(Action::AuditTrailBroken, CONFIRMED, &broken.to_string(), broken.entries(), "1");
    let mut head = end_of(&records);
    push(&mut records, &mut head, &confirmed);
    let mut tail = Proof::new(vec![signer().public_key()], None, None).of_tail();
    (0..).zip(&records).for_each(|(offset, record)| drop(tail.take(offset, record)));
    let Broken(unsigned) = tail.end(Timestamp::UNIX_EPOCH).unwrap_err();
    assert!(matches!(unsigned[..], [Break::Gap { .. }, Break::Unsigned { .. }]), "{unsigned:?}");
    sign(&mut records, &mut head);
    let proven = prove(&records, None).unwrap();
    assert_eq!(proven.confirmed, broken.0);
    push(&mut records, &mut head, &granted(20));
    push(&mut records, &mut head, &granted(21));
    drop(records.remove(records.len() - 2));
    let Broken(later) = prove(&records, None).unwrap_err();
    assert!(matches!(later[..], [Break::Gap { .. }]), "{later:?}");
    // Behind a break nothing of it is covered.
    let (mut records, _) = chain(4);
    drop(records.remove(1));
    let mut head = end_of(&records);
    push(&mut records, &mut head, &confirmed);
    push(&mut records, &mut head, &granted(22));
    drop(records.remove(records.len() - 2));
    sign(&mut records, &mut head);
    assert!(prove(&records, None).is_err());
}

#[test]
fn many_breaks_are_told_in_few_words() {
    let (mut records, _) = chain(300);
    records.retain(|r| !r.key.ends_with("7"));
    let broken = prove(&records, None).unwrap_err();
    assert_eq!(broken.0.len(), 30);
    assert!(broken.to_string().ends_with("; and 10 more"), "{broken}");
    // Once they are confirmed they count no more, also where the first of them are out of sight.
    let confirmed = of_trail(Action::AuditTrailBroken, CONFIRMED, &broken.to_string(), broken.entries(), "1");
    let mut head = end_of(&records);
    push(&mut records, &mut head, &confirmed);
    sign(&mut records, &mut head);
    for from in [0, 60, 150] {
        let mut proof = Proof::new(vec![signer().public_key()], None, None).of_tail();
        (0..).zip(&records[from..]).for_each(|(offset, record)| drop(proof.take(offset, record)));
        proof.end(Timestamp::UNIX_EPOCH).unwrap();
    }
    let (mut records, _) = chain(5200);
    records.retain(|r| !r.key.ends_with("7"));
    let broken = prove(&records, None).unwrap_err();
    assert_eq!((broken.0.len(), broken.entries().len()), (500, 20));
    assert!(matches!(broken.0[499], Break::More { count: 21, .. }), "{}", broken.0[499]);
    assert!(broken.to_string().ends_with("; and 500 more"), "{broken}");
    let again = prove(&records, None).unwrap_err();
    assert_eq!((broken.token(), broken.0[499].token()), (again.token(), again.0[499].token()));
}

#[test]
fn what_is_past_retention_is_not_missing() {
    let (_, last) = chain(3);
    let hour = std::time::Duration::from_secs(3600);
    let end = |after| {
        let proof = Proof::new(vec![signer().public_key()], outside(&last), Some(hour));
        proof.end(Timestamp::UNIX_EPOCH + after)
    };
    assert!(end(hour).is_err());
    assert!(end(hour + hour).is_ok());
    // What somebody confirmed once, and is by now the first that is there.
    let (mut records, _) = chain(3);
    records[0].value = b"junk".to_vec();
    let first_is_junk = |retention| {
        let mut proof = Proof::new(vec![signer().public_key()], None, retention);
        (0..).zip(&records).for_each(|(offset, record)| drop(proof.take(offset, record)));
        proof.end(Timestamp::UNIX_EPOCH)
    };
    assert!(first_is_junk(Some(hour)).is_ok() && first_is_junk(None).is_err());
}

#[test]
fn what_is_known_and_not_past_retention_is_missing_where_the_beginning_was_removed() {
    let (records, last) = chain(7);
    let minutes = |n: u64| std::time::Duration::from_secs(60 * n);
    let end = |from: usize, after| {
        let mut proof = Proof::new(vec![signer().public_key()], outside(&last), Some(minutes(60)));
        (0..).zip(&records[from..]).for_each(|(offset, record)| drop(proof.take(offset, record)));
        proof.end(Timestamp::UNIX_EPOCH + after).map_err(|Broken(breaks)| breaks)
    };
    // The checkpoint knows seven records, and is the eighth.
    assert!(end(7, minutes(30)).is_ok());
    let Err(breaks) = end(8, minutes(30)) else { panic!("the checkpoint's own record is missing") };
    assert!(matches!(breaks[..], [Break::Beheaded { found: 8, expected: 7, .. }]), "{breaks:?}");
    assert!(end(8, minutes(55)).is_ok(), "the brokers' clocks may be ahead");
}

#[test]
fn the_last_records_are_enough_only_where_they_go_back_to_what_is_known() {
    let (records, last) = chain(7);
    let look = |records: &[Record], from: usize| {
        let mut proof = Proof::new(vec![signer().public_key()], outside(&last), None).of_tail();
        (0..).zip(&records[from..]).for_each(|(offset, record)| drop(proof.take(offset, record)));
        (proof.is_enough(Timestamp::UNIX_EPOCH), proof.end(Timestamp::UNIX_EPOCH))
    };
    let (is_enough, seen) = look(&records, 6);
    assert!(is_enough && seen.is_ok());
    assert!(!look(&records, 7).0, "of what the checkpoint knows nothing is seen");
    // The same chain, written anew by somebody, and longer than before.
    let (mut head, mut forged) = (Head::new("c"), Vec::new());
    (10..40).for_each(|n| push(&mut forged, &mut head, &granted(n)));
    assert!(!look(&forged, 20).0);
    let (_, all) = look(&forged, 0);
    let Broken(breaks) = all.unwrap_err();
    assert!(matches!(breaks[..], [Break::Rewritten { sequence: 6, .. }]), "{breaks:?}");
    // Where the first of them is not Weir's, nobody can tell which place that has.
    let mut garbled = records.clone();
    garbled[2].value = b"{}".to_vec();
    assert!(!look(&garbled, 2).0 && look(&garbled, 1).0);
}

#[test]
fn the_same_again_at_another_place_is_another_break() {
    let (mut records, _) = chain(6);
    let junk = Record { key: "k".into(), value: b"junk".to_vec(), headers: Vec::new() };
    let elsewhere = signer().sign(&Head::new("c"), Timestamp::UNIX_EPOCH);
    let mut head = end_of(&records);
    for at in 0..2_u8 {
        records.push(junk.clone());
        let bad = of_trail(Action::AuditCheckpoint, "Signed", &elsewhere, Vec::new(), &at.to_string());
        push(&mut records, &mut head, &bad);
        let (record, _) = Head::new("d").follow(&granted(0));
        records.push(record);
    }
    let Broken(breaks) = prove(&records, None).unwrap_err();
    let tokens: std::collections::BTreeSet<_> = breaks.iter().map(Break::token).collect();
    assert_eq!(tokens.len(), breaks.len(), "{breaks:#?}");
}

#[test]
fn weir_goes_on_behind_its_own_words_only() {
    let (mut records, _) = chain(4);
    let seen = |records: &[Record]| {
        let mut proof = Proof::new(vec![signer().public_key()], None, None).of_tail();
        (0..).zip(records).for_each(|(offset, record)| drop(proof.take(offset, record)));
        proof.end(Timestamp::UNIX_EPOCH).map_err(|Broken(breaks)| breaks)
    };
    assert!(seen(&records).unwrap().is_sealed);
    let (mut forged, _) = end_of(&records).follow(&granted(9));
    records.push(forged.clone());
    assert!(!prove(&records, None).unwrap().is_sealed, "it follows, and anybody could have written it");
    let unsealed = |records: &[Record]| matches!(seen(records).unwrap_err()[..], [Break::Unsealed { records: 6 }]);
    assert!(unsealed(&records));
    // Another record's seal, and one by another key, are none.
    let copied = records[4].seal().unwrap().to_owned();
    let other = ring::signature::Ed25519KeyPair::generate_pkcs8(&ring::rand::SystemRandom::new()).unwrap();
    let pem = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, other.as_ref());
    let other = Signer::from_pem(&Secret::new(pem)).unwrap();
    for seal in [copied, other.seal(&end_of(&records)), String::new()] {
        forged.headers.retain(|(name, _)| name != SEAL);
        forged.headers.push((SEAL.to_owned(), seal));
        *records.last_mut().unwrap() = forged.clone();
        assert!(unsealed(&records));
    }
    // Somebody confirms it, and Weir goes on behind it: it is not forgotten.
    let broken = Broken(seen(&records).unwrap_err());
    let mut head = end_of(&records);
    push(
        &mut records,
        &mut head,
        &of_trail(Action::AuditTrailBroken, CONFIRMED, &broken.to_string(), broken.entries(), "1"),
    );
    sign(&mut records, &mut head);
    assert_eq!(prove(&records, None).unwrap().confirmed, broken.0);
    assert!(seen(&records).is_ok());
}

/// What somebody may do to a topic.
#[derive(Clone, Debug)]
enum Meddling {
    Remove(usize),
    Repeat(usize, usize),
    Swap(usize, usize),
    Flip(usize, usize, u8),
    Cut(usize),
}

fn meddling() -> impl Strategy<Value = Meddling> {
    let place = || any::<usize>();
    prop_oneof![
        place().prop_map(Meddling::Remove),
        (place(), place()).prop_map(|(a, b)| Meddling::Repeat(a, b)),
        (place(), place()).prop_map(|(a, b)| Meddling::Swap(a, b)),
        (place(), place(), 1..=255_u8).prop_map(|(a, b, c)| Meddling::Flip(a, b, c)),
        place().prop_map(Meddling::Cut),
        Just(Meddling::Cut(0)),
    ]
}

proptest! {
    /// Up to what a checkpoint covers, there is nothing that can be done without being found.
    #[test]
    fn nothing_that_a_checkpoint_covers_can_be_changed_unseen(n in 3..12_usize, how in meddling()) {
        let (whole, last) = chain(n);
        let checkpoint = outside(&last).unwrap();
        // What came behind the checkpoint's record is not covered yet.
        let covered = usize::try_from(checkpoint.records).unwrap();
        let mut records = whole.clone();
        match how {
            Meddling::Remove(at) => drop(records.remove(at % covered)),
            Meddling::Repeat(of, at) => records.insert(at % (covered + 1), whole[of % covered].clone()),
            Meddling::Swap(a, b) => records.swap(a % covered, b % covered),
            Meddling::Flip(at, byte, by) => {
                let value = &mut records[at % covered].value;
                let byte = byte % value.len();
                value[byte] ^= by;
            }
            Meddling::Cut(at) => records.truncate(at % covered),
        }
        if records == whole {
            prop_assert!(prove(&records, Some(checkpoint)).is_ok());
        } else {
            prop_assert!(prove(&records, Some(checkpoint)).is_err());
        }
    }

    /// However often it is begun anew from its last record, it is one chain.
    #[test]
    fn a_chain_goes_on_where_it_ended(n in 1..12_usize, stops in proptest::collection::vec(any::<bool>(), 12)) {
        let (mut head, mut records) = (Head::new("c"), Vec::<Record>::new());
        for (place, stop) in (0..n).zip(stops) {
            if stop && !records.is_empty() {
                head = end_of(&records);
            }
            let (record, after) = head.follow(&granted(place));
            records.push(record);
            head = after;
        }
        prop_assert_eq!(prove(&records, None).unwrap().records, u64::try_from(n).unwrap());
    }
}
