//! Who a certificate says that its holder is.

use std::fmt;
use std::net::IpAddr;

use rustls::pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

use crate::error::TlsError;

#[cfg(test)]
mod tests;

/// The names in one certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PeerNames {
    /// The subject's common name; the last where there are several, as Go has it (and so etcd's `--client-cert-allowed-cn`).
    pub common_name: Option<String>,
    /// The DNS names among the subject alternative names.
    pub dns: Vec<String>,
    /// The URIs among them, such as SPIFFE ids.
    pub uris: Vec<String>,
    /// The IP addresses among them.
    pub ips: Vec<IpAddr>,
}

/// The names in `cert`, which somebody else has verified.
///
/// # Errors
///
/// The certificate is malformed.
pub fn peer_names(cert: &CertificateDer<'_>) -> Result<PeerNames, TlsError> {
    let malformed = |reason| TlsError::Certificate { reason };
    let (rest, parsed) = parse_x509_certificate(cert).map_err(|_| malformed("not an X.509 certificate"))?;
    if !rest.is_empty() {
        return Err(malformed("bytes behind the certificate"));
    }
    let common_name = parsed.subject().iter_common_name().last();
    let common_name = common_name
        .map(|name| name.as_str().map(str::to_owned))
        .transpose()
        .map_err(|_| malformed("its common name is not text"))?;
    let mut names = PeerNames { common_name, ..PeerNames::default() };
    let alternatives =
        parsed.subject_alternative_name().map_err(|_| malformed("its alternative names cannot be read"))?;
    for name in alternatives.iter().flat_map(|extension| &extension.value.general_names) {
        match name {
            GeneralName::DNSName(name) => names.dns.push((*name).to_owned()),
            GeneralName::URI(uri) => names.uris.push((*uri).to_owned()),
            GeneralName::IPAddress(bytes) => {
                names.ips.push(ip(bytes).ok_or(malformed("an IP address of neither 4 nor 16 bytes"))?);
            }
            GeneralName::Invalid(..) => return Err(malformed("an alternative name is not text")),
            // Mail addresses, directory names and the like name no machine and no workload.
            _ => {}
        }
    }
    Ok(names)
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(IpAddr::from(v4));
    }
    <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from)
}

/// All names, for a log line.
impl fmt::Display for PeerNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let common_name = self.common_name.iter().map(|name| format!("CN={name:?}"));
        let dns = self.dns.iter().map(|name| format!("DNS={name:?}"));
        let uris = self.uris.iter().map(|uri| format!("URI={uri:?}"));
        let ips = self.ips.iter().map(|ip| format!("IP={ip}"));
        let all: Vec<String> = common_name.chain(dns).chain(uris).chain(ips).collect();
        f.write_str(if all.is_empty() { "no name" } else { "" })?;
        f.write_str(&all.join(" "))
    }
}
