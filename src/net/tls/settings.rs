//! `tls` of everything that listens.

use crate::settings::{OneOrMany, config, config_enum};
use std::path::PathBuf;

config! {
    /// Certificates of a server. The files are read again when they change; what cannot be read leaves the old ones in use.
    pub struct ServerTls {
        /// PEM file with the certificate chain.
        pub cert: PathBuf,
        /// PEM file with the private key.
        pub key: PathBuf,
        /// Certificates for other names, by the name that a client asks for (SNI).
        pub names: Vec<NamedCertificate> = Vec::new(),
        /// PEM file with the authorities whose client certificates are taken; without it none is asked for.
        pub client_ca_file: Option<PathBuf> = None,
        /// Whether a client must show a certificate, if there is a `client_ca_file`.
        pub client_auth: ClientAuth = ClientAuth::Required,
        /// Oldest version of TLS that is spoken.
        pub min_version: TlsVersion = TlsVersion::Tls12,
    }
}

config! {
    /// A certificate for some names.
    pub struct NamedCertificate {
        /// Names such as `logs.example.com` or `*.example.com`.
        pub names: OneOrMany<String>,
        /// PEM file with the certificate chain.
        pub cert: PathBuf,
        /// PEM file with the private key.
        pub key: PathBuf,
    }
}

config_enum! {
    /// Whether a client must show a certificate.
    pub enum ClientAuth {
        /// It must.
        Required = "required",
        /// It may; its subject is known where it does.
        Optional = "optional",
    }
}

config_enum! {
    /// A version of TLS.
    pub enum TlsVersion {
        /// TLS 1.2.
        Tls12 = "1.2",
        /// TLS 1.3.
        Tls13 = "1.3",
    }
}
