//! `-o FILE`: what is downloaded is `FILE.part` until it is complete, so that half of a file never looks like all of it.
//!
//! `--resume NOTE` keeps the part of a download that was interrupted, and notes how far it is and of which state of the
//! resource (its ETag). The note never claims more than the part has, whenever the program is killed.

use core::fmt;
use core::time::Duration;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use coap_core::ETag;
use coap_driver::Resume;

use crate::exit::{Exit, Failure, reason};

/// What stands for standard output.
pub(crate) const STDOUT: &str = "-";

/// A file that is being written.
#[derive(Debug)]
pub(crate) struct Saving {
    file: File,
    target: PathBuf,
    /// Where it is until it is complete. `None`: the target is a device or a pipe, which takes things as they come.
    part: Option<PathBuf>,
    written: u64,
    keeps_part: bool,
}

impl Saving {
    /// Begins a file.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub(crate) fn begin(target: &Path) -> Result<Self, Failure> {
        let (target, part) = place(target);
        let file = match &part {
            Some(part) => {
                let file = own(part)?;
                file.set_len(0).map_err(|error| cannot_write(part, &error))?;
                file
            }
            None => File::create(&target).map_err(|error| cannot_write(&target, &error))?,
        };
        Ok(Self { file, target, part, written: 0, keeps_part: false })
    }

    /// Whether it could be written, as far as that can be told before anything is sent.
    ///
    /// # Errors
    ///
    /// It is a folder, or in none.
    pub(crate) fn check(target: &Path) -> Result<(), Failure> {
        if target.as_os_str() == STDOUT {
            return Ok(());
        }
        let cannot = |why: fmt::Arguments<'_>| {
            Err(Failure::local(format_args!("cannot write {}: {why}; nothing was sent", target.display())))
        };
        if target.is_dir() {
            return cannot(format_args!("it is a folder"));
        }
        match target.parent() {
            Some(folder) if !folder.as_os_str().is_empty() && !folder.is_dir() => {
                cannot(format_args!("there is no folder {}", folder.display()))
            }
            _ => Ok(()),
        }
    }

    /// Goes on with what is there, from `offset` on, and leaves it there if it does not come to its end.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub(crate) fn go_on(target: &Path, offset: u64) -> Result<Self, Failure> {
        let (target, part) = place(target);
        let file = own(part.as_ref().unwrap_or(&target))?;
        let mut saving = Self { file, target, part, written: offset, keeps_part: true };
        let cut = saving.file.set_len(offset).and_then(|()| saving.file.seek(SeekFrom::Start(offset)));
        cut.map_err(|error| saving.fails(&error))?;
        Ok(saving)
    }

    /// How much of `target` is there to go on with, in bytes.
    pub(crate) fn so_far(target: &Path) -> u64 {
        let (_, part) = place(target);
        part.and_then(|part| fs::metadata(part).ok()).map_or(0, |found| found.len())
    }

    /// Writes the next bytes.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.file.write_all(bytes).map_err(|error| self.fails(&error))?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// How much there is, in bytes, that of earlier runs included.
    pub(crate) const fn written(&self) -> u64 {
        self.written
    }

    /// What was written survives even a machine that loses its power.
    fn settle(&self) -> Result<(), Failure> {
        self.file.sync_data().map_err(|error| self.fails(&error))
    }

    /// It is complete, and gets its name.
    pub(crate) fn finish(mut self) -> Result<(), Failure> {
        let Some(part) = self.part.take() else { return Ok(()) };
        let done = self.file.sync_all().and_then(|()| {
            // Whoever may read the file that is replaced may read this one.
            if let Ok(old) = fs::metadata(&self.target) {
                self.file.set_permissions(old.permissions())?;
            }
            fs::rename(&part, &self.target)
        });
        done.map_err(|error| {
            self.part = Some(part);
            cannot_write(&self.target, &error)
        })
    }

    fn fails(&self, error: &io::Error) -> Failure {
        cannot_write(self.part.as_ref().unwrap_or(&self.target), error)
    }
}

impl Drop for Saving {
    fn drop(&mut self) {
        if let Some(part) = self.part.take().filter(|_| !self.keeps_part) {
            // What stays says by its name what it is.
            let _ = fs::remove_file(part);
        }
    }
}

/// Opens a file that nobody else writes, or makes it. What is in it stays.
fn own(path: &Path) -> Result<File, Failure> {
    loop {
        let opened = OpenOptions::new().write(true).create(true).truncate(false).open(path);
        let file = opened.map_err(|error| cannot_write(path, &error))?;
        if !lock(&file) {
            return Err(Failure::local(format_args!(
                "the response came, but another download writes {}: name another file with --output",
                path.display()
            )));
        }
        // Whoever had it may have given it its name since, or removed it: it must not be written over.
        if is_at(&file, path) {
            return Ok(file);
        }
    }
}

/// False: another program has it locked. It is freed when it is closed.
#[cfg(unix)]
fn lock(file: &File) -> bool {
    use rustix::fs::{FlockOperation, flock};
    use rustix::io::Errno;

    // Some file systems know no locks.
    flock(file, FlockOperation::NonBlockingLockExclusive) != Err(Errno::WOULDBLOCK)
}

#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;

    let id = |found: fs::Metadata| (found.dev(), found.ino());
    let there = fs::metadata(path).map(id).ok();
    there.is_some() && file.metadata().map(id).ok() == there
}

#[cfg(not(unix))]
fn lock(_: &File) -> bool {
    true
}

#[cfg(not(unix))]
fn is_at(_: &File, _: &Path) -> bool {
    true
}

/// Where a file ends up, and where it is until then.
fn place(target: &Path) -> (PathBuf, Option<PathBuf>) {
    // The file that a link names is replaced, not the link.
    let target = fs::canonicalize(target).unwrap_or_else(|_| target.to_owned());
    let part = match fs::metadata(&target) {
        // `-o /dev/null` must not put a file in its place.
        Ok(found) if !found.is_file() => None,
        _ => Some(with_suffix(&target, ".part")),
    };
    (target, part)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// Where a note is written, to take the place of the old one in one step.
fn renewed(note: &Path) -> PathBuf {
    with_suffix(note, ".new")
}

/// The same for all names of a file.
fn absolute(path: &Path) -> PathBuf {
    fs::canonicalize(path).or_else(|_| std::path::absolute(path)).unwrap_or_else(|_| path.to_owned())
}

fn cannot_write(file: &Path, error: &io::Error) -> Failure {
    let text = format!("the response came, but {} cannot be written: {}", file.display(), reason(error));
    Failure::new(Exit::Local, text)
}

/// How often the note is renewed. What came after it comes again.
const RENEW: Duration = Duration::from_secs(1);

/// The first line of a note, so that no other file is taken for one, and overwritten.
const HEAD: &str = "coap download 1";

/// The note of `--resume`.
#[derive(Debug)]
pub(crate) struct Note {
    path: PathBuf,
    uri: String,
    renewed: Option<Instant>,
}

impl Note {
    /// Reads the note at `path`, if there is one: how far the download of `uri` to `output` is.
    ///
    /// # Errors
    ///
    /// It is not a note, or that of another download, or `output` cannot be there in part.
    pub(crate) fn about(path: &Path, uri: &str, output: &Path) -> Result<(Self, Option<Resume>), Failure> {
        let (target, part) = place(output);
        let Some(part) = part.filter(|_| output.as_os_str() != STDOUT) else {
            return Err(Failure::usage(format_args!(
                "{} is no file that part of a download could be kept in: leave out --resume",
                output.display()
            )));
        };
        // Each would be written over the other.
        let content = [target, part].map(|path| absolute(&path));
        if [path, &renewed(path)].iter().any(|note| content.contains(&absolute(note))) {
            return Err(Failure::usage(format_args!(
                "{} is where the content goes: name another file with --resume",
                path.display()
            )));
        }
        let note = Self::open(path, uri)?;
        Saving::check(path)?;
        Ok(note)
    }

    fn open(path: &Path, uri: &str) -> Result<(Self, Option<Resume>), Failure> {
        let note = Self { path: path.to_owned(), uri: uri.to_owned(), renewed: None };
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok((note, None)),
            Err(error) => {
                return Err(Failure::usage(format_args!("cannot read {}: {}", path.display(), reason(&error))));
            }
        };
        let text = String::from_utf8(text).unwrap_or_default();
        let mut lines = text.lines();
        let head = lines.next();
        let (noted, how_far) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
        match how_far.parse() {
            Ok(resume) if head == Some(HEAD) && noted == uri => Ok((note, Some(resume))),
            Ok(_) if head == Some(HEAD) => {
                Err(Failure::usage(format_args!("{} is about the download of {noted}, not of {uri}", path.display())))
            }
            _ => Err(Failure::usage(format_args!(
                "{} is not the note of a download: name another file with --resume",
                path.display()
            ))),
        }
    }

    /// Notes how far `saving` is, if that was long ago.
    ///
    /// # Errors
    ///
    /// The note, or what it is about, cannot be written.
    pub(crate) fn renew(&mut self, saving: &Saving, etag: &ETag) -> Result<(), Failure> {
        if self.renewed.is_some_and(|renewed| renewed.elapsed() < RENEW) {
            return Ok(());
        }
        self.write(saving, etag)
    }

    /// Notes how far `saving` is.
    ///
    /// # Errors
    ///
    /// The note, or what it is about, cannot be written.
    pub(crate) fn write(&mut self, saving: &Saving, etag: &ETag) -> Result<(), Failure> {
        // First what the note is about.
        saving.settle()?;
        let text = format!("{HEAD}\n{}\n{}\n", self.uri, Resume::new(saving.written, etag.clone()));
        let new = renewed(&self.path);
        let written = fs::write(&new, text).and_then(|()| fs::rename(&new, &self.path));
        self.renewed = Some(Instant::now());
        written.map_err(|error| {
            Failure::new(Exit::Local, format_args!("{} cannot be written: {}", self.path.display(), reason(&error)))
        })
    }

    /// The download is complete.
    pub(crate) fn discard(self) {
        // If it stays, the next download finds another file, or none, and begins anew.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use core::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            static NUMBER: AtomicU32 = AtomicU32::new(0);
            let name = format!("coap-save-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
            let path = std::env::temp_dir().join(name);
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(&self.0).unwrap();
            let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort_unstable();
            names
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn etag() -> ETag {
        ETag::new(b"v1").unwrap()
    }

    #[test]
    fn a_file_has_its_name_when_it_is_complete() {
        let folder = Folder::new();
        let target = folder.0.join("file");
        fs::write(&target, "old").unwrap();
        let mut saving = Saving::begin(&target).unwrap();
        saving.write(b"ne").unwrap();
        saving.write(b"w").unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"old");
        assert_eq!(folder.names(), ["file", "file.part"]);
        saving.finish().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"new");
        assert_eq!(folder.names(), ["file"]);
    }

    #[cfg(unix)]
    #[test]
    fn a_file_is_written_by_one_at_a_time() {
        let folder = Folder::new();
        let target = folder.0.join("file");
        let mut first = Saving::begin(&target).unwrap();
        first.write(b"first").unwrap();
        for failure in [Saving::begin(&target).unwrap_err(), Saving::go_on(&target, 2).unwrap_err()] {
            assert!(failure.exit == Exit::Local && failure.to_string().contains("file.part"), "{failure}");
        }
        first.finish().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"first");
        // One after the other they may.
        drop(Saving::begin(&target).unwrap());
        let mut third = Saving::begin(&target).unwrap();
        third.write(b"third").unwrap();
        third.finish().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"third");
        assert_eq!(folder.names(), ["file"]);
    }

    #[test]
    fn what_is_given_up_leaves_nothing_behind() {
        let folder = Folder::new();
        let target = folder.0.join("file");
        let mut saving = Saving::begin(&target).unwrap();
        saving.write(b"half").unwrap();
        drop(saving);
        assert!(folder.names().is_empty());
    }

    #[test]
    fn what_is_to_be_resumed_stays_and_is_cut_where_it_goes_on() {
        let folder = Folder::new();
        let target = folder.0.join("file");
        assert_eq!(Saving::so_far(&target), 0);
        let mut saving = Saving::go_on(&target, 0).unwrap();
        saving.write(b"half and more").unwrap();
        drop(saving);
        assert_eq!(folder.names(), ["file.part"]);
        assert_eq!(Saving::so_far(&target), 13);
        let mut saving = Saving::go_on(&target, 4).unwrap();
        saving.write(b" done").unwrap();
        saving.finish().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"half done");
        assert_eq!(folder.names(), ["file"]);
    }

    #[cfg(unix)]
    #[test]
    fn neither_a_device_nor_a_link_is_replaced_and_rights_stay() {
        use std::os::unix::fs::{PermissionsExt, symlink};

        let mut saving = Saving::begin(Path::new("/dev/null")).unwrap();
        assert!(saving.part.is_none());
        saving.write(b"x").unwrap();
        saving.finish().unwrap();

        let folder = Folder::new();
        let (target, link) = (folder.0.join("file"), folder.0.join("link"));
        fs::write(&target, "old").unwrap();
        fs::set_permissions(&target, fs::Permissions::from_mode(0o600)).unwrap();
        symlink("file", &link).unwrap();
        let mut saving = Saving::begin(&link).unwrap();
        saving.write(b"new").unwrap();
        saving.finish().unwrap();
        assert!(link.is_symlink());
        assert_eq!(fs::read(&target).unwrap(), b"new");
        assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_note_says_how_far_the_part_is() {
        let folder = Folder::new();
        let (target, path) = (folder.0.join("file"), folder.0.join("note"));
        let (mut note, none) = Note::open(&path, "coap://h/a").unwrap();
        assert_eq!(none, None);
        let mut saving = Saving::go_on(&target, 0).unwrap();
        saving.write(&[1; 2_048]).unwrap();
        note.write(&saving, &etag()).unwrap();
        saving.write(&[2; 1_024]).unwrap();
        // Too soon: the note keeps what it said.
        note.renew(&saving, &etag()).unwrap();
        let (note, resume) = Note::open(&path, "coap://h/a").unwrap();
        assert_eq!(resume, Some(Resume::new(2_048, etag())));
        assert!(Saving::so_far(&target) >= 2_048);
        note.discard();
        assert_eq!(folder.names(), ["file.part"]);
    }

    #[test]
    fn a_note_is_beside_what_it_is_about() {
        let folder = Folder::new();
        let target = folder.0.join("file");
        for (note, output) in [("file", "file"), ("file.part", "file"), ("./file", "file"), ("file", "file.new")] {
            let failure = Note::about(&folder.0.join(note), "coap://h/a", &folder.0.join(output)).unwrap_err();
            assert!(failure.exit == Exit::Usage && failure.to_string().contains("another file"), "{note}: {failure}");
        }
        assert!(Note::about(&folder.0.join("note"), "coap://h/a", &target).is_ok());
        for output in ["-", "/dev/null"] {
            let failure = Note::about(&folder.0.join("note"), "coap://h/a", Path::new(output)).unwrap_err();
            assert!(failure.exit == Exit::Usage && failure.to_string().contains(output), "{failure}");
        }
    }

    #[test]
    fn no_other_file_is_taken_for_a_note() {
        let folder = Folder::new();
        let path = folder.0.join("thesis");
        for content in [&b"Once upon a time"[..], b"", b"\xff", b"coap download 1\ncoap://h/a\nsoon\n"] {
            fs::write(&path, content).unwrap();
            let failure = Note::open(&path, "coap://h/a").unwrap_err();
            assert_eq!(failure.exit, Exit::Usage);
            assert!(failure.to_string().contains("thesis"), "{failure}");
        }
        fs::write(&path, "coap download 1\ncoap://h/a\n1024 0a\n").unwrap();
        assert!(Note::open(&path, "coap://h/a").unwrap().1.is_some());
        let failure = Note::open(&path, "coap://h/b").unwrap_err();
        assert!(failure.to_string().contains("coap://h/a, not of coap://h/b"), "{failure}");
    }
}
