//! What was read of files beyond what was asked for: the next blocks will be.
//!
//! Each stretch has the entity-tag of the moment in which it was read, so that one which is out of date is no more than an
//! answer that was on its way for a moment.

use core::time::Duration;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use coap_core::{Body, Code, ContentFormat, ETag, Response, Wanted};

/// How many stretches are kept; the oldest goes. With those of 64 KiB, 1 MiB at most.
const MOST: usize = 16;

/// How long one is used: peers that take longer for its blocks do not notice what it costs to read them.
const FRESH: Duration = Duration::from_millis(50);

/// A stretch of a file.
#[derive(Clone, Debug)]
pub(super) struct Stretch {
    pub(super) etag: ETag,
    pub(super) format: ContentFormat,
    /// Of the whole file.
    pub(super) size: u64,
    /// Where it starts.
    pub(super) offset: u64,
    pub(super) data: Bytes,
}

impl Stretch {
    /// The part of it that is wanted, if that is here: all of it, or up to the end of the file.
    fn part(&self, wanted: Wanted) -> Option<Bytes> {
        let start = usize::try_from(wanted.offset.checked_sub(self.offset)?).ok()?;
        let end = start.saturating_add(wanted.max).min(usize::try_from(self.size - self.offset).unwrap_or(usize::MAX));
        (start < end && end <= self.data.len()).then(|| self.data.slice(start..end))
    }

    /// The answer with what is wanted of it, which is as much as it has.
    pub(super) fn answer(&self, wanted: Wanted) -> Response {
        let (offset, data) = match self.part(wanted) {
            Some(data) => (wanted.offset, data),
            None => (self.offset, self.data.clone()),
        };
        let mut response = Response::content(self.format, Body::Range { offset, data, size: Some(self.size) });
        response.options.push_etag(&self.etag);
        response
    }
}

/// 2.03: the peer has it already.
pub(super) fn valid(etag: &ETag) -> Response {
    let mut response = Response::new(Code::VALID);
    response.options.push_etag(etag);
    response
}

/// The latest stretches.
#[derive(Debug, Default)]
pub(super) struct Ahead(Mutex<VecDeque<Kept>>);

#[derive(Debug)]
struct Kept {
    path: Vec<String>,
    stretch: Stretch,
    read: Instant,
}

impl Ahead {
    /// One that has what is wanted.
    pub(super) fn find(&self, path: &[String], wanted: Wanted) -> Option<Stretch> {
        let kept = self.lock();
        let fits =
            |kept: &&Kept| kept.path == path && kept.read.elapsed() < FRESH && kept.stretch.part(wanted).is_some();
        kept.iter().rev().find(fits).map(|kept| kept.stretch.clone())
    }

    pub(super) fn keep(&self, path: Vec<String>, stretch: Stretch) {
        let mut kept = self.lock();
        if kept.len() == MOST {
            kept.pop_front();
        }
        kept.push_back(Kept { path, stretch, read: Instant::now() });
    }

    /// This is the tag that the file has now: whoever has its first block must not get later ones of another state.
    pub(super) fn forget_others(&self, path: &[String], etag: &ETag) {
        self.lock().retain(|kept| kept.path != path || kept.stretch.etag == *etag);
    }

    /// Files have changed, and whoever changed them should see it.
    pub(super) fn forget(&self) {
        self.lock().clear();
    }

    /// Each change of the list is a single one.
    fn lock(&self) -> MutexGuard<'_, VecDeque<Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stretch(offset: u64, data: &'static [u8], size: u64) -> Stretch {
        let etag = ETag::new(b"v1").unwrap();
        Stretch { etag, format: ContentFormat::OCTET_STREAM, size, offset, data: Bytes::from_static(data) }
    }

    fn wanted(offset: u64, max: usize) -> Wanted {
        Wanted { offset, max }
    }

    #[test]
    fn only_what_is_here_is_given() {
        let middle = stretch(64, b"0123456789abcdef", 200);
        assert_eq!(middle.part(wanted(64, 16)).unwrap(), "0123456789abcdef");
        assert_eq!(middle.part(wanted(70, 4)).unwrap(), "6789");
        for (offset, max) in [(63, 1), (0, 16), (72, 16), (80, 1), (u64::MAX, 1), (64, usize::MAX)] {
            assert_eq!(middle.part(wanted(offset, max)), None, "{offset} {max}");
        }
        let last = stretch(192, b"01234567", 200);
        assert_eq!(last.part(wanted(192, 16)).unwrap(), "01234567");
        assert_eq!(last.part(wanted(200, 16)), None);
    }

    #[test]
    fn the_oldest_goes_and_so_does_what_has_changed() {
        let ahead = Ahead::default();
        let path = |number: usize| vec![number.to_string()];
        for number in 0..=MOST {
            ahead.keep(path(number), stretch(0, b"0123456789abcdef", 16));
        }
        assert!(ahead.find(&path(0), wanted(0, 16)).is_none());
        assert!(ahead.find(&path(1), wanted(0, 16)).is_some() && ahead.find(&path(MOST), wanted(0, 16)).is_some());
        ahead.forget_others(&path(1), &ETag::new(b"v2").unwrap());
        ahead.forget_others(&path(2), &ETag::new(b"v1").unwrap());
        assert!(ahead.find(&path(1), wanted(0, 16)).is_none() && ahead.find(&path(2), wanted(0, 16)).is_some());
        ahead.forget();
        assert!(ahead.find(&path(MOST), wanted(0, 16)).is_none());
    }
}
