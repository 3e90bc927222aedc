//! A file that is being received: written beside its place, and moved there when it is complete.
//!
//! A reader sees the old content or the new one, a full disk costs nobody the old one, and an upload that does not come to
//! its end leaves nothing behind.

use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use cap_std::fs::{File, OpenOptions};
use coap_core::Code;
use coap_driver::router::Preconditions;

use super::files::{Files, Refusal, refuse};

/// What is there of the new content.
pub(super) struct Draft {
    files: Arc<Files>,
    conditions: Preconditions,
    place: PathBuf,
    /// Where it is until then. `None`: it has been moved.
    temporary: Option<PathBuf>,
    file: File,
}

impl Draft {
    /// Begins, if the file at `place` is as it should be.
    pub(super) fn begin(files: Arc<Files>, place: PathBuf, conditions: Preconditions) -> Result<Self, Refusal> {
        files.check(&place, &conditions)?;
        let temporary = place.with_file_name(files.draft_name());
        let how = OpenOptions::new().write(true).create_new(true).clone();
        let file = files.root.open_with(&temporary, &how).map_err(refuse)?;
        Ok(Self { files, conditions, place, temporary: Some(temporary), file })
    }

    /// Adds bytes.
    pub(super) fn append(mut self, bytes: &[u8]) -> Result<Self, Refusal> {
        self.file.write_all(bytes).map_err(refuse)?;
        Ok(self)
    }

    /// Puts it into its place, if that is still as it should be: others may have written meanwhile.
    pub(super) fn finish(mut self) -> Result<Code, Refusal> {
        self.file.sync_all().map_err(refuse)?;
        let files = self.files.clone();
        let _one_at_a_time = files.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let old = files.check(&self.place, &self.conditions)?;
        if let Some(temporary) = &self.temporary {
            files.root.rename(temporary, &files.root, &self.place).map_err(refuse)?;
        }
        self.temporary = None;
        files.ahead.forget();
        Ok(if old.is_some() { Code::CHANGED } else { Code::CREATED })
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Some(temporary) = self.temporary.take() {
            // The error that came before is the one that counts.
            let _ = self.files.root.remove_file(temporary);
        }
    }
}
