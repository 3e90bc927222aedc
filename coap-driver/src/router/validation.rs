//! Entity-tags that are made, and conditions that are seen to (RFC 7252 §5.10.6, §5.10.8), around handlers that do neither.

use coap_core::{Body, Code, OptionNumber, Request, Response};

use super::FIRST_BLOCK;
use super::asked::Asked;
use super::etag;
use super::extract::{Current, FromRequest, Incoming, Preconditions};
use super::handler::{HandlerFuture, SharedHandler};
use super::method::{Reader, Tags};
use super::middleware::Inbound;
use super::response::{Answer, Content};

/// Calls a handler, and tags its answer where its route wants that.
pub(super) fn call(
    handler: &SharedHandler<()>,
    incoming: &Incoming<'_>,
    tags: Tags,
) -> Result<HandlerFuture, Response> {
    let work = handler.call(incoming, &())?;
    if tags == Tags::Given {
        return Ok(work);
    }
    let asked = Asked::of(incoming);
    Ok(Box::pin(async move { asked.fit(tag(work.await)) }))
}

fn tag(mut answer: Answer) -> Answer {
    if let (Code::CONTENT, None, Content::Here(Body::Whole(content))) =
        (answer.code, answer.options.etag(), &answer.content)
    {
        etag::tag(&mut answer.options, content);
    }
    answer
}

/// Looks at the current state first, as a GET would give it, and calls `handler` if the conditions are met: not before, as a
/// function that returns a future may act at once.
pub(super) fn conditional(
    handler: &SharedHandler<()>,
    incoming: &Incoming<'_>,
    tags: Tags,
    readers: Vec<Reader<'_, ()>>,
) -> Result<HandlerFuture, Response> {
    let conditions = Preconditions::from_request(incoming, &())?;
    let mut request = Request::get();
    for (number, value) in incoming.options().iter().filter(|(number, _)| says_where(*number)) {
        // It was an option of the same number.
        let _ = request.options.push(number, value);
    }
    let mut representations = Vec::new();
    for Reader { handler, tags, format } in readers {
        match format {
            Some(format) => request.options.set_accept(format),
            None => drop(request.options.remove(OptionNumber::ACCEPT)),
        }
        let reading = Incoming { request: &request, wanted: FIRST_BLOCK, upload: None, ..*incoming };
        match handler.call(&reading, &()) {
            Ok(reading) => representations.push((reading, tags)),
            Err(response) if representations.is_empty() => return Err(response),
            Err(_) => {}
        }
    }
    let (handler, kept) = (handler.clone(), Inbound::new(incoming));
    Ok(Box::pin(async move {
        if let Err(answer) = check(&conditions, representations).await {
            return answer;
        }
        let work = call(&handler, &kept.incoming(), tags);
        match work {
            Ok(work) => work.await,
            Err(response) => response.into(),
        }
    }))
}

/// Whether the conditions are met. The first of the representations says whether the resource is there.
async fn check(conditions: &Preconditions, representations: Vec<(HandlerFuture, Tags)>) -> Result<(), Answer> {
    let mut unmet = Code::PRECONDITION_FAILED;
    for (index, (reading, tags)) in representations.into_iter().enumerate() {
        let current = reading.await;
        let current = if tags == Tags::Made { tag(current) } else { current };
        let etag = current.options.etag();
        let state = match (current.code, &etag) {
            (Code::NOT_FOUND, _) if index == 0 => Current::Absent,
            (code, None) if code.is_success() => Current::Untagged,
            (code, Some(etag)) if code.is_success() => Current::Tagged(etag),
            // Whoever may not see it, or cannot, cannot know whether the conditions are met.
            _ if index == 0 => return Err(current),
            _ => continue,
        };
        match conditions.check_state(state) {
            Ok(()) => return Ok(()),
            Err(code) if matches!(state, Current::Absent) => return Err(Answer::new(code)),
            Err(code) => unmet = code,
        }
    }
    Err(Answer::new(unmet))
}

const fn says_where(number: OptionNumber) -> bool {
    matches!(number, OptionNumber::URI_HOST | OptionNumber::URI_PORT | OptionNumber::URI_PATH | OptionNumber::URI_QUERY)
}

#[cfg(test)]
mod tests;
