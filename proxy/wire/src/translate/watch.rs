//! WatchResponses.

use super::line::Line;
use super::pair::Body;
use super::reply::{HEADER, Reply};
use super::{Outside, ReplyError};

/// The fields of WatchResponse and of Event.
const COMPACT_REVISION: u32 = 5;
const EVENTS: u32 = 11;
const KV: u32 = 2;
const PREV_KV: u32 = 3;

impl<'a, L: Line> Reply<'a, L> {
    /// What happened below the first revision of the reign was copied, and is no event.
    pub(super) fn watch(&mut self, body: Body<'a>) -> Result<(), ReplyError> {
        for field in body.fields() {
            let field = field?;
            match field.number {
                HEADER => self.header(body.inner(&field)?)?,
                COMPACT_REVISION => {
                    let revision = self.compact_revision(field.int64()?)?;
                    self.out.int64(COMPACT_REVISION, revision);
                }
                EVENTS => {
                    let event = body.inner(&field)?;
                    let mark = self.out.open(EVENTS);
                    for field in event.fields() {
                        let field = field?;
                        match field.number {
                            KV | PREV_KV => {
                                let raw = self.pair(event, &field)?;
                                if field.number == KV && raw < *self.line.span().start() {
                                    return Err(Outside { raw }.into());
                                }
                            }
                            _ => self.out.keep(event.record(&field)),
                        }
                    }
                    self.out.close(mark);
                }
                _ => self.out.keep(body.record(&field)),
            }
        }
        Ok(())
    }

    /// The first virtual revision of this reign, or behind it, that compaction at a raw one leaves readable.
    fn compact_revision(&self, raw: i64) -> Result<i64, Outside> {
        let span = self.line.span();
        match raw {
            0 => Ok(0),
            _ if raw > *span.end() => Ok(self.line.up(*span.end())?.saturating_add(1)),
            _ => self.line.up(raw.max(*span.start())),
        }
    }
}
