//! Certificates and keys out of PEM files.

use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};

use crate::error::TlsError;

#[cfg(test)]
mod tests;

/// A file's content. Has no `Debug`: it may be a private key.
pub(crate) struct PemFile {
    pub(crate) path: PathBuf,
    bytes: Vec<u8>,
}

/// Opens files and sums up what it saw, to tell one generation of them from the next.
#[derive(Default)]
pub struct Opener {
    sum: Sha256,
}

impl Opener {
    pub(crate) fn open(&mut self, path: &Path) -> Result<PemFile, TlsError> {
        let bytes = std::fs::read(path)
            .map_err(|error| TlsError::Read { path: path.to_owned(), reason: error.to_string() })?;
        self.sum.update(Sha256::digest(&bytes));
        Ok(PemFile { path: path.to_owned(), bytes })
    }

    /// The sum of all contents, in order.
    pub(crate) fn finish(self) -> [u8; 32] {
        self.sum.finalize().into()
    }
}

impl PemFile {
    /// All certificates, in file order; at least one.
    pub(crate) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let all = CertificateDer::pem_slice_iter(&self.bytes).collect::<Result<Vec<_>, _>>();
        match all {
            Ok(all) if !all.is_empty() => Ok(all),
            Ok(_) => Err(TlsError::NoCertificate { path: self.path.clone() }),
            Err(error) => Err(self.malformed(&error)),
        }
    }

    /// The first private key.
    pub(crate) fn private_key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        PrivateKeyDer::from_pem_slice(&self.bytes).map_err(|error| match error {
            pem::Error::NoItemsFound => TlsError::NoKey { path: self.path.clone() },
            error => self.malformed(&error),
        })
    }

    /// All certificates as CAs to trust.
    pub(crate) fn roots(&self) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in self.certificates()? {
            roots.add(certificate).map_err(|reason| TlsError::Ca { path: self.path.clone(), reason })?;
        }
        Ok(roots)
    }

    /// The library's own texts quote lines of the file, so none of them is passed on.
    fn malformed(&self, error: &pem::Error) -> TlsError {
        let reason = match error {
            pem::Error::MissingSectionEnd { .. } => "a section has no END line",
            pem::Error::IllegalSectionStart { .. } => "a BEGIN line is malformed",
            pem::Error::Base64Decode(_) => "a section is not base64",
            _ => "it cannot be decoded",
        };
        TlsError::Pem { path: self.path.clone(), reason }
    }
}
