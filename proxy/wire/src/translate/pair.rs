//! A KeyValue, with its numbers replaced.

use std::ops::Range;

use smallvec::SmallVec;

use super::line::Numbers;
use super::pieces::Writer;
use crate::field::{Field, Fields, Malformed};
use crate::varint;

/// A part of a message, and where in it that lies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Body<'a> {
    pub(super) at: usize,
    pub(super) bytes: &'a [u8],
}

impl<'a> Body<'a> {
    pub(super) fn new(message: &'a [u8]) -> Self {
        Self { at: 0, bytes: message }
    }

    pub(super) fn fields(&self) -> Fields<'a> {
        Fields::new(self.bytes)
    }

    /// The content of one of its fields.
    pub(super) fn inner(&self, field: &Field<'a>) -> Result<Body<'a>, Malformed> {
        let bytes = field.bytes()?;
        Ok(Body { at: self.at + field.end - bytes.len(), bytes })
    }

    /// All of it, as a part of the message.
    pub(super) fn all(&self) -> Range<usize> {
        self.at..self.at + self.bytes.len()
    }

    /// The record of one of its fields, tag included, as a part of the message.
    pub(super) fn record(&self, field: &Field<'_>) -> Range<usize> {
        self.at + field.start..self.at + field.end
    }
}

/// The fields of KeyValue.
const KEY: u32 = 1;
const CREATE_REVISION: u32 = 2;
const MOD_REVISION: u32 = 3;
const VERSION: u32 = 4;
const VALUE: u32 = 5;

/// A KeyValue in a message.
#[derive(Debug, Clone)]
pub(super) struct Pair<'a> {
    body: Body<'a>,
    pub(super) key: &'a [u8],
    pub(super) value: &'a [u8],
    pub(super) numbers: Numbers,
    /// Where its numbers lie in its body: one after the other, with every etcd so far.
    cuts: SmallVec<[Range<usize>; 1]>,
}

impl<'a> Pair<'a> {
    /// Reads a KeyValue. Without its value if `keys_only`: that will not be written.
    pub(super) fn read(body: Body<'a>, keys_only: bool) -> Result<Self, Malformed> {
        let mut pair =
            Self { body, key: b"", value: b"", numbers: Numbers::default(), cuts: SmallVec::new() };
        for field in body.fields() {
            let field = field?;
            match field.number {
                KEY => pair.key = field.bytes()?,
                CREATE_REVISION => pair.numbers.create_revision = pair.cut(&field)?,
                MOD_REVISION => pair.numbers.mod_revision = pair.cut(&field)?,
                VERSION => pair.numbers.version = pair.cut(&field)?,
                VALUE => {
                    pair.value = field.bytes()?;
                    if keys_only {
                        pair.cut_record(&field);
                    }
                }
                _ => {}
            }
        }
        Ok(pair)
    }

    fn cut(&mut self, field: &Field<'_>) -> Result<i64, Malformed> {
        self.cut_record(field);
        field.int64()
    }

    fn cut_record(&mut self, field: &Field<'_>) {
        match self.cuts.last_mut() {
            Some(last) if last.end == field.start => last.end = field.end,
            _ => self.cuts.push(field.start..field.end),
        }
    }

    /// Writes it as field `number`, with these numbers.
    pub(super) fn write(&self, number: u32, numbers: Numbers, out: &mut Writer<'_>) {
        let fields = [
            (CREATE_REVISION, numbers.create_revision),
            (MOD_REVISION, numbers.mod_revision),
            (VERSION, numbers.version),
        ];
        let new: usize =
            fields.iter().filter(|(_, v)| *v != 0).map(|(_, v)| 1 + varint::len(*v as u64)).sum();
        let cut: usize = self.cuts.iter().map(|cut| cut.len()).sum();
        out.head(number, self.body.bytes.len() - cut + new);
        let Body { at, bytes } = self.body;
        let first = self.cuts.first().map_or(bytes.len(), |cut| cut.start);
        out.keep(at..at + first);
        for (number, value) in fields {
            out.int64(number, value);
        }
        let ends = self.cuts.iter().map(|cut| cut.end);
        let starts = self.cuts.iter().skip(1).map(|cut| cut.start).chain([bytes.len()]);
        for (end, start) in ends.zip(starts) {
            out.keep(at + end..at + start);
        }
    }
}
