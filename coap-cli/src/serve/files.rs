//! `--files DIR`: a folder under `/files/`.
//!
//! There is no way out of it. The path of a request is checked segment by segment, and every file is opened relative to
//! the open folder by `cap-std`, which refuses whatever would lead outside, symbolic links included, without a moment
//! between the check and the use. Links that stay inside are followed. Hidden files (`.name`) do not exist here: they
//! are where secrets lie, and where half-written files are.
//!
//! A file is read stretch by stretch, as it is asked for; what is remembered in between ([`ahead`]) only saves
//! time. The entity-tag, made of the time of the last change and the length, says whether it is still the same. The format of a file follows from its name.

use core::hash::{Hash, Hasher};
use core::sync::atomic::{AtomicU64, Ordering};
use std::hash::DefaultHasher;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path as FsPath, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::UNIX_EPOCH;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, Metadata};
use coap_core::{Code, ContentFormat, ETag, Response, Wanted};
use coap_driver::router::{
    Answer, BodyError, BodyReader, IntoResponse, KnownETags, Path, Preconditions, Router, State, get,
};

use super::ahead::{self, Ahead, Stretch};
use super::link;
use super::upload::Draft;

/// What is read of a file at a time; a block is never longer.
const MOST_READ: usize = 64 << 10;

/// The longest list of a folder, in bytes.
const MOST_LISTED: usize = 1 << 20;

/// What is written to a file at a time.
const WRITE_AT_ONCE: usize = 32 << 10;

/// A served folder.
pub(crate) struct Files {
    pub(super) root: Dir,
    writable: bool,
    /// One change at a time: conditions are checked and met in one step, as far as peers go.
    pub(super) writing: Mutex<()>,
    drafts: AtomicU64,
    pub(super) ahead: Ahead,
}

/// Why a request is not carried out.
pub(super) type Refusal = (Code, String);

/// GET of files and folders; PUT and DELETE of files if the folder is writable.
pub(super) fn router(files: Files) -> Router {
    let (at_root, below) = (get(read_root), get(read));
    let below = if files.writable { below.put(write).delete(remove) } else { below };
    Router::new().route("/", at_root).route("/{*path}", below).with_state(Arc::new(files))
}

type Shared = State<Arc<Files>>;

async fn read_root(files: Shared, wanted: Wanted, known: KnownETags) -> Result<Response, Refusal> {
    read(files, Path(Vec::new()), wanted, known).await
}

async fn read(
    State(files): Shared,
    Path(path): Path<Vec<String>>,
    wanted: Wanted,
    known: KnownETags,
) -> Result<Response, Refusal> {
    // The first block is always read anew. Those after it do not have to wait for the disk each time.
    if let Some(stretch) = Some(wanted).filter(|wanted| wanted.offset > 0).and_then(|_| files.ahead.find(&path, wanted))
    {
        let known = known.contains(&stretch.etag);
        return Ok(if known { ahead::valid(&stretch.etag) } else { stretch.answer(wanted) });
    }
    blocking(move || files.read(path, wanted, |etag| known.contains(etag))).await
}

async fn write(
    State(files): Shared,
    Path(path): Path<Vec<String>>,
    conditions: Preconditions,
    content: BodyReader,
) -> Result<Code, Trouble> {
    let target = Target::file(&path)?;
    // What is not to be written costs no upload.
    let draft = blocking(move || Draft::begin(files, target.path, conditions)).await?;
    receive(draft, content).await
}

async fn receive(mut draft: Draft, mut content: BodyReader) -> Result<Code, Trouble> {
    let mut ahead = Vec::new();
    while let Some(part) = content.chunk().await? {
        ahead.extend_from_slice(&part);
        if ahead.len() >= WRITE_AT_ONCE {
            let bytes = core::mem::take(&mut ahead);
            draft = blocking(move || draft.append(&bytes)).await?;
        }
    }
    Ok(blocking(move || draft.append(&ahead)?.finish()).await?)
}

/// Why a file is not written.
enum Trouble {
    Refused(Refusal),
    Broken(BodyError),
}

impl From<Refusal> for Trouble {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<BodyError> for Trouble {
    fn from(error: BodyError) -> Self {
        Self::Broken(error)
    }
}

impl IntoResponse for Trouble {
    fn into_response(self, method: Code) -> Answer {
        match self {
            Self::Refused(refusal) => refusal.into_response(method),
            Self::Broken(error) => error.into_response(method),
        }
    }
}

async fn remove(
    State(files): Shared,
    Path(path): Path<Vec<String>>,
    conditions: Preconditions,
) -> Result<Response, Refusal> {
    blocking(move || files.remove(&path, &conditions)).await
}

/// A disk may take its time; the other peers do not wait for it.
async fn blocking<T: Send + 'static>(act: impl FnOnce() -> Result<T, Refusal> + Send + 'static) -> Result<T, Refusal> {
    let done = tokio::task::spawn_blocking(act).await;
    done.unwrap_or_else(|_| Err((Code::INTERNAL_SERVER_ERROR, String::new())))
}

impl Files {
    /// Opens the folder.
    pub(super) fn open(folder: &FsPath, writable: bool) -> io::Result<Self> {
        let root = Dir::open_ambient_dir(folder, ambient_authority())?;
        Ok(Self { root, writable, writing: Mutex::new(()), drafts: AtomicU64::new(0), ahead: Ahead::default() })
    }

    /// A name for a file that is being written, of which there are no two.
    pub(super) fn draft_name(&self) -> String {
        format!(".coap-{}-{}.tmp", std::process::id(), self.drafts.fetch_add(1, Ordering::Relaxed))
    }

    fn read(
        &self,
        path: Vec<String>,
        wanted: Wanted,
        is_known: impl FnOnce(&ETag) -> bool,
    ) -> Result<Response, Refusal> {
        let target = Target::new(&path)?;
        let found = self.root.metadata(&target.path).map_err(refuse)?;
        if found.is_dir() {
            return self.list(&path, &target);
        }
        // Looked at before it is opened: to open a pipe would wait for a writer, perhaps for ever.
        if target.is_folder || !found.is_file() {
            return Err(not_found());
        }
        let mut file = self.root.open(&target.path).map_err(refuse)?;
        let found = file.metadata().map_err(refuse)?;
        let etag = etag(&found)?;
        self.ahead.forget_others(&path, &etag);
        if is_known(&etag) {
            return Ok(ahead::valid(&etag));
        }
        let (offset, size) = (wanted.offset.min(found.len()), found.len());
        let most = if offset > 0 { MOST_READ } else { wanted.max.min(MOST_READ) };
        let length = most.min(usize::try_from(size - offset).unwrap_or(most));
        let mut data = vec![0; length];
        file.seek(SeekFrom::Start(offset)).and_then(|_| file.read_exact(&mut data)).map_err(|error| {
            match error.kind() {
                io::ErrorKind::UnexpectedEof => {
                    (Code::SERVICE_UNAVAILABLE, "the file became shorter while it was read".to_owned())
                }
                _ => refuse(error),
            }
        })?;
        let stretch = Stretch { etag, format: format_of(&target.path), size, offset, data: data.into() };
        let response = stretch.answer(wanted);
        if length > wanted.max {
            self.ahead.keep(path, stretch);
        }
        Ok(response)
    }

    /// The entries, as links: folders end with a slash.
    fn list(&self, path: &[String], target: &Target) -> Result<Response, Refusal> {
        let mut links = Vec::new();
        let mut length = 0;
        for entry in self.root.read_dir(&target.path).map_err(refuse)? {
            let Ok(name) = entry.map_err(refuse)?.file_name().into_string() else { continue };
            let path: Vec<_> = path.iter().filter(|segment| !segment.is_empty()).cloned().chain([name]).collect();
            // What cannot be asked for is not offered: hidden names, links that lead outside, pipes.
            let Some((link, _)) = Target::new(&path).ok().and_then(|target| self.entry(&path, &target)) else {
                continue;
            };
            length += link.len() + 1;
            if length > MOST_LISTED {
                return Err((Code::NOT_IMPLEMENTED, "this folder has too many entries to be listed".to_owned()));
            }
            links.push(link);
        }
        links.sort_unstable();
        Ok(Response::content(ContentFormat::LINK_FORMAT, links.join(",")))
    }

    fn entry(&self, path: &[String], target: &Target) -> Option<(String, Metadata)> {
        let found = self.root.metadata(&target.path).ok()?;
        let mut segments: Vec<&str> = core::iter::once("files").chain(path.iter().map(String::as_str)).collect();
        let parameters = if found.is_dir() {
            segments.push("");
            ";ct=40".to_owned()
        } else if found.is_file() {
            format!(";ct={};sz={}", format_of(&target.path).number(), found.len())
        } else {
            return None;
        };
        Some((link(&segments, &parameters), found))
    }

    fn remove(&self, path: &[String], conditions: &Preconditions) -> Result<Response, Refusal> {
        let target = Target::file(path)?;
        let _one_at_a_time = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.check(&target.path, conditions)?;
        if old.is_some() {
            self.root.remove_file(&target.path).map_err(refuse)?;
            self.ahead.forget();
        }
        // RFC 7252 §5.8.4: what was not there is gone too.
        Ok(Response::new(Code::DELETED))
    }

    /// The entity-tag of the file that is there now, if it is as the request wants it to be.
    pub(super) fn check(&self, path: &FsPath, conditions: &Preconditions) -> Result<Option<ETag>, Refusal> {
        let there = match self.root.metadata(path) {
            Ok(found) if found.is_file() => Some(etag(&found)?),
            Ok(_) => return Err((Code::METHOD_NOT_ALLOWED, "not a file".to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(refuse(error)),
        };
        conditions.check(there.as_ref()).map_err(unmet)?;
        Ok(there)
    }
}

/// What a path asks for, below the folder.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    path: PathBuf,
    /// It ends with a slash.
    is_folder: bool,
}

impl Target {
    fn new(segments: &[String]) -> Result<Self, Refusal> {
        let (is_folder, segments) = match segments {
            [inner @ .., last] if last.is_empty() => (true, inner),
            [] => (true, segments),
            _ => (false, segments),
        };
        let mut path = PathBuf::new();
        for segment in segments {
            if !is_name(segment) {
                return Err(not_found());
            }
            path.push(segment);
        }
        if segments.is_empty() {
            path.push(".");
        }
        Ok(Self { path, is_folder })
    }

    /// For what is done to files alone.
    fn file(segments: &[String]) -> Result<Self, Refusal> {
        let target = Self::new(segments)?;
        if target.is_folder {
            return Err((Code::METHOD_NOT_ALLOWED, "a folder is neither written nor deleted".to_owned()));
        }
        Ok(target)
    }
}

/// A name that means one file in one folder, on every system: no separator of any, no drive and no stream (`C:`), no
/// `..`, and nothing hidden.
fn is_name(segment: &str) -> bool {
    !segment.is_empty() && !segment.starts_with('.') && !segment.contains(['/', '\\', ':', '\0'])
}

fn etag(of: &Metadata) -> Result<ETag, Refusal> {
    let changed = of.modified().map_err(refuse)?.into_std();
    // Before 1970: how long before.
    let nanos = changed.duration_since(UNIX_EPOCH).unwrap_or_else(|error| error.duration()).as_nanos();
    let mut hash = DefaultHasher::new();
    (nanos, of.len()).hash(&mut hash);
    ETag::new(&hash.finish().to_be_bytes()).ok_or_else(not_found)
}

fn format_of(path: &FsPath) -> ContentFormat {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    match extension.to_ascii_lowercase().as_str() {
        "txt" | "text" | "md" | "log" | "csv" => ContentFormat::TEXT_PLAIN,
        "json" => ContentFormat::JSON,
        "cbor" => ContentFormat::CBOR,
        "xml" => ContentFormat::XML,
        "exi" => ContentFormat::EXI,
        "wlnk" => ContentFormat::LINK_FORMAT,
        "senml" => ContentFormat::SENML_JSON,
        "senmlc" => ContentFormat::SENML_CBOR,
        _ => ContentFormat::OCTET_STREAM,
    }
}

fn not_found() -> Refusal {
    (Code::NOT_FOUND, "no such file".to_owned())
}

fn unmet(code: Code) -> Refusal {
    (code, "the file is not in the state that the request asks for".to_owned())
}

/// What the system says, without its words: they may tell a peer about this machine.
pub(super) fn refuse(error: io::Error) -> Refusal {
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::NotFound | Kind::NotADirectory | Kind::InvalidFilename => not_found(),
        // Also what `cap-std` says of a link that leads outside.
        Kind::PermissionDenied | Kind::ReadOnlyFilesystem => (Code::FORBIDDEN, "not allowed here".to_owned()),
        Kind::StorageFull | Kind::QuotaExceeded => (Code::SERVICE_UNAVAILABLE, "no space is left here".to_owned()),
        _ => (Code::INTERNAL_SERVER_ERROR, "the file cannot be used".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(segments: &[&str]) -> Result<Target, Code> {
        let segments: Vec<_> = segments.iter().map(|segment| (*segment).to_owned()).collect();
        Target::new(&segments).map_err(|(code, _)| code)
    }

    #[test]
    fn a_path_is_names_below_the_folder() {
        let plain = Target { path: PathBuf::from_iter(["a", "b.txt"]), is_folder: false };
        assert_eq!(target(&["a", "b.txt"]), Ok(plain));
        let folder = Target { path: PathBuf::from("a"), is_folder: true };
        assert_eq!(target(&["a", ""]), Ok(folder));
        let root = Target { path: PathBuf::from("."), is_folder: true };
        assert_eq!((target(&[]), target(&[""])), (Ok(Target { path: PathBuf::from("."), is_folder: true }), Ok(root)));
    }

    #[test]
    fn nothing_else_is_a_path() {
        for bad in ["..", ".", "a/b", "/etc", "a\\b", "C:", "a:b", "a\0b", ".ssh", "../x", "..\\x", "/"] {
            assert_eq!(target(&[bad]), Err(Code::NOT_FOUND), "{bad:?}");
            assert_eq!(target(&["a", bad]), Err(Code::NOT_FOUND), "{bad:?}");
        }
        assert_eq!(target(&["a", "", "b"]), Err(Code::NOT_FOUND));
        assert_eq!(target(&["", ""]), Err(Code::NOT_FOUND));
    }

    #[test]
    fn the_name_says_the_format() {
        for (name, format) in [
            ("a.txt", ContentFormat::TEXT_PLAIN),
            ("a.JSON", ContentFormat::JSON),
            ("a", ContentFormat::OCTET_STREAM),
            ("a.tar.gz", ContentFormat::OCTET_STREAM),
        ] {
            assert_eq!(format_of(FsPath::new(name)), format, "{name}");
        }
    }
}
