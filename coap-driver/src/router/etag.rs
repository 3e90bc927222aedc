//! Entity-tags made from content (RFC 7252 §5.10.6).

use core::hash::Hasher;
use std::hash::DefaultHasher;

use coap_core::{ETag, Options};

/// Adds the tag of this content: the same for the same content, also after a restart, and else another; by chance it is the
/// same once in 2⁶⁴. A tag tells all representations of a resource apart (RFC 7252 §5.10.6), and two formats can have the
/// same bytes, so the format among the options counts.
pub(super) fn tag(options: &mut Options, content: &[u8]) {
    let mut hasher = DefaultHasher::new();
    hasher.write_u32(options.content_format().map_or(u32::MAX, |format| format.number().into()));
    hasher.write(content);
    if let Some(tag) = ETag::new(&hasher.finish().to_be_bytes()) {
        options.push_etag(&tag);
    }
}
