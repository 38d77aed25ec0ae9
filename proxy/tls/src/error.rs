//! Why there is no TLS configuration.

use std::path::PathBuf;

/// Why files or names cannot be used. Holds paths and reasons, never what a file holds.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TlsError {
    /// The file cannot be read.
    #[error("cannot read {}: {reason}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The files changed all the while they were being read.
    #[error("{} and the files that belong to it keep changing", path.display())]
    Unsettled {
        /// One of the files.
        path: PathBuf,
    },
    /// The file is not well-formed PEM.
    #[error("{} is not well-formed PEM: {reason}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong with its form.
        reason: &'static str,
    },
    /// The file has no CERTIFICATE section.
    #[error("{} holds no PEM certificate", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// The file has no section with a key that can be used.
    #[error("{} holds no PEM private key (PKCS#8, PKCS#1 or SEC1, without a passphrase)", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// A certificate of a CA cannot be trusted as one.
    #[error("{} holds a certificate that cannot be a CA: {reason}", path.display())]
    Ca {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: rustls::Error,
    },
    /// The private key is of another certificate, or one of the two is of no known kind.
    #[error("{} and {} do not make a pair: {reason}", cert.display(), key.display())]
    Pair {
        /// The certificate chain.
        cert: PathBuf,
        /// The private key.
        key: PathBuf,
        /// Why.
        reason: rustls::Error,
    },
    /// A certificate that is no X.509, or whose names cannot be read.
    #[error("a peer certificate is malformed: {reason}")]
    Certificate {
        /// Which part.
        reason: &'static str,
    },
    /// Neither a DNS name nor an IP address.
    #[error("{name:?} is not a server name")]
    ServerName {
        /// The text.
        name: String,
    },
    /// The library refused the combination.
    #[error("TLS cannot be set up: {0}")]
    Setup(rustls::Error),
}
