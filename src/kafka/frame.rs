//! Frames on the wire: a length, a header with the correlation id, a message.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{ApiVersionsRequest, RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::api::{Api, text};
use super::codes::{UNSUPPORTED_VERSION, permanent};
use crate::ports::KafkaError;

/// The largest answer that is read, in bytes: DescribeAcls has no paging.
const MAX_FRAME: usize = 100 * 1024 * 1024;

/// Reads one answer: its correlation id, and everything behind the length.
pub(super) async fn read(reader: &mut (impl AsyncRead + Unpin)) -> std::io::Result<(i32, Bytes)> {
    let invalid = |what: String| std::io::Error::new(std::io::ErrorKind::InvalidData, what);
    let length = reader.read_i32().await?;
    let length = usize::try_from(length).map_err(|_| invalid(format!("a frame of {length} bytes")))?;
    if !(4..=MAX_FRAME).contains(&length) {
        return Err(invalid(format!("a frame of {length} bytes")));
    }
    let mut frame = BytesMut::zeroed(length);
    reader.read_exact(&mut frame).await?;
    // The length was checked: four bytes are there.
    let id = i32::from_be_bytes([frame[0], frame[1], frame[2], frame[3]]);
    Ok((id, frame.freeze()))
}

/// A request with its length and header in front.
pub(super) fn encode<R: Api>(request: &R, version: i16, id: i32, client_id: &str) -> Result<Bytes, KafkaError> {
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(id)
        .with_client_id(Some(text(client_id)));
    let mut frame = BytesMut::new();
    frame.put_i32(0);
    let encoded =
        header.encode(&mut frame, R::header_version(version)).and_then(|()| request.encode(&mut frame, version));
    encoded.map_err(|e| permanent(format!("failed to encode {}: {e}", R::NAME)))?;
    let length = i32::try_from(frame.len() - 4)
        .map_err(|_| permanent(format!("failed to encode {}: it is larger than Kafka takes", R::NAME)))?;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    Ok(frame.freeze())
}

/// The answer to a request, header and all; the error is for a message.
pub(super) fn decode<R: Api>(mut frame: Bytes, version: i16) -> Result<R::Response, String> {
    ResponseHeader::decode(&mut frame, R::Response::header_version(version)).map_err(|e| e.to_string())?;
    // A broker that does not speak this ApiVersions answers in version 0 (KIP-511).
    let outdated = R::KEY == ApiVersionsRequest::KEY && frame.starts_with(&UNSUPPORTED_VERSION.to_be_bytes());
    R::Response::decode(&mut frame, if outdated { 0 } else { version }).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use bytes::{BufMut, BytesMut};
    use kafka_protocol::messages::ApiVersionsRequest;

    use super::{decode, encode, read};

    #[test]
    fn a_frame_begins_with_its_length_key_version_and_id() {
        let frame = encode(&ApiVersionsRequest::default(), 3, 7, "me").unwrap();
        assert_eq!(frame[..4], u32::try_from(frame.len() - 4).unwrap().to_be_bytes());
        assert_eq!(frame[4..12], [0, 18, 0, 3, 0, 0, 0, 7]);
    }

    #[test]
    fn a_broker_that_does_not_know_the_version_is_understood() {
        let mut frame = BytesMut::new();
        // Correlation id, UNSUPPORTED_VERSION, and in version 0 an array of one: ApiVersions 0 to 2.
        frame.put_slice(&[0, 0, 0, 7, 0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 2]);
        let response = decode::<ApiVersionsRequest>(frame.freeze(), 4).unwrap();
        assert_eq!((response.error_code, response.api_keys[0].max_version), (35, 2));
    }

    #[tokio::test]
    async fn lengths_out_of_bounds_are_errors() {
        for length in [-1, 0, 3, i32::MAX] {
            let bytes = length.to_be_bytes();
            assert!(read(&mut bytes.as_slice()).await.is_err(), "{length}");
        }
        assert_eq!(read(&mut [0, 0, 0, 5, 0, 0, 0, 9, 1].as_slice()).await.unwrap().0, 9);
    }
}
