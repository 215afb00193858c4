//! Why certificates and keys cannot be used.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// What is wrong with a file, or with two of them.
#[derive(Debug)]
pub enum TlsError {
    /// It cannot be read, or not taken for what it is to be.
    File {
        /// The file.
        path: PathBuf,
        /// What it was.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It holds nothing of the kind in PEM form.
    Lacks {
        /// The file.
        path: PathBuf,
        /// "certificate", "private key".
        what: &'static str,
    },
    /// The private key in it is encrypted.
    Encrypted {
        /// The file.
        path: PathBuf,
    },
    /// A certificate and a key do not belong together.
    Pair {
        /// File of the certificate.
        cert: PathBuf,
        /// File of the key.
        key: PathBuf,
        /// What shows it.
        source: Box<rustls::Error>,
    },
    /// Changes of the files would not be seen: there is no thread for it.
    Watch {
        /// The first of the files.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl TlsError {
    /// Something that was found in a file.
    pub fn in_file<E: Into<Box<dyn std::error::Error + Send + Sync>>>(path: &Path) -> impl FnOnce(E) -> TlsError {
        move |error| TlsError::File { path: path.to_owned(), source: error.into() }
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TlsError::File { path, .. } => write!(f, "{}", path.display()),
            TlsError::Lacks { path, what } => write!(f, "{}: it holds no {what} in PEM form", path.display()),
            TlsError::Encrypted { path } => write!(
                f,
                "{path}: the private key is encrypted with a passphrase, which nobody is there to type; write it without one, for \
                 the agent alone to read: `umask 077; openssl pkey -in {path} -out FILE`",
                path = path.display()
            ),
            TlsError::Pair { cert, key, .. } => {
                write!(f, "{} and {} do not go together", cert.display(), key.display())
            }
            TlsError::Watch { path, .. } => write!(f, "cannot start a thread to watch {}", path.display()),
        }
    }
}

impl std::error::Error for TlsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            TlsError::File { source, .. } => Some(&**source),
            TlsError::Pair { source, .. } => Some(&**source),
            TlsError::Watch { source, .. } => Some(source),
            TlsError::Lacks { .. } | TlsError::Encrypted { .. } => None,
        }
    }
}
