use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};

use super::*;
use crate::testing::dns;

/// A certificate with these common names and alternative names.
fn certificate(common_names: &[&str], names: Vec<SanType>) -> CertificateDer<'static> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    for name in common_names {
        params.distinguished_name.push(DnType::CommonName, *name);
    }
    params.subject_alt_names = names;
    params.self_signed(&KeyPair::generate().expect("a key")).expect("a certificate").der().clone()
}

fn check(cert: &CertificateDer<'_>, expected: &str) {
    let found = peer_names(cert).map(|names| names.to_string()).unwrap_or_else(|error| error.to_string());
    assert_eq!(found, expected);
}

#[test]
fn names_of_all_kinds() {
    check(&certificate(&[], Vec::new()), "no name");
    check(&certificate(&["kube-apiserver"], Vec::new()), "CN=\"kube-apiserver\"");
    let names = vec![
        dns("a.example.com"),
        SanType::Rfc822Name("ops@example.com".try_into().expect("a mail address")),
        dns("*.example.com"),
        SanType::IpAddress([10, 0, 0, 1].into()),
        SanType::URI("spiffe://example.com/x".try_into().expect("a URI")),
        SanType::IpAddress("::1".parse().expect("an address")),
    ];
    check(
        &certificate(&["é"], names),
        "CN=\"é\" DNS=\"a.example.com\" DNS=\"*.example.com\" URI=\"spiffe://example.com/x\" IP=10.0.0.1 IP=::1",
    );
}

#[test]
fn what_is_no_certificate() {
    check(&CertificateDer::from(Vec::new()), "a peer certificate is malformed: not an X.509 certificate");
    check(
        &CertificateDer::from(vec![0x30, 0x80]),
        "a peer certificate is malformed: not an X.509 certificate",
    );
    let mut longer = certificate(&["x"], Vec::new()).to_vec();
    longer.push(0);
    check(&CertificateDer::from(longer), "a peer certificate is malformed: bytes behind the certificate");
}

#[test]
fn a_certificate_cut_anywhere_is_refused() {
    let whole = certificate(&["x"], vec![dns("a.example.com")]);
    for length in 0..whole.len() {
        assert!(peer_names(&CertificateDer::from(&whole[..length])).is_err(), "{length}");
    }
}
