//! Entity-tags made from content (RFC 7252 §5.10.6).

use core::hash::Hasher;
use std::hash::DefaultHasher;

use coap_core::{ETag, Options};

/// Adds the tag of this content: the same for the same content, also after a restart, and else another; by chance it is the
/// same once in 2⁶⁴.
pub(super) fn tag(options: &mut Options, content: &[u8]) {
    let mut hasher = DefaultHasher::new();
    hasher.write(content);
    if let Some(tag) = ETag::new(&hasher.finish().to_be_bytes()) {
        options.push_etag(&tag);
    }
}
