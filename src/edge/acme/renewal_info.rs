//! When the authority itself wants a certificate renewed (RFC 9773): before it revokes one, or to spread its load. It
//! only asks and reads; what to do by then is the schedule's.

use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use x509_parser::{certificate::X509Certificate, extensions::ParsedExtension, prelude::FromDer};

use super::{
    authority::{Authority, AuthorityError, read, retry_at},
    backoff::{after, between},
    history::Renewal,
    jose::base64url,
};

/// How often an authority that names no time is asked: RFC 9773 4.3 has this as its example.
const LOOK_AGAIN: Duration = Duration::from_secs(6 * 3600);

/// Never more often, whatever it says.
const LOOK_AGAIN_MIN: Duration = Duration::from_secs(60);

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RenewalInfo {
    suggested_window: Window,
}

#[derive(Debug, Deserialize)]
struct Window {
    start: Timestamp,
    end: Timestamp,
}

/// A certificate's name in this protocol: its issuer's key id and its serial number.
pub(crate) fn certificate_id(leaf: &[u8]) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(leaf).ok()?;
    let key_id =
        certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(authority) => authority.key_identifier.as_ref(),
            _ => None,
        })?;
    Some(format!("{}.{}", base64url(key_id.0), base64url(certificate.raw_serial())))
}

/// Ask about one certificate; `spread` from 0 to 1 says where in the window.
pub(crate) async fn ask(
    authority: &Authority,
    url: &str,
    id: &str,
    spread: f64,
) -> Result<Renewal, AuthorityError> {
    let answer = authority.get(&format!("{}/{id}", url.trim_end_matches('/'))).await?;
    let info: RenewalInfo = read(&answer)?;
    let now = Timestamp::now();
    let asked = retry_at(&answer.headers, now).map_or(LOOK_AGAIN, |at| between(now, at));
    Ok(Renewal {
        at: Some(moment(&info.suggested_window, spread)),
        look_again: after(now, asked.max(LOOK_AGAIN_MIN)),
    })
}

/// No word on a certificate, or none to be had now.
pub(crate) fn silence(known: Option<&Renewal>) -> Renewal {
    let at = known.and_then(|known| known.at);
    Renewal { at, look_again: after(Timestamp::now(), LOOK_AGAIN) }
}

fn moment(window: &Window, spread: f64) -> Timestamp {
    after(window.start, between(window.start, window.end).mul_f64(spread.clamp(0.0, 1.0)))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, Issuer, KeyIdMethod, KeyPair, SerialNumber};

    use super::*;

    #[test]
    fn a_certificate_is_named_as_in_the_example_of_rfc_9773() {
        let key_id = [
            0x69, 0x88, 0x5b, 0x6b, 0x87, 0x46, 0x40, 0x41, 0xe1, 0xb3, 0x7b, 0x84, 0x7b, 0xa0, 0xae, 0x2c,
            0xde, 0x01, 0xc8, 0xd4,
        ];
        let mut ca = CertificateParams::new(Vec::new()).unwrap();
        ca.key_identifier_method = KeyIdMethod::PreSpecified(key_id.to_vec());
        let issuer = Issuer::new(ca, KeyPair::generate().unwrap());
        let mut params = CertificateParams::new(["a.example".to_owned()]).unwrap();
        params.use_authority_key_identifier_extension = true;
        params.serial_number = Some(SerialNumber::from_slice(&[0x87, 0x65, 0x43, 0x21]));
        let leaf = params.signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap();
        assert_eq!(certificate_id(leaf.der()).as_deref(), Some("aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"));
    }

    #[test]
    fn the_moment_lies_in_the_window() {
        let text = r#"{"suggestedWindow":{"start":"2026-01-02T04:00:00Z","end":"2026-01-03T04:00:00Z"},
            "explanationURL":"https://ca.example/why"}"#;
        let info: RenewalInfo = serde_json::from_str(text).unwrap();
        for (spread, want) in
            [(0.0, "2026-01-02T04:00:00Z"), (0.5, "2026-01-02T16:00:00Z"), (1.0, "2026-01-03T04:00:00Z")]
        {
            assert_eq!(moment(&info.suggested_window, spread).to_string(), want);
        }
    }
}
