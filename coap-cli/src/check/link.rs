//! TD_COAP_LINK: `/.well-known/core` and its filters (RFC 6690).

use coap_core::link_format::{self, Filter, Link};
use coap_core::{Block, Code, ContentFormat};

use super::wire::{Probe, name};
use super::{Outcome, Problem, block, expect, fail, inconclusive, unknown};

const CORE: &str = "/.well-known/core";

pub(super) async fn perform(number: &str, probe: &mut Probe) -> Outcome {
    match number {
        "01" => all(probe).await,
        "02" => filtered(probe, "rt=Type1").await,
        "03" => filtered(probe, "rt=*").await,
        "04" => filtered(probe, "rt=Type2").await,
        "05" => filtered(probe, "if=If*").await,
        "06" => filtered(probe, "sz=*").await,
        "07" => filtered(probe, "href=/link1").await,
        "08" => filtered(probe, "href=/link*").await,
        "09" => hierarchy(probe).await,
        _ => Err(unknown()),
    }
}

/// The links of a document.
async fn links(probe: &mut Probe, path: &str, query: Option<&str>) -> Result<Vec<Link<'static>>, Problem> {
    let mut request = probe.get(path);
    if let Some(query) = query {
        let _ = request.options.push_uri_query(query);
    }
    let first = probe.exchange(&request).await?.message;
    // RFC 6690 §4.1 leaves it open what a server says that finds nothing.
    if query.is_some() && first.code == Code::NOT_FOUND {
        return Ok(Vec::new());
    }
    expect::code(probe, &request, &first, &[Code::CONTENT])?;
    let format = expect::content_format(&request, &first)?;
    if format != ContentFormat::LINK_FORMAT {
        return Err(fail(format_args!("{} was answered in {format}", name(&request))));
    }
    let document = block::rest(probe, &request, first, Block::MAX_SZX).await?;
    let links = link_format::parse(&document).map_err(|error| fail(format_args!("{}: {error}", name(&request))))?;
    Ok(links.into_iter().map(Link::into_owned).collect())
}

async fn all(probe: &mut Probe) -> Outcome {
    if links(probe, CORE, None).await?.is_empty() {
        return Err(fail(format_args!("GET {CORE}: there is no link")));
    }
    Ok(())
}

/// The filter lets through what fits of the whole list, and nothing else.
async fn filtered(probe: &mut Probe, query: &str) -> Outcome {
    let all = links(probe, CORE, None).await?;
    let filter = Filter::new([query]).map_err(super::local)?;
    let targets = |links: &[Link<'_>]| {
        let mut targets: Vec<_> = links.iter().map(|link| link.target().to_owned()).collect();
        targets.sort_unstable();
        targets
    };
    let (fitting, other): (Vec<_>, Vec<_>) = all.into_iter().partition(|link| filter.matches(link));
    if fitting.is_empty() || other.is_empty() {
        let which = if fitting.is_empty() { "no link fits" } else { "every link fits" };
        return Err(inconclusive(format_args!("{which} {query}")));
    }
    let found = targets(&links(probe, CORE, Some(query)).await?);
    let wanted = targets(&fitting);
    if found == wanted {
        return Ok(());
    }
    Err(fail(format_args!("GET {CORE}?{query} lists {}, not {}", found.join(" "), wanted.join(" "))))
}

/// A link to links: `/path` of the plugtests, or another.
async fn hierarchy(probe: &mut Probe) -> Outcome {
    let all = links(probe, CORE, None).await?;
    let documents: Vec<_> = all
        .iter()
        .filter(|link| {
            link.target() != CORE && link.content_formats().any(|format| format == ContentFormat::LINK_FORMAT)
        })
        .collect();
    let document = documents.iter().find(|link| link.target() == "/path").or_else(|| documents.first());
    let Some(document) = document else { return Err(inconclusive("no link leads to links (ct=40)")) };
    let below = links(probe, document.target(), None).await?;
    let sub = below.iter().find(|link| link.target().starts_with('/') && link.target() != document.target());
    let Some(sub) = sub else {
        return Err(fail(format_args!("GET {}: no link leads further", document.target())));
    };
    let request = probe.get(sub.target());
    let answer = probe.exchange(&request).await?.message;
    expect::code(probe, &request, &answer, &[Code::CONTENT])
}
