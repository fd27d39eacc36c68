//! What JSON would take up once it is parsed, before it is: a few bytes, as `{"a":0}`, become a tree of several hundred.

/// The most that a body may weigh: at some 100 bytes a unit, 60 MB.
pub const OF_BODY: usize = 600_000;
/// The most that one record may, and JSON that stands in a record as text. Such a record has a dozen members.
pub const OF_RECORD: usize = 10_000;

/// What an object weighs: the smallest node of a map holds eleven members, used or not.
const OBJECT: usize = 8;

/// Whether JSON weighs `most` at most. What is no JSON is looked at up to where a parser would stop, at least.
pub fn is_light(json: &[u8], most: usize) -> bool {
    let (mut weight, mut in_string, mut escaped) = (0, false, false);
    for byte in json {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' => weight += OBJECT,
            b'[' | b',' => weight += 1,
            _ => continue,
        }
        if weight > most {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};
    use proptest::prop_assert;
    use serde_json::{Value, json};

    use super::{OF_BODY, OF_RECORD, is_light};

    #[test]
    fn only_what_becomes_a_tree_weighs() {
        assert!(is_light(br#"{"a":"{[,{[,\"{{{\\"}"#, 8));
        assert!(!is_light(br#"{"a":"\\",0"#, 8));
        assert!(is_light(b"[0,[]]", 3) && !is_light(b"[0,[]]", 2));
        assert!(!is_light(b"{", 7));
    }

    #[test]
    fn records_of_brokers_are_light() {
        let record = json!({
            "instant": {"epochSecond": 1_795_843_127, "nanoOfSecond": 920_000_000}, "thread": "data-plane-kafka-request-handler-3",
            "level": "INFO", "loggerName": "kafka.authorizer.logger", "endOfBatch": false, "threadId": 83, "threadPriority": 5,
            "loggerFqcn": "org.apache.logging.slf4j.Log4jLogger", "contextMap": {},
            "message": "Principal = User:a is Denied operation = READ from host = 10.244.0.6 on resource = Topic:LITERAL:t",
        });
        assert!(is_light(record.to_string().as_bytes(), OF_RECORD / 100));
        let all = Value::from(vec![record; 10_000]).to_string();
        assert!(is_light(all.as_bytes(), OF_BODY), "{}", all.len());
    }

    proptest! {
        /// Whatever a client has written into a record: text weighs nothing.
        #[test]
        fn text_weighs_nothing(text in any::<String>()) {
            let record = json!({"message": text}).to_string();
            prop_assert!(is_light(record.as_bytes(), 8));
        }
    }
}
