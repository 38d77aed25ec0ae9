//! Clients that speak TLS.

use std::sync::Arc;

use etcd_prism_tests::raw::RawConnection;
use etcd_prism_tests::request::{get, put};
use prost::Message;
use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::certs::{Authority, Identity};

/// Whom a client trusts, who it is, and what it offers to speak.
#[derive(Clone)]
pub(crate) struct Dialler {
    config: Arc<ClientConfig>,
}

impl Dialler {
    pub(crate) fn new(trusts: &Authority, identity: Option<&Identity>) -> Self {
        Self::offering(trusts, identity, &[b"h2"])
    }

    pub(crate) fn offering(trusts: &Authority, identity: Option<&Identity>, protocols: &[&[u8]]) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("TLS versions")
            .with_root_certificates(trusts.roots());
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let certificate = vec![identity.certificate()];
                builder.with_client_auth_cert(certificate, identity.private_key()).expect("an identity")
            }
        };
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Self { config: Arc::new(config) }
    }

    /// A TLS connection. A server that refuses the client's certificate says so only afterwards.
    pub(crate) async fn handshake(&self, address: &str) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from("127.0.0.1").expect("a name");
        TlsConnector::from(self.config.clone()).connect(name, stream).await
    }

    /// A connection on which a request was answered, and the server's certificate; or why there is none.
    pub(crate) async fn connect(
        &self,
        address: &str,
    ) -> Result<(RawConnection, CertificateDer<'static>), String> {
        let stream = self.handshake(address).await.map_err(|error| error.to_string())?;
        let session = stream.get_ref().1;
        assert_eq!(session.alpn_protocol(), Some(b"h2".as_slice()));
        let certificate = session.peer_certificates().expect("a certificate")[0].clone().into_owned();
        let (connection, _) =
            RawConnection::over(stream, 1 << 20).await.map_err(|error| error.to_string())?;
        works(&connection, "/registry/pods/tls").await?;
        Ok((connection, certificate))
    }
}

/// Writes `key` and reads it.
pub(crate) async fn works(connection: &RawConnection, key: &str) -> Result<(), String> {
    let calls = [
        ("/etcdserverpb.KV/Put", put(key, "1").encode_to_vec()),
        ("/etcdserverpb.KV/Range", get(key).encode_to_vec()),
    ];
    for (path, message) in calls {
        let answer = connection.call(path, &message).await;
        if !answer.is_ok() {
            return Err(format!("{path}: {:?} {:?}", answer.status(), answer.error));
        }
    }
    Ok(())
}
