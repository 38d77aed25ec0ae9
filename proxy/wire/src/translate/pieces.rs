//! A message made of parts of a received one and of what was written anew between them.

use std::io::IoSlice;
use std::ops::Range;

use bytes::{Buf, Bytes, BytesMut};

use crate::varint;

/// Parts up to this size, in bytes, are copied: a part of its own costs more.
const COPIED: usize = 64;

#[derive(Debug, Clone)]
struct Piece {
    is_new: bool,
    range: Range<usize>,
}

/// A message in pieces, without the gRPC prefix. As a [`Buf`] it is read piece by piece.
#[derive(Debug, Clone)]
pub struct Pieces {
    received: Bytes,
    new: Bytes,
    pieces: Vec<Piece>,
    /// The first piece that is not consumed, and what is left of all.
    at: usize,
    left: usize,
}

impl Pieces {
    /// Bytes left.
    pub fn len(&self) -> usize {
        self.left
    }

    pub fn is_empty(&self) -> bool {
        self.left == 0
    }

    /// All that is left in one buffer. Copies, unless it is one piece.
    pub fn into_bytes(mut self) -> Bytes {
        let left = self.left;
        self.copy_to_bytes(left)
    }

    /// The next piece, which shares the received message. None is empty.
    pub fn next_piece(&mut self) -> Option<Bytes> {
        let piece = self.pieces.get(self.at)?;
        let bytes = self.shared(piece, piece.range.len());
        self.at += 1;
        self.left -= bytes.len();
        self.settle();
        Some(bytes)
    }

    fn slice(&self, piece: &Piece) -> &[u8] {
        let buffer = if piece.is_new { &self.new } else { &self.received };
        &buffer[piece.range.clone()]
    }

    fn shared(&self, piece: &Piece, len: usize) -> Bytes {
        let buffer = if piece.is_new { &self.new } else { &self.received };
        buffer.slice(piece.range.start..piece.range.start + len)
    }

    /// Moves over pieces that hold nothing.
    fn settle(&mut self) {
        while self.pieces.get(self.at).is_some_and(|piece| piece.range.is_empty()) {
            self.at += 1;
        }
    }
}

impl Buf for Pieces {
    fn remaining(&self) -> usize {
        self.left
    }

    fn chunk(&self) -> &[u8] {
        self.pieces.get(self.at).map_or(&[], |piece| self.slice(piece))
    }

    fn chunks_vectored<'a>(&'a self, dst: &mut [IoSlice<'a>]) -> usize {
        let rest = self.pieces.get(self.at..).unwrap_or_default();
        let filled = rest.iter().filter(|piece| !piece.range.is_empty());
        filled.zip(dst).map(|(piece, slot)| *slot = IoSlice::new(self.slice(piece))).count()
    }

    fn advance(&mut self, count: usize) {
        assert!(count <= self.left, "cannot advance past the end");
        self.left -= count;
        let mut count = count;
        while let Some(piece) = self.pieces.get_mut(self.at)
            && count >= piece.range.len()
        {
            count -= piece.range.len();
            self.at += 1;
        }
        if let Some(piece) = self.pieces.get_mut(self.at) {
            piece.range.start += count;
        }
    }

    fn copy_to_bytes(&mut self, len: usize) -> Bytes {
        assert!(len <= self.left, "cannot copy past the end");
        if let Some(piece) = self.pieces.get(self.at)
            && len <= piece.range.len()
        {
            let bytes = self.shared(piece, len);
            self.advance(len);
            return bytes;
        }
        let mut out = BytesMut::with_capacity(len);
        bytes::BufMut::put(&mut out, Buf::take(self, len));
        out.freeze()
    }
}

/// Where the length of a field goes whose content is being written.
pub(super) struct Mark {
    piece: usize,
    len: usize,
}

/// Builds [`Pieces`].
pub(super) struct Writer<'a> {
    message: &'a Bytes,
    new: Vec<u8>,
    pieces: Vec<Piece>,
    /// What is kept of the message, and is no piece yet.
    kept: Range<usize>,
    len: usize,
}

impl<'a> Writer<'a> {
    pub(super) fn new(message: &'a Bytes) -> Self {
        Self { message, new: Vec::with_capacity(256), pieces: Vec::with_capacity(8), kept: 0..0, len: 0 }
    }

    /// Passes a part of the message on.
    #[inline]
    pub(super) fn keep(&mut self, range: Range<usize>) {
        self.len += range.len();
        if range.start == self.kept.end {
            self.kept.end = range.end;
        } else {
            self.settle();
            self.kept = range;
        }
    }

    #[inline]
    fn settle(&mut self) {
        let kept = std::mem::take(&mut self.kept);
        if kept.len() > COPIED {
            self.pieces.push(Piece { is_new: false, range: kept });
        } else if !kept.is_empty() {
            let message = self.message;
            self.append(|new| new.extend_from_slice(&message[kept]));
        }
    }

    pub(super) fn put(&mut self, bytes: &[u8]) {
        self.write(|new| new.extend_from_slice(bytes));
    }

    /// A varint field. 0 is left out, as in proto3.
    pub(super) fn int64(&mut self, number: u32, value: i64) {
        if value != 0 {
            self.write(|new| {
                varint::put(new, u64::from(number) << 3);
                varint::put(new, value as u64);
            });
        }
    }

    /// The beginning of a field whose content, `len` bytes, follows.
    pub(super) fn head(&mut self, number: u32, len: usize) {
        self.write(|new| {
            varint::put(new, u64::from(number) << 3 | 2);
            varint::put(new, len as u64);
        });
    }

    /// The beginning of a field whose content follows, up to [`Self::close`].
    pub(super) fn open(&mut self, number: u32) -> Mark {
        self.write(|new| varint::put(new, u64::from(number) << 3 | 2));
        let piece = self.pieces.len();
        self.pieces.push(Piece { is_new: true, range: 0..0 });
        Mark { piece, len: self.len }
    }

    pub(super) fn close(&mut self, mark: Mark) {
        self.settle();
        let start = self.new.len();
        varint::put(&mut self.new, (self.len - mark.len) as u64);
        let end = self.new.len();
        self.len += end - start;
        if let Some(piece) = self.pieces.get_mut(mark.piece) {
            piece.range = start..end;
        }
    }

    #[inline]
    fn write(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.settle();
        let start = self.new.len();
        self.append(write);
        self.len += self.new.len() - start;
    }

    #[inline]
    fn append(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.new.len();
        write(&mut self.new);
        match self.pieces.last_mut() {
            Some(last) if last.is_new && last.range.end == start && start > 0 => {
                last.range.end = self.new.len();
            }
            _ => self.pieces.push(Piece { is_new: true, range: start..self.new.len() }),
        }
    }

    pub(super) fn finish(mut self) -> Pieces {
        self.settle();
        let mut pieces = Pieces {
            received: self.message.clone(),
            new: self.new.into(),
            pieces: self.pieces,
            at: 0,
            left: self.len,
        };
        pieces.settle();
        pieces
    }
}
