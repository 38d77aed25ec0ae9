use bytes::Buf;

use super::*;

fn message() -> Bytes {
    let (raw, _) = pairs();
    bytes(&pb::RangeResponse { header: header(150), kvs: raw, more: false, count: 5 })
}

#[test]
fn all_ways_to_read_agree() {
    let pieces = reply(Kind::Range, &message(), &Returned::new(), Header::Exact).unwrap();
    let whole = pieces.clone().into_bytes();
    let mut joined = Vec::new();
    let mut one_by_one = pieces.clone();
    while let Some(piece) = one_by_one.next_piece() {
        assert!(!piece.is_empty());
        joined.extend_from_slice(&piece);
    }
    assert!(one_by_one.is_empty());
    assert_eq!(joined, whole);
    for step in [1, 7, 300, 10_000] {
        let (mut pieces, mut read) = (pieces.clone(), Vec::new());
        while pieces.has_remaining() {
            let mut slots = [std::io::IoSlice::new(&[]); 3];
            let filled = pieces.chunks_vectored(&mut slots);
            let seen: Vec<u8> = slots[..filled].iter().flat_map(|slot| slot.iter().copied()).collect();
            assert!(seen.starts_with(pieces.chunk()) && !pieces.chunk().is_empty());
            let step = step.min(seen.len());
            read.extend_from_slice(&seen[..step]);
            pieces.advance(step);
        }
        assert_eq!(read, whole, "{step}");
    }
}

#[test]
fn cut_anywhere() {
    let pieces = reply(Kind::Range, &message(), &Returned::new(), Header::Exact).unwrap();
    let whole = pieces.clone().into_bytes();
    for at in 0..=whole.len() {
        let mut pieces = pieces.clone();
        assert_eq!(pieces.copy_to_bytes(at), whole[..at]);
        assert_eq!(pieces.into_bytes(), whole[at..]);
    }
}
