//! Walks the fields of one protobuf message.

use crate::varint;

/// The bytes are not a well-formed message of the expected type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("cut off or overlong varint")]
    Varint,
    #[error("field reaches past the end of its message")]
    Length,
    #[error("field number or wire type that does not exist")]
    Tag,
    #[error("field {0} has an unexpected wire type")]
    WireType(u32),
    #[error("more than one member of a union is set")]
    Union,
    #[error("nested too deeply")]
    Depth,
}

/// A field's value by wire type. Groups (long deprecated, never used by etcd) are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
}

/// One field: its number, its value, and where its record (tag included) lies in the message.
#[derive(Debug, Clone, Copy)]
pub struct Field<'a> {
    pub number: u32,
    pub value: Value<'a>,
    /// Offset of the tag's first byte.
    pub start: usize,
    /// Offset just past the value.
    pub end: usize,
}

impl<'a> Field<'a> {
    #[inline]
    pub fn bytes(&self) -> Result<&'a [u8], Malformed> {
        match self.value {
            Value::Bytes(bytes) => Ok(bytes),
            _ => Err(Malformed::WireType(self.number)),
        }
    }

    #[inline]
    pub fn varint(&self) -> Result<u64, Malformed> {
        match self.value {
            Value::Varint(value) => Ok(value),
            _ => Err(Malformed::WireType(self.number)),
        }
    }

    /// int64 as etcd's API uses it.
    #[inline]
    pub fn int64(&self) -> Result<i64, Malformed> {
        self.varint().map(|v| v as i64)
    }

    #[inline]
    pub fn bool(&self) -> Result<bool, Malformed> {
        self.varint().map(|v| v != 0)
    }
}

/// How many bytes from the beginning of what has come of a message are whole fields. What follows is cut off, or malformed:
/// that shows once all has come.
#[inline]
pub fn whole(begun: &[u8]) -> usize {
    Fields::new(begun).map_while(Result::ok).last().map_or(0, |field| field.end)
}

/// Iterates over the fields of `message`. It stops after the first error; a message was well-formed (at this level) if
/// the iterator ended without one.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    pub fn new(message: &'a [u8]) -> Self {
        Self { message, at: 0 }
    }

    #[inline]
    fn read(&mut self) -> Result<Field<'a>, Malformed> {
        let start = self.at;
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).map_err(|_| Malformed::Tag)?;
        if number == 0 || number > (1 << 29) - 1 {
            return Err(Malformed::Tag);
        }
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let len = usize::try_from(self.varint()?).map_err(|_| Malformed::Length)?;
                Value::Bytes(self.take(len)?)
            }
            5 => Value::Fixed32(u32::from_le_bytes(self.array()?)),
            _ => return Err(Malformed::Tag),
        };
        Ok(Field { number, value, start, end: self.at })
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, Malformed> {
        let (value, len) = varint::read(&self.message[self.at..]).ok_or(Malformed::Varint)?;
        self.at += len;
        Ok(value)
    }

    #[inline]
    fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let end = self.at.checked_add(len).ok_or(Malformed::Length)?;
        let bytes = self.message.get(self.at..end).ok_or(Malformed::Length)?;
        self.at = end;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.take(N)?.try_into().map_err(|_| Malformed::Length)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, Malformed>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.message.len() {
            return None;
        }
        let field = self.read();
        if field.is_err() {
            self.at = self.message.len();
        }
        Some(field)
    }
}
