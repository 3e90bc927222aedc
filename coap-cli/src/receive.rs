//! The content of a response on its way to a file, a pipe or a terminal: part by part, as it comes.

use core::future::Future;
use core::pin::Pin;
use std::io::{self, IsTerminal};
use std::path::Path;
use std::time::Instant;

use bytes::Bytes;
use coap_core::{Code, ContentFormat, ETag, Uri};
use coap_driver::Reply;
use coap_tokio::Download;
use tokio::io::{AsyncWriteExt, Stdout};

use crate::args::RequestArgs;
use crate::exit::{Exit, Failure, is_gone};
use crate::progress::Bar;
use crate::save::{Note, STDOUT, Saving};
use crate::say;
use crate::show::{self, Head, Rate};

/// What is longer is not laid out on a terminal, but printed as it comes.
const MOST_LAID_OUT: usize = 1 << 20;

/// The content of an error response is text for people: more of it is not read.
const MOST_DIAGNOSTIC: usize = 64 << 10;

/// A response, its content still to be read.
pub(crate) enum Response {
    Whole(Reply),
    Parts(Download),
}

/// Where it goes, and what the way there looks like.
pub(crate) struct Way<'a, S> {
    pub(crate) args: &'a RequestArgs,
    pub(crate) asked: &'a Uri,
    /// For `--resume`.
    pub(crate) note: Option<Note>,
    pub(crate) bar: Bar,
    /// Ready when somebody presses Ctrl-C.
    pub(crate) stop: Pin<&'a mut S>,
}

impl Response {
    pub(crate) fn head(&self) -> Head<'_> {
        match self {
            Self::Whole(reply) => reply.into(),
            Self::Parts(download) => download.into(),
        }
    }

    fn format(&self) -> Option<ContentFormat> {
        self.head().options.content_format()
    }

    /// Where the first part starts.
    fn offset(&self) -> u64 {
        match self {
            Self::Whole(_) => 0,
            Self::Parts(download) => download.offset,
        }
    }

    /// The next part; `None` at the end.
    async fn part(&mut self) -> Result<Option<Bytes>, Failure> {
        match self {
            Self::Whole(reply) => {
                let payload = core::mem::take(&mut reply.payload);
                Ok((!payload.is_empty()).then_some(payload))
            }
            Self::Parts(download) => Ok(download.chunk().await?),
        }
    }
}

impl<S: Future<Output = ()>> Way<'_, S> {
    /// A success goes to standard output or its file; an error response is not what was asked for, and goes to standard
    /// error, so that a script never takes it for content.
    pub(crate) async fn take(mut self, mut response: Response) -> Result<Exit, Failure> {
        self.bar.clear();
        let quiet = self.args.ask.noise.quiet;
        let head = response.head();
        let code = head.code;
        if !quiet {
            say(show::summary(head));
            if let Some(location) = show::location(head, self.asked) {
                say(format_args!("Location: {location}"));
            }
        }
        if !code.is_success() {
            return self.refused(response).await;
        }
        let file = self.args.output.as_deref().filter(|file| file.as_os_str() != STDOUT);
        // The content is the one that somebody has, and is not sent: nothing must not take its place.
        if let (Code::VALID, Some(file)) = (code, file) {
            if !quiet {
                say(format_args!("coap: {} is left as it is", file.display()));
            }
            return Ok(Exit::Success);
        }
        let start = Instant::now();
        let first = response.offset();
        let received = match file {
            Some(file) => self.write_file(&mut response, file).await,
            None => {
                let mut sink = Sink::new(response.format());
                match self.copy(&mut response, &mut sink).await {
                    Ok(received) => sink.finish(self.args.newline).await.map(|()| received),
                    Err(failure) => Err(failure),
                }
            }
        };
        self.bar.clear();
        match received {
            Ok(Received { bytes, parts }) if parts > 1 && !quiet => {
                let again = if first > 0 { format!(", after {first} that were there") } else { String::new() };
                say(format_args!("{bytes} bytes in {}{again}", Rate::new(bytes, start.elapsed())));
            }
            Ok(_) | Err(Stop::ReaderGone) => {}
            Err(Stop::Failed(failure)) => return Err(failure),
        }
        Ok(Exit::for_code(code))
    }

    async fn refused(mut self, mut response: Response) -> Result<Exit, Failure> {
        let mut content = Collected(Vec::new());
        // What has come of it is better than nothing.
        let _ = self.copy(&mut response, &mut content).await;
        let head = response.head();
        let text = show::diagnostic(response.format(), &content.0);
        match text {
            // What failed is said even to those who want to hear nothing else.
            text if self.args.ask.noise.quiet => {
                let text = text.map(|text| format!(": {}", text.replace('\n', " "))).unwrap_or_default();
                say(format_args!("coap: {} answered {}{text}", head.from, head.code));
            }
            Some(text) => say(text),
            None => {}
        }
        Ok(Exit::for_code(head.code))
    }

    async fn write_file(&mut self, response: &mut Response, file: &Path) -> Result<Received, Stop> {
        let tag = response.head().options.etag();
        let note = self.note.take().zip(tag);
        if note.is_none() && self.args.resume.is_some() && !self.args.ask.noise.quiet {
            say("coap: the server gives no ETag: if this is interrupted, it has to begin anew");
        }
        let mut sink = ToFile::open(file, response.offset(), note)?;
        match self.copy(response, &mut sink).await {
            Ok(received) => {
                sink.finish(self.args.newline)?;
                Ok(received)
            }
            Err(Stop::Failed(failure)) => Err(Stop::Failed(sink.give_up(failure))),
            Err(gone) => Err(gone),
        }
    }

    /// Takes part after part, to the end.
    async fn copy(&mut self, response: &mut Response, sink: &mut impl Take) -> Result<Received, Stop> {
        let mut received = Received { bytes: 0, parts: 0 };
        loop {
            let step = async {
                let Some(part) = response.part().await? else { return Ok(None) };
                sink.take(&part).await?;
                Ok(Some(part.len()))
            };
            let step: Result<_, Stop> = tokio::select! {
                biased;
                () = self.stop.as_mut() => Err(Failure::interrupted().into()),
                step = step => step,
            };
            let Some(length) = step? else { return Ok(received) };
            received.bytes += length as u64;
            received.parts += 1;
        }
    }
}

/// How much came.
struct Received {
    bytes: u64,
    parts: u64,
}

/// Why there is no more.
enum Stop {
    /// Whoever read our output has seen enough.
    ReaderGone,
    Failed(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

fn output(error: &io::Error) -> Stop {
    if is_gone(error) { Stop::ReaderGone } else { Failure::output(error).into() }
}

/// Where parts go.
trait Take {
    async fn take(&mut self, part: &[u8]) -> Result<(), Stop>;
}

/// The content of an error response.
struct Collected(Vec<u8>);

impl Take for Collected {
    async fn take(&mut self, part: &[u8]) -> Result<(), Stop> {
        self.0.extend_from_slice(part);
        if self.0.len() > MOST_DIAGNOSTIC { Err(Stop::ReaderGone) } else { Ok(()) }
    }
}

/// Standard output.
struct Sink {
    out: Stdout,
    format: Option<ContentFormat>,
    /// On a terminal: what may still be laid out.
    held: Option<Vec<u8>>,
    ends_line: bool,
}

impl Sink {
    fn new(format: Option<ContentFormat>) -> Self {
        let held = io::stdout().is_terminal().then(Vec::new);
        Self { out: tokio::io::stdout(), format, held, ends_line: false }
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        self.ends_line = bytes.ends_with(b"\n");
        self.out.write_all(bytes).await.map_err(|error| output(&error))
    }

    async fn finish(mut self, newline: bool) -> Result<(), Stop> {
        let on_terminal = self.held.is_some();
        if let Some(held) = self.held.take() {
            let body = show::body(self.format, &held).into_owned();
            self.write(&body).await?;
        }
        if newline && !(on_terminal && self.ends_line) {
            self.write(b"\n").await?;
        }
        self.out.flush().await.map_err(|error| output(&error))
    }
}

impl Take for Sink {
    async fn take(&mut self, part: &[u8]) -> Result<(), Stop> {
        let Some(held) = &mut self.held else { return self.write(part).await };
        held.extend_from_slice(part);
        if held.len() > MOST_LAID_OUT {
            let rest = held.split_off(show::whole_characters(held));
            let start = core::mem::replace(held, rest);
            // From here on it is not laid out.
            self.format = None;
            self.write(&show::printable(&start)).await?;
        }
        Ok(())
    }
}

/// A file, and the note about it.
struct ToFile {
    saving: Saving,
    note: Option<(Note, ETag)>,
}

impl ToFile {
    fn open(file: &Path, offset: u64, note: Option<(Note, ETag)>) -> Result<Self, Failure> {
        let Some((mut note, tag)) = note else {
            return Ok(Self { saving: Saving::begin(file)?, note: None });
        };
        let saving = Saving::go_on(file, offset)?;
        // The old note may be about another state: never are parts of both in one file.
        note.write(&saving, &tag)?;
        Ok(Self { saving, note: Some((note, tag)) })
    }

    fn finish(mut self, newline: bool) -> Result<(), Failure> {
        if newline {
            self.saving.write(b"\n")?;
        }
        self.saving.finish()?;
        if let Some((note, _)) = self.note {
            note.discard();
        }
        Ok(())
    }

    fn give_up(self, failure: Failure) -> Failure {
        let Some((mut note, tag)) = self.note else { return failure };
        match note.write(&self.saving, &tag) {
            Ok(()) => failure.and(format_args!("{} bytes are there: run it again to go on", self.saving.written())),
            // The last note still holds.
            Err(_) => failure,
        }
    }
}

impl Take for ToFile {
    async fn take(&mut self, part: &[u8]) -> Result<(), Stop> {
        self.saving.write(part)?;
        if let Some((note, tag)) = &mut self.note {
            note.renew(&self.saving, tag)?;
        }
        Ok(())
    }
}
