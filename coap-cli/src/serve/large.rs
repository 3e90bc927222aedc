//! `/large`: as many bytes as are asked for, made where they are needed.

use bytes::Bytes;
use coap_core::{Code, ContentFormat, ETag, Wanted};
use coap_driver::router::{IntoResponse, KnownETags, Query, Ranged};

/// The length that the plugtests use.
const USUAL: u64 = 1_280;

/// As many bytes as blocks of 1,024 can carry (RFC 7959 §2.2).
const MOST: u64 = 1 << 30;

/// A line and its end.
const LINE: usize = 64;

/// GET: a text of 1,280 bytes, or of `?size=`.
pub(super) async fn large(
    query: Query,
    wanted: Wanted,
    known: KnownETags,
) -> Result<impl IntoResponse, (Code, String)> {
    let size = query.value("size").map_or(Some(USUAL), |text| text.parse().ok().filter(|size| *size <= MOST));
    let size = size.ok_or_else(|| (Code::BAD_REQUEST, format!("size is a number of bytes from 0 to {MOST}")))?;
    // The text is the same for ever, so that its length tells all.
    let etag = ETag::new(&size.to_be_bytes()).filter(|etag| !known.contains(etag));
    let Some(etag) = etag else { return Err((Code::VALID, String::new())) };
    let ranged = Ranged { offset: wanted.offset, data: stretch(wanted.offset, wanted.max, size), size: Some(size) };
    Ok((ContentFormat::TEXT_PLAIN, (etag, ranged)))
}

/// The bytes from `offset` on: `max`, or those that are left of `size`.
fn stretch(offset: u64, max: usize, size: u64) -> Bytes {
    let end = size.min(offset.saturating_add(max as u64));
    let mut text = Vec::new();
    for number in offset / LINE as u64..end.div_ceil(LINE as u64) {
        let start = number * LINE as u64;
        let line = line(number);
        let from = offset.saturating_sub(start) as usize;
        let to = (end - start).min(LINE as u64) as usize;
        text.extend_from_slice(line.get(from..to).unwrap_or_default());
    }
    text.into()
}

/// `0000000003 defg…`: its number, and letters that begin with another one in each line.
fn line(number: u64) -> [u8; LINE] {
    let mut line = [b'\n'; LINE];
    let digits = format!("{number:010} ");
    let letters = (number..).map(|letter| b'a' + (letter % 26) as u8);
    for (byte, text) in line.iter_mut().take(LINE - 1).zip(digits.bytes().chain(letters)) {
        *byte = text;
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretch_is_the_same_whoever_asks() {
        let whole = stretch(0, usize::MAX, 1_000);
        assert_eq!(whole.len(), 1_000);
        assert!(whole.starts_with(b"0000000000 abc") && whole[LINE..].starts_with(b"0000000001 bcd"));
        assert_eq!((whole[LINE - 1], whole[2 * LINE - 1]), (b'\n', b'\n'));
        for offset in [0, 1, 63, 64, 65, 500, 999, 1_000] {
            for max in [0, 1, 16, 63, 64, 65, 600] {
                let end = whole.len().min(offset + max);
                assert_eq!(stretch(offset as u64, max, 1_000), whole[offset..end], "{offset} {max}");
            }
        }
    }

    #[test]
    fn there_is_nothing_behind_the_end() {
        assert!(stretch(1_001, 64, 1_000).is_empty());
        assert!(stretch(u64::MAX, usize::MAX, 1_000).is_empty());
        assert!(stretch(0, 64, 0).is_empty());
    }

    #[test]
    fn a_line_ends_where_it_should_even_in_the_last_of_the_longest() {
        let last = stretch(MOST - LINE as u64, LINE, MOST);
        assert!(last.starts_with(b"0016777215 ") && last.ends_with(b"\n"));
        assert_eq!(last.len(), LINE);
    }
}
