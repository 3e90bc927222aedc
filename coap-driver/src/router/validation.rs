//! Entity-tags that are made, and conditions that are seen to (RFC 7252 §5.10.6, §5.10.8), around handlers that do neither.

use coap_core::{Body, Code, OptionNumber, Request, Response};

use super::FIRST_BLOCK;
use super::asked::Asked;
use super::etag;
use super::extract::{Current, FromRequest, Incoming, Preconditions};
use super::handler::{HandlerFuture, SharedHandler};
use super::method::Tags;
use super::response::{Answer, Content};

/// With a tag for its answer, where its route wants one.
pub(super) fn tagged(work: HandlerFuture, incoming: &Incoming<'_>, tags: Tags) -> HandlerFuture {
    if tags == Tags::Given {
        return work;
    }
    let asked = Asked::of(incoming);
    Box::pin(async move { asked.fit(tag(work.await)) })
}

fn tag(mut answer: Answer) -> Answer {
    if let (Code::CONTENT, None, Content::Here(Body::Whole(content))) =
        (answer.code, answer.options.etag(), &answer.content)
    {
        etag::tag(&mut answer.options, content);
    }
    answer
}

/// Looks at the current state first, as a GET would give it, and carries `work` out if the conditions are met.
pub(super) fn conditional(
    work: HandlerFuture,
    incoming: &Incoming<'_>,
    reader: &SharedHandler<()>,
    tags: Tags,
) -> Result<HandlerFuture, Response> {
    let conditions = Preconditions::from_request(incoming, &())?;
    let mut request = Request::get();
    for (number, value) in incoming.options().iter().filter(|(number, _)| says_where(*number)) {
        // It was an option of the same number.
        let _ = request.options.push(number, value);
    }
    let reading = Incoming { request: &request, wanted: FIRST_BLOCK, upload: None, ..*incoming };
    let reading = reader.call(&reading, &())?;
    Ok(Box::pin(async move {
        let current = reading.await;
        let current = if tags == Tags::Made { tag(current) } else { current };
        let etag = current.options.etag();
        let state = match (current.code, &etag) {
            (Code::NOT_FOUND, _) => Current::Absent,
            (code, None) if code.is_success() => Current::Untagged,
            (code, Some(etag)) if code.is_success() => Current::Tagged(etag),
            // Whoever may not see it, or cannot, cannot know whether the conditions are met.
            _ => return current,
        };
        match conditions.check_state(state) {
            Ok(()) => work.await,
            Err(code) => Answer::new(code),
        }
    }))
}

const fn says_where(number: OptionNumber) -> bool {
    matches!(number, OptionNumber::URI_HOST | OptionNumber::URI_PORT | OptionNumber::URI_PATH | OptionNumber::URI_QUERY)
}

#[cfg(test)]
mod tests;
