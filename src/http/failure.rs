//! Why a client cannot be made.

use crate::error::BuildError;
use crate::net::tls::TlsError;
use std::fmt;

/// What keeps a client of one server from being made.
#[derive(Debug)]
pub enum ClientError {
    /// `headers` has a name that is not one.
    HeaderName(String),
    /// `headers` has a value, of this name, with characters that no header may have.
    HeaderValue(String),
    /// `auth` has characters that no header may have.
    Credentials,
    /// A setting, or a variable of the environment, is not the address of a proxy.
    Proxy {
        /// Its name.
        setting: &'static str,
    },
    /// A setting is not an address.
    Address {
        /// Its name.
        setting: &'static str,
    },
    /// `tls.key` without `tls.cert`.
    KeyAlone,
    /// A file of certificates or keys cannot be used.
    File {
        /// The setting that names it.
        setting: &'static str,
        /// What is wrong with it.
        source: TlsError,
    },
    /// The system's certificates cannot be used.
    Trust(rustls::Error),
    /// What the library says, without secrets.
    Library(String),
}

impl ClientError {
    /// What is wrong with the file that `setting` names.
    pub(super) fn file(setting: &'static str) -> impl FnOnce(TlsError) -> ClientError {
        move |source| ClientError::File { setting, source }
    }

    /// Whether another configuration is needed, not another host.
    pub fn is_config(&self) -> bool {
        match self {
            ClientError::HeaderName(_)
            | ClientError::HeaderValue(_)
            | ClientError::Credentials
            | ClientError::Address { .. }
            | ClientError::KeyAlone => true,
            ClientError::Proxy { setting } => *setting == "proxy",
            ClientError::File { .. } | ClientError::Trust(_) | ClientError::Library(_) => false,
        }
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientError::HeaderName(name) => write!(f, "`headers`: `{name}` is not a header name"),
            ClientError::HeaderValue(name) => {
                write!(f, "`headers`: `{name}` has characters that no header may have")
            }
            ClientError::Credentials => f.write_str("`auth` has characters that no HTTP header may have"),
            ClientError::Proxy { setting } => {
                write!(f, "`{setting}` is not a URL such as `http://proxy:3128`, and not `none`")
            }
            ClientError::Address { setting } => write!(f, "`{setting}` is not an address"),
            ClientError::KeyAlone => f.write_str("`tls.key` needs `tls.cert`"),
            ClientError::File { setting, .. } => write!(f, "`{setting}`"),
            ClientError::Trust(_) => f.write_str("the system's certificates cannot be used"),
            ClientError::Library(words) => write!(f, "HTTP client: {words}"),
        }
    }
}

impl std::error::Error for ClientError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ClientError::File { source, .. } => Some(source),
            ClientError::Trust(source) => Some(source),
            _ => None,
        }
    }
}

impl From<ClientError> for BuildError {
    fn from(error: ClientError) -> BuildError {
        if error.is_config() { BuildError::config(error) } else { BuildError::host(error) }
    }
}
