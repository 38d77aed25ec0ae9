//! TLS towards clients.

use std::sync::Arc;

use etcd_prism_config::ServerTls;
use rustls::ServerConfig;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};

use crate::allowed::AllowedNames;
use crate::error::TlsError;
use crate::pem::{Opener, PemFile};
use crate::reload::Source;
use crate::verifier::NamedClientVerifier;
use crate::{ALPN_H2, ALPN_HTTP1, provider};

pub struct ServerFiles {
    cert: PemFile,
    key: PemFile,
    client_ca: Option<PemFile>,
}

impl Source for ServerTls {
    type Files = ServerFiles;
    type Config = ServerConfig;

    fn read(&self, opener: &mut Opener) -> Result<ServerFiles, TlsError> {
        Ok(ServerFiles {
            cert: opener.open(&self.cert)?,
            key: opener.open(&self.key)?,
            client_ca: self.client_ca.as_ref().map(|path| opener.open(path)).transpose()?,
        })
    }

    fn build(&self, files: &ServerFiles) -> Result<ServerConfig, TlsError> {
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Setup)?;
        let builder = match &files.client_ca {
            Some(ca) => builder.with_client_cert_verifier(client_verifier(ca, &self.allowed_names)?),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder
            .with_single_cert(files.cert.certificates()?, files.key.private_key()?)
            .map_err(|reason| TlsError::Pair { cert: self.cert.clone(), key: self.key.clone(), reason })?;
        config.alpn_protocols = vec![ALPN_H2.to_vec(), ALPN_HTTP1.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    fn describe(&self) -> String {
        self.cert.display().to_string()
    }
}

fn client_verifier(ca: &PemFile, allowed: &[String]) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let roots = Arc::new(ca.roots()?);
    let chain = WebPkiClientVerifier::builder_with_provider(roots, provider())
        .build()
        .map_err(|error| TlsError::Setup(rustls::Error::General(error.to_string())))?;
    let allowed = AllowedNames::new(allowed);
    Ok(if allowed.is_everyone() { chain } else { Arc::new(NamedClientVerifier::new(chain, allowed)) })
}
