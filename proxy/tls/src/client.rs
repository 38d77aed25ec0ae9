//! TLS towards shards.

use etcd_prism_config::ClientTls;
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;

use crate::error::TlsError;
use crate::pem::{Opener, PemFile};
use crate::reload::{Reloading, Source};
use crate::{ALPN_H2, provider};

pub struct ClientFiles {
    ca: PemFile,
    identity: Option<(PemFile, PemFile)>,
}

impl Source for ClientTls {
    type Files = ClientFiles;
    type Config = ClientConfig;

    fn read(&self, opener: &mut Opener) -> Result<ClientFiles, TlsError> {
        let ca = opener.open(&self.ca)?;
        let identity = match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => Some((opener.open(cert)?, opener.open(key)?)),
            _ => None,
        };
        Ok(ClientFiles { ca, identity })
    }

    fn build(&self, files: &ClientFiles) -> Result<ClientConfig, TlsError> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Setup)?
            .with_root_certificates(files.ca.roots()?);
        let mut config = match &files.identity {
            None => builder.with_no_client_auth(),
            Some((cert, key)) => {
                builder.with_client_auth_cert(cert.certificates()?, key.private_key()?).map_err(|reason| {
                    TlsError::Pair { cert: cert.path.clone(), key: key.path.clone(), reason }
                })?
            }
        };
        config.alpn_protocols = vec![ALPN_H2.to_vec()];
        config.resumption = Resumption::disabled();
        Ok(config)
    }

    fn describe(&self) -> String {
        self.ca.display().to_string()
    }
}

// === impl ReloadingClientConfig ===

impl Reloading<ClientTls> {
    /// The name that the server's certificate must carry on a connection to `host`: the configured `server_name`, else
    /// `host` itself (a DNS name or an IP address, without brackets).
    ///
    /// # Errors
    ///
    /// `host` is neither.
    pub fn server_name(&self, host: &str) -> Result<ServerName<'static>, TlsError> {
        let name = self.source().server_name.as_deref().unwrap_or(host);
        ServerName::try_from(name.to_owned()).map_err(|_| TlsError::ServerName { name: name.to_owned() })
    }
}
