//! gRPC statuses, with etcd's codes and texts.

use std::borrow::Cow;

/// gRPC status codes. Numbers as on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Code {
    Ok = 0,
    Canceled = 1,
    Unknown = 2,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Aborted = 10,
    OutOfRange = 11,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    DataLoss = 15,
    Unauthenticated = 16,
}

impl Code {
    const ALL: [Code; 17] = [
        Code::Ok,
        Code::Canceled,
        Code::Unknown,
        Code::InvalidArgument,
        Code::DeadlineExceeded,
        Code::NotFound,
        Code::AlreadyExists,
        Code::PermissionDenied,
        Code::ResourceExhausted,
        Code::FailedPrecondition,
        Code::Aborted,
        Code::OutOfRange,
        Code::Unimplemented,
        Code::Internal,
        Code::Unavailable,
        Code::DataLoss,
        Code::Unauthenticated,
    ];

    /// The code for a number of the wire; unknown numbers are `Unknown`, as the gRPC specification asks.
    pub fn from_wire(number: u32) -> Code {
        Self::ALL.get(number as usize).copied().unwrap_or(Code::Unknown)
    }

    /// The name used in metrics, as grpc-go spells it.
    pub fn name(self) -> &'static str {
        match self {
            Code::Ok => "OK",
            Code::Canceled => "Canceled",
            Code::Unknown => "Unknown",
            Code::InvalidArgument => "InvalidArgument",
            Code::DeadlineExceeded => "DeadlineExceeded",
            Code::NotFound => "NotFound",
            Code::AlreadyExists => "AlreadyExists",
            Code::PermissionDenied => "PermissionDenied",
            Code::ResourceExhausted => "ResourceExhausted",
            Code::FailedPrecondition => "FailedPrecondition",
            Code::Aborted => "Aborted",
            Code::OutOfRange => "OutOfRange",
            Code::Unimplemented => "Unimplemented",
            Code::Internal => "Internal",
            Code::Unavailable => "Unavailable",
            Code::DataLoss => "DataLoss",
            Code::Unauthenticated => "Unauthenticated",
        }
    }
}

/// A gRPC status. Clients match on the text, so it is etcd's own wherever etcd has one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", code.name())]
pub struct Status {
    pub code: Code,
    pub message: Cow<'static, str>,
}

impl Status {
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into() }
    }

    /// `message` as the header `grpc-message` carries it: percent-encoded.
    pub fn encoded_message(&self) -> String {
        let mut out = String::with_capacity(self.message.len());
        for &byte in self.message.as_bytes() {
            if (0x20..0x7f).contains(&byte) && byte != b'%' {
                out.push(byte as char);
            } else {
                out.push_str(&format!("%{byte:02X}"));
            }
        }
        out
    }

    /// Reads the pair of headers `grpc-status` and `grpc-message`. Whatever cannot be read becomes `Unknown`; this never
    /// fails, because it reads what another server sent.
    pub fn from_headers(status: &[u8], message: &[u8]) -> Status {
        let code = std::str::from_utf8(status)
            .ok()
            .and_then(|s| s.parse().ok())
            .map_or(Code::Unknown, Code::from_wire);
        Status { code, message: percent_decode(message).into() }
    }
}

fn percent_decode(text: &[u8]) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let hex = text.get(at + 1..at + 3).and_then(|h| std::str::from_utf8(h).ok());
        match (text[at], hex.and_then(|h| u8::from_str_radix(h, 16).ok())) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 3;
            }
            (byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_round_trip() {
        for text in ["etcdserver: mvcc: required revision has been compacted", "100 % für\nalle", "%zz", ""]
        {
            let status = Status::new(Code::OutOfRange, text);
            let back = Status::from_headers(b"11", status.encoded_message().as_bytes());
            assert_eq!(back, status);
        }
        assert_eq!(Status::from_headers(b"nonsense", b"%4").code, Code::Unknown);
        assert_eq!(Status::from_headers(b"99", b"").code, Code::Unknown);
    }
}
