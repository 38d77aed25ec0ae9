//! Certificates, handshakes and log lines for tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use etcd_prism_config::{ClientTls, ServerTls};
use parking_lot::Mutex;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, SanType, date_time_ymd,
};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use crate::{ReloadingClientConfig, ReloadingServerConfig};

/// A CA.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key as PEM.
pub(crate) struct Identity {
    pub(crate) cert: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = params(name, &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self { issuer: CertifiedIssuer::self_signed(params, key).expect("a CA") }
    }

    pub(crate) fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// For server and client alike, good for `localhost` and `names`.
    pub(crate) fn issue(&self, common_name: &str, names: &[SanType]) -> Identity {
        self.sign(params(common_name, names))
    }

    pub(crate) fn issue_expired(&self, common_name: &str) -> Identity {
        let mut params = params(common_name, &[]);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
        self.sign(params)
    }

    fn sign(&self, mut params: CertificateParams) -> Identity {
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("a key");
        let cert = params.signed_by(&key, &self.issuer).expect("a certificate");
        Identity { cert: cert.pem(), key: key.serialize_pem() }
    }
}

pub(crate) fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().expect("a DNS name"))
}

fn params(common_name: &str, names: &[SanType]) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.subject_alt_names = [&[dns("localhost")], names].concat();
    params
}

/// A directory of PEM files.
pub(crate) struct Files {
    dir: tempfile::TempDir,
}

impl Files {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a directory") }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn root(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).expect("a file");
        path
    }

    /// `NAME.crt` and `NAME.key`.
    pub(crate) fn identity(&self, name: &str, identity: &Identity) -> (PathBuf, PathBuf) {
        (
            self.write(&format!("{name}.crt"), &identity.cert),
            self.write(&format!("{name}.key"), &identity.key),
        )
    }

    /// A server with `identity` that asks for client certificates when it has a CA for them.
    pub(crate) fn server(
        &self,
        identity: &Identity,
        client_ca: Option<&Authority>,
        allowed: &[&str],
    ) -> ServerTls {
        let (cert, key) = self.identity("server", identity);
        let client_ca = client_ca.map(|ca| self.write("client-ca.crt", ca.pem()));
        ServerTls {
            cert,
            key,
            client_ca,
            allowed_names: allowed.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    /// A client that trusts `ca` and shows `identity`.
    pub(crate) fn client(&self, ca: &Authority, identity: Option<&Identity>) -> ClientTls {
        let ca = self.write("ca.crt", ca.pem());
        let (cert, key) = identity.map(|identity| self.identity("client", identity)).unzip();
        ClientTls { ca, cert, key, server_name: None }
    }
}

pub(crate) fn server(tls: ServerTls) -> Arc<ServerConfig> {
    ReloadingServerConfig::load(tls).expect("a server").current()
}

pub(crate) fn client(tls: ClientTls) -> Arc<ClientConfig> {
    ReloadingClientConfig::load(tls).expect("a client").current()
}

pub(crate) type Connection = (server::TlsStream<DuplexStream>, client::TlsStream<DuplexStream>);

/// A connection to `localhost` over which both sides have sent a byte, or why the server and the client gave up.
pub(crate) async fn connect(
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
) -> Result<Connection, [String; 2]> {
    let (near, far) = duplex(64 * 1024);
    let name = ServerName::try_from("localhost").expect("a name");
    let serve = async {
        let mut stream = TlsAcceptor::from(server).accept(far).await?;
        greet(&mut stream).await.map(|()| stream)
    };
    let call = async {
        let mut stream = TlsConnector::from(client).connect(name, near).await?;
        greet(&mut stream).await.map(|()| stream)
    };
    match tokio::join!(serve, call) {
        (Ok(server), Ok(client)) => Ok((server, client)),
        (server, client) => Err([text(server.err()), text(client.err())]),
    }
}

/// Sends a byte each way: a TLS 1.3 client learns only now whether it was accepted.
pub(crate) async fn greet(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> std::io::Result<()> {
    stream.write_all(b"!").await?;
    stream.flush().await?;
    stream.read_u8().await.map(|_| ())
}

fn text(error: Option<std::io::Error>) -> String {
    error.map(|error| error.to_string()).unwrap_or_default()
}

/// The lines at ERROR and WARN that `run` logs.
pub(crate) fn logged<T>(run: impl FnOnce() -> T) -> (T, Vec<String>) {
    let lines = Lines::default();
    let value = tracing::subscriber::with_default(lines.clone(), run);
    let lines = lines.0.lock().clone();
    (value, lines)
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl tracing::Subscriber for Lines {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= tracing::Level::WARN
    }

    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = event.metadata().level().to_string();
        event.record(&mut |field: &tracing::field::Field, value: &dyn std::fmt::Debug| {
            line.push_str(&format!(" {field}={value:?}"));
        });
        self.0.lock().push(line);
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}
