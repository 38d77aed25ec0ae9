//! Base-128 varints.

use bytes::BufMut;

/// Longest encoding that protobuf parsers accept, in bytes.
pub const MAX_LEN: usize = 10;

/// Reads a varint from the front of `buf`; `None` when it is cut off or longer than [`MAX_LEN`].
/// Like Go's parser this accepts encodings that are longer than necessary.
#[inline]
pub fn read(buf: &[u8]) -> Option<(u64, usize)> {
    if let Some(&first) = buf.first()
        && first < 0x80
    {
        return Some((u64::from(first), 1));
    }
    let mut value = 0u64;
    for (i, &byte) in buf.iter().take(MAX_LEN).enumerate() {
        // The tenth byte holds the 64th bit only.
        if i == MAX_LEN - 1 && byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            return Some((value, i + 1));
        }
    }
    None
}

/// Appends `value` in its shortest encoding.
#[inline]
pub fn put(out: &mut impl BufMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8((value as u8) | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// Appends `value` in exactly `width` bytes (1..=10), padded with continuation bytes. Parsers accept the padding; it lets
/// the size of a message be fixed before the value is known. Bits that do not fit are cut off: callers pass 10.
pub fn put_padded(out: &mut impl BufMut, mut value: u64, width: usize) {
    for _ in 1..width {
        out.put_u8((value as u8) | 0x80);
        value >>= 7;
    }
    out.put_u8((value as u8) & 0x7f);
}

/// Bytes that [`put`] writes for `value`.
#[inline]
pub fn len(value: u64) -> usize {
    ((64 - (value | 1).leading_zeros() as usize) * 9 + 64) / 64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trips(value: u64) {
            let mut out = Vec::new();
            super::put(&mut out, value);
            prop_assert_eq!(out.len(), super::len(value));
            prop_assert_eq!(super::read(&out), Some((value, out.len())));
            let mut padded = Vec::new();
            super::put_padded(&mut padded, value, 10);
            prop_assert_eq!(super::read(&padded), Some((value, 10)));
        }
    }

    #[test]
    fn refuses_cut_off_and_overlong() {
        assert_eq!(super::read(&[]), None);
        assert_eq!(super::read(&[0x80]), None);
        assert_eq!(super::read(&[0xff; 11]), None);
        assert_eq!(super::read(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]), None);
    }
}
