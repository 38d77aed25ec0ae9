use etcd_prism_proto::etcdserverpb::TxnRequest;
use prost::Message;

use super::*;
use crate::client::request;

#[test]
fn messages_come_out_whole_however_they_are_cut() {
    let messages: Vec<TxnRequest> = (0..3)
        .map(|n| request::update(Bytes::from("key"), Bytes::from(vec![b'v'; n * 100]), n as i64))
        .collect();
    let stream: Vec<u8> = messages.iter().flat_map(|message| request::frame(message).unwrap()).collect();
    for size in 1..stream.len() {
        let mut frames = Frames::default();
        let mut found = Vec::new();
        for chunk in stream.chunks(size) {
            frames.push(chunk);
            while let Some(message) = frames.next().unwrap() {
                found.push(TxnRequest::decode(message).unwrap());
            }
        }
        assert_eq!(found, messages, "in chunks of {size}");
    }
}

#[test]
fn a_body_is_one_message() {
    let request = request::get(Bytes::from("key"));
    let body = request::frame(&request).unwrap();
    assert_eq!(message(body.clone()).unwrap(), request.encode_to_vec());
    assert!(message(body.slice(..body.len() - 1)).is_err());
    assert!(message(Bytes::new()).is_err());
    let compressed: Vec<u8> = [&[1], &body[1..]].concat();
    assert!(message(compressed.into()).is_err());
}
