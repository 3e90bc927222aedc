//! `coap serve`: a server with a few resources, and the files of a folder.

mod ahead;
mod files;
mod large;
mod plugtest;
mod resources;
mod store;
mod upload;

use core::future::Future;
use core::pin::Pin;
use core::time::Duration;
use std::io;

use coap_core::link_format::{self, Filter, Link};
use coap_core::{Code, Config, ContentFormat, Local, Options, Scheme};
use coap_driver::Error;
use coap_driver::router::{Answer, Router};
use coap_tokio::{Server, TokioRuntime};

pub(crate) use plugtest::Extra;
pub(crate) use resources::{Clock, router};

use crate::args::{Credentials, JoinArg, Listener, ServeArgs};
use crate::exit::{Exit, Failure, reason};
use crate::{say, security, show, stop, trace};
use files::Files;
use plugtest::Plugtest;

/// How long handlers may go on after Ctrl-C.
const GRACE: Duration = Duration::from_secs(3);

/// Serves until it is told to stop.
pub(crate) async fn run(args: ServeArgs) -> Result<Exit, Failure> {
    let Site { router, clock, summary } = site(&args)?;
    let server = bind(&args).await?;
    // The secure ones come last.
    let plain = server.local_addrs().len().saturating_sub(args.security.coaps.len());
    for (index, addr) in server.local_addrs().iter().enumerate() {
        let scheme = if index < plain { Scheme::Coap } else { Scheme::Coaps };
        say(format_args!("coap: listening on {scheme}://{addr}"));
    }
    for JoinArg { group, interface } in args.join.iter().filter(|_| !args.noise.quiet) {
        let interface = interface.as_ref().map(|name| format!(" on {}", show::one_line(name))).unwrap_or_default();
        say(format_args!("coap: in the group {group}{interface}"));
    }
    if !args.noise.quiet {
        say(format_args!("coap: serving {}", show::one_line(&summary)));
    }
    let handle = server.shutdown_handle();
    tokio::spawn(clock);
    let serving = server.serve(router);
    tokio::pin!(serving);
    tokio::select! {
        ended = &mut serving => return ended.map(|()| Exit::Success).map_err(Failure::from),
        () = stop::told_to() => handle.shutdown(GRACE),
    }
    if !args.noise.quiet {
        say("coap: stopping");
    }
    tokio::select! {
        ended = &mut serving => return ended.map(|()| Exit::Success).map_err(Failure::from),
        // Whoever asks twice does not want to wait; the peers are still told.
        () = stop::told_to() => handle.shutdown(Duration::ZERO),
    }
    serving.await?;
    Ok(Exit::Success)
}

/// What is served.
struct Site {
    router: Router,
    /// Lets it change with time.
    clock: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// What is said about it.
    summary: String,
}

fn site(args: &ServeArgs) -> Result<Site, Failure> {
    if args.plugtest {
        let mut extras = args.extras.clone();
        if !args.security.coaps.is_empty() && !extras.contains(&Extra::Secure) {
            extras.push(Extra::Secure);
        }
        let plugtest = Plugtest::new(extras);
        let (summary, clock) = (plugtest.summary(), Box::pin(plugtest.clone().tick()));
        return Ok(Site { router: plugtest.router(), clock, summary });
    }
    let files = args.files.as_ref().map(|folder| {
        Files::open(folder, args.write).map_err(|error| {
            Failure::usage(format_args!("cannot serve the folder {}: {}", folder.display(), reason(&error)))
        })
    });
    let mut summary = resources::SUMMARY.to_owned();
    if let Some(folder) = &args.files {
        let how = if args.write { "to read and write" } else { "to read" };
        summary.push_str(&format!(", and {} under /files/ {how}", folder.display()));
    }
    let clock = Clock::new();
    let router = router(files.transpose()?, &clock);
    Ok(Site { router, clock: Box::pin(clock.tick()), summary })
}

async fn bind(args: &ServeArgs) -> Result<Server, Failure> {
    let runtime = TokioRuntime::current().map_err(|error| Failure::new(Exit::Local, error))?;
    let config = Config::builder().unproven_limit(args.limit_unproven).build().map_err(Failure::usage)?;
    let mut builder = Server::builder(runtime).config(config);
    for addr in args.bind()? {
        builder = builder.bind(addr);
    }
    for JoinArg { group, interface } in &args.join {
        builder = builder.join(*group, interface.as_deref());
    }
    for Listener { addr, own } in &args.security.coaps {
        builder = builder.secure(addr.clone(), security::server(&credentials(args, own), &args.security.library)?);
    }
    if args.noise.shows_messages() {
        builder = builder.on_message(trace::by_the_clock());
    }
    builder.server().await.map_err(|error| match error {
        Error::Bind { addr, source } => {
            // The plain ones are bound first: what both flags name, our own plain one has.
            let is_secure = args.security.coaps.iter().any(|listener| listener.addr.to_string() == addr);
            cannot_listen(&addr, &source, if is_secure { "--coaps" } else { "--bind" })
        }
        error => error.into(),
    })
}

/// What a secure listener shows: its own, or what is given for all, or what the plugtests agreed on.
fn credentials(args: &ServeArgs, own: &Credentials) -> Credentials {
    let none = Credentials::default();
    let given = if *own == none { args.security.shared() } else { own.clone() };
    if args.plugtest && given == none {
        return Credentials { psk: vec![security::PLUGTEST_PSK.to_owned()], ..none };
    }
    given
}

/// `flag` is the one that names the address.
fn cannot_listen(addr: &str, cause: &io::Error, flag: &str) -> Failure {
    let another = format!("; stop the program that has the port, or choose another with {flag} ADDR:PORT");
    let advice = match cause.kind() {
        io::ErrorKind::AddrInUse => another.as_str(),
        io::ErrorKind::AddrNotAvailable => "; use an address of this machine, or [::] for all of them",
        io::ErrorKind::PermissionDenied => "; ports below 1024 may need more rights",
        _ => "",
    };
    Failure::new(Exit::Network, format_args!("cannot listen on {addr}: {}{advice}", reason(cause)))
}

/// The links that the query selects; silence if a group was asked and there are none (RFC 6690 §4.1).
fn select(links: impl IntoIterator<Item = Link<'static>>, options: &Options, asked: Local) -> Answer {
    let filter = match Filter::new(options.uri_query()) {
        Ok(filter) => filter,
        Err(error) => return Answer::new(Code::BAD_REQUEST).with_body(error.to_string()),
    };
    let mut selected = links.into_iter().filter(|link| filter.matches(link)).peekable();
    if asked.group.is_some() && selected.peek().is_none() {
        return Answer::silence();
    }
    Answer::new(Code::CONTENT).with_content(ContentFormat::LINK_FORMAT, link_format::document(selected))
}

/// A link in the format of RFC 6690: each segment percent-encoded where a URI needs it, `parameters` as they are.
fn link(segments: &[&str], parameters: &str) -> String {
    let mut text = String::from("<");
    for segment in segments {
        text.push('/');
        for byte in segment.bytes() {
            // The unreserved characters of RFC 3986 §2.3, and nothing that could end the link.
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                text.push(char::from(byte));
            } else {
                text.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    text.push('>');
    text.push_str(parameters);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_cannot_be_broken_out_of() {
        assert_eq!(link(&["files", "a>,</b ü"], ";ct=0"), "</files/a%3E%2C%3C%2Fb%20%C3%BC>;ct=0");
    }

    #[test]
    fn a_port_in_use_is_said_with_its_address_and_a_way_out() {
        let failure = cannot_listen("[::]:5683", &io::Error::from(io::ErrorKind::AddrInUse), "--bind");
        assert_eq!(failure.exit, Exit::Network);
        let text = failure.to_string();
        assert!(text.starts_with("cannot listen on [::]:5683: ") && text.contains("--bind"), "{text}");
    }
}
