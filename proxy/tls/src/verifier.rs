//! The check of client certificates: the chain, then the names.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use crate::allowed::AllowedNames;
use crate::names::peer_names;

/// Refuses, within the handshake, clients whose certificate carries none of the allowed names.
#[derive(Debug)]
pub(crate) struct NamedClientVerifier {
    chain: Arc<dyn ClientCertVerifier>,
    allowed: AllowedNames,
}

impl NamedClientVerifier {
    pub(crate) fn new(chain: Arc<dyn ClientCertVerifier>, allowed: AllowedNames) -> Self {
        Self { chain, allowed }
    }
}

impl ClientCertVerifier for NamedClientVerifier {
    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        // First the chain: nobody without a certificate of ours gets to fill the log.
        let verified = self.chain.verify_client_cert(end_entity, intermediates, now)?;
        let names = peer_names(end_entity).map_err(|error| {
            tracing::warn!(%error, "client refused");
            Error::InvalidCertificate(CertificateError::BadEncoding)
        })?;
        if !self.allowed.permits(&names) {
            tracing::warn!(%names, "client refused: its certificate carries no allowed name");
            return Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure));
        }
        Ok(verified)
    }

    fn offer_client_auth(&self) -> bool {
        self.chain.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.chain.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        self.chain.requires_raw_public_keys()
    }
}
