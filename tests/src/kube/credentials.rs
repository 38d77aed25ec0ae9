//! Keys and certificates of an API server, made for one test.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

/// The bearer token of a member of `system:masters`.
pub const TOKEN: &str = "etcd-prism-tests";

const CERT: &str = "serving.crt";
const KEY: &str = "serving.key";
const SERVICE_ACCOUNT_KEY: &str = "service-accounts.key";
const SERVICE_ACCOUNT_PUBLIC_KEY: &str = "service-accounts.pub";
const TOKENS: &str = "tokens.csv";

/// Files for the API server's flags, and what its clients need.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// Of the serving certificate, which clients trust as it is.
    pub cert: PathBuf,
    pub key: PathBuf,
    /// The key that signs service account tokens.
    pub service_account_key: PathBuf,
    pub service_account_public_key: PathBuf,
    /// `token,user,uid,groups`.
    pub tokens: PathBuf,
    trusted: CertificateDer<'static>,
}

impl Credentials {
    /// Writes new ones to `folder`, which is made.
    pub fn create(folder: &Path) -> Self {
        std::fs::create_dir_all(folder).expect("folder of the credentials");
        let write = |name: &str, text: String| {
            let path = folder.join(name);
            std::fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            path
        };
        let serving = KeyPair::generate().expect("a key pair");
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("certificate parameters");
        let cert = params.self_signed(&serving).expect("a certificate");
        let accounts = KeyPair::generate().expect("a key pair");
        Self {
            cert: write(CERT, cert.pem()),
            key: write(KEY, serving.serialize_pem()),
            service_account_key: write(SERVICE_ACCOUNT_KEY, accounts.serialize_pem()),
            service_account_public_key: write(SERVICE_ACCOUNT_PUBLIC_KEY, accounts.public_key_pem()),
            tokens: write(TOKENS, format!("{TOKEN},admin,admin,\"system:masters\"\n")),
            trusted: cert.der().clone(),
        }
    }

    /// Those that [`create`](Self::create) wrote to `folder`.
    pub fn open(folder: &Path) -> Self {
        let cert = folder.join(CERT);
        let trusted = CertificateDer::from_pem_file(&cert);
        let trusted = trusted.unwrap_or_else(|error| panic!("{}: {error}", cert.display()));
        Self {
            cert,
            key: folder.join(KEY),
            service_account_key: folder.join(SERVICE_ACCOUNT_KEY),
            service_account_public_key: folder.join(SERVICE_ACCOUNT_PUBLIC_KEY),
            tokens: folder.join(TOKENS),
            trusted,
        }
    }

    /// For clients that speak HTTP/2 to the API server.
    pub(crate) fn client_tls(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.trusted.clone()).expect("our own certificate");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("TLS versions of the provider")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Arc::new(config)
    }
}

/// The name in the serving certificate.
pub(crate) fn server_name() -> ServerName<'static> {
    ServerName::try_from("127.0.0.1").expect("an address")
}
