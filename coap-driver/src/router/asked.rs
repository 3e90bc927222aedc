//! What a request says of the answer that it wants: another format is not sent (RFC 7252 §5.10.4), nor what the peer has
//! already (§5.10.6.2).

use coap_core::{Code, ContentFormat, ETag, OptionNumber};

use super::extract::Incoming;
use super::handler::not_acceptable;
use super::response::{Answer, Content};

/// Kept until the handler is done.
#[derive(Debug)]
pub(super) struct Asked {
    method: Code,
    accept: Option<ContentFormat>,
    /// Of representations that the peer has. Of a later block they say nothing.
    known: Vec<ETag>,
}

impl Asked {
    pub(super) fn of(incoming: &Incoming<'_>) -> Self {
        let options = incoming.options();
        let whole = incoming.wanted().offset == 0;
        let known = if whole { options.etags().collect() } else { Vec::new() };
        Self { method: incoming.method(), accept: options.accept(), known }
    }

    /// The answer, or what is sent instead.
    pub(super) fn fit(&self, answer: Answer) -> Answer {
        // Only where asking had no effect: a PUT that was carried out is not turned into an error afterwards.
        if !self.method.is_safe() || !answer.code.is_success() {
            return answer;
        }
        let format = answer.options.content_format();
        if format.is_some_and(|format| self.accept.is_some_and(|accept| accept != format)) {
            return not_acceptable(&[]).into();
        }
        let current = answer.options.etag();
        if answer.code == Code::CONTENT && current.is_some_and(|current| self.known.contains(&current)) {
            return valid(answer);
        }
        answer
    }
}

/// RFC 7252 §5.9.1.3: with the tag and the age, and without what goes with the content.
fn valid(mut answer: Answer) -> Answer {
    for number in [OptionNumber::CONTENT_FORMAT, OptionNumber::BLOCK2, OptionNumber::SIZE2] {
        answer.options.remove(number);
    }
    Answer { code: Code::VALID, content: Content::Here(coap_core::Body::EMPTY), ..answer }
}
