//! Key ranges as etcd's API writes them.

/// First byte of the keys that belong to the proxy. No text key begins with it, and nothing sorts behind it but keys of
/// the same kind, so clients' keyspace is exactly everything below it.
pub const RESERVED: u8 = 0xff;

/// The end of what clients can see.
pub const CLIENT_END: &[u8] = &[RESERVED];

/// A `(key, range_end)` pair of the API. An empty `range_end` means the single key, `"\0"` every key from `key` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KeyRange<'a> {
    pub key: &'a [u8],
    pub range_end: &'a [u8],
}

impl<'a> KeyRange<'a> {
    pub fn single(key: &'a [u8]) -> Self {
        Self { key, range_end: b"" }
    }

    pub fn new(key: &'a [u8], range_end: &'a [u8]) -> Self {
        Self { key, range_end }
    }

    pub fn is_single(&self) -> bool {
        self.range_end.is_empty()
    }

    /// `range_end` is `"\0"`: no upper border.
    pub fn is_open(&self) -> bool {
        self.range_end == b"\0"
    }

    /// Whether the range reaches keys that belong to the proxy.
    pub fn touches_reserved(&self) -> bool {
        self.key.first() == Some(&RESERVED)
            || self.is_open()
            || (!self.is_single() && self.range_end > CLIENT_END && self.key < self.range_end)
    }

    /// The part of the range that clients may see; `None` if that is nothing.
    pub fn clamped(&self) -> Option<KeyRange<'a>> {
        if self.key.first() == Some(&RESERVED) {
            None
        } else if self.touches_reserved() {
            Some(KeyRange { key: self.key, range_end: CLIENT_END })
        } else {
            Some(*self)
        }
    }

    pub fn contains(&self, key: &[u8]) -> bool {
        if self.is_single() {
            key == self.key
        } else {
            key >= self.key && (self.is_open() || key < self.range_end)
        }
    }
}

/// The smallest key greater than every key with `prefix`; `"\0"` (no border) if there is none.
pub fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return end;
        }
    }
    vec![0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_keys_are_cut_off() {
        let check = |key: &'static [u8], end: &'static [u8], expect: Option<(&[u8], &[u8])>| {
            let got = KeyRange::new(key, end).clamped().map(|r| (r.key, r.range_end));
            assert_eq!(got, expect, "{key:?} {end:?}");
        };
        check(b"a", b"", Some((b"a", b"")));
        check(b"a", b"b", Some((b"a", b"b")));
        check(b"a", b"\xff", Some((b"a", b"\xff")));
        check(b"a", b"\xff\x01", Some((b"a", b"\xff")));
        check(b"\0", b"\0", Some((b"\0", b"\xff")));
        check(b"\xffprism", b"", None);
        check(b"\xff", b"\0", None);
    }

    #[test]
    fn prefix_ends() {
        assert_eq!(prefix_end(b"/a/"), b"/a0");
        assert_eq!(prefix_end(b"a\xff"), b"b");
        assert_eq!(prefix_end(b"\xff\xff"), b"\0");
    }
}
