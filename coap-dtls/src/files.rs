//! Certificates and keys from files, in PEM or DER. Errors name the file.

use core::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustls_pki_types::CertificateDer;
use zeroize::Zeroizing;

use crate::credentials::{CertifiedKey, CredentialError};
use crate::pem;

/// The largest file that is read: several times a system's bundle of authorities.
const MAX_FILE: u64 = 4 << 20;

impl CertifiedKey {
    /// From files in PEM or DER, as [`from_pem`](Self::from_pem) and [`from_der`](Self::from_der) take them. They may be one file.
    ///
    /// # Errors
    /// Which file, and what is wrong with it.
    pub fn from_files(
        certificates: impl AsRef<Path>,
        key: impl AsRef<Path>,
        passphrase: Option<&str>,
    ) -> Result<Self, FileError> {
        let chain = certificates_from_file(certificates)?;
        let path = key.as_ref();
        let content = read(path)?;
        let key = if is_pem(&content) {
            pem::private_key(&content, passphrase)
        } else {
            pem::private_key_der(&content, passphrase)
        };
        key.and_then(|key| Self::new(chain, key)).map_err(|cause| FileError::new(path, cause))
    }
}

/// The certificates of a file, in its order: several in PEM, or one in DER.
///
/// # Errors
/// The file cannot be read, holds no certificate, or one that is malformed.
pub fn certificates_from_file(path: impl AsRef<Path>) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let path = path.as_ref();
    let content = read(path)?;
    let certificates = if is_pem(&content) {
        pem::certificates(&content)
    } else {
        let one = CertificateDer::from(content.to_vec());
        pem::check_certificate(&one).map(|()| vec![one]).map_err(|_| CredentialError::NoCertificate)
    };
    certificates.map_err(|cause| FileError::new(path, cause))
}

/// All certificates of a PEM text, in its order.
///
/// # Errors
/// [`CredentialError::NoCertificate`], [`CredentialError::Malformed`].
pub fn certificates_from_pem(text: impl AsRef<[u8]>) -> Result<Vec<CertificateDer<'static>>, CredentialError> {
    pem::certificates(text.as_ref())
}

/// A DER document begins with the tag of a sequence, which is no text.
fn is_pem(content: &[u8]) -> bool {
    content.first() != Some(&0x30)
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let failed = |error: io::Error| FileError { path: path.into(), cause: FileCause::Io(error) };
    let file = File::open(path).map_err(failed)?;
    // All room at once: a key must not stay behind in a buffer that was outgrown.
    let length = file.metadata().map_err(failed)?.len().min(MAX_FILE);
    let mut content = Zeroizing::new(Vec::with_capacity(length as usize + 1));
    file.take(MAX_FILE + 1).read_to_end(&mut content).map_err(failed)?;
    if content.len() as u64 > MAX_FILE {
        return Err(failed(io::Error::from(io::ErrorKind::FileTooLarge)));
    }
    Ok(content)
}

/// A file that cannot be used.
#[derive(Debug)]
pub struct FileError {
    path: PathBuf,
    cause: FileCause,
}

#[derive(Debug)]
enum FileCause {
    Io(io::Error),
    Credential(CredentialError),
}

impl FileError {
    fn new(path: &Path, cause: CredentialError) -> Self {
        Self { path: path.into(), cause: FileCause::Credential(cause) }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is wrong with what it holds; `None` if it could not be read.
    #[must_use]
    pub fn credential(&self) -> Option<CredentialError> {
        match &self.cause {
            FileCause::Io(_) => None,
            FileCause::Credential(error) => Some(*error),
        }
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.cause {
            FileCause::Io(error) => write!(f, "{path}: {error}"),
            FileCause::Credential(error) => write!(f, "{path}: {error}"),
        }
    }
}

impl core::error::Error for FileError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match &self.cause {
            FileCause::Io(error) => Some(error),
            FileCause::Credential(_) => None,
        }
    }
}
