//! What ACME requests are wrapped in: JWS by the account's P-256 key (RFC 7515, RFC 8555 6.2), and the binding to an
//! account elsewhere (7.3.4). Bytes in, text out; it never sends anything.

use aws_lc_rs::{
    hmac,
    rand::SystemRandom,
    signature::{EcdsaKeyPair, KeyPair},
};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use serde_json::{Value, json};

/// Who signs.
#[derive(Debug, Clone, Copy)]
pub(crate) enum By<'a> {
    /// A key that has no account yet.
    Key,
    /// An account, by its URL.
    Account(&'a str),
}

/// base64url without padding.
pub(crate) fn base64url(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// A signed request body. An empty payload is ACME's way to read something.
pub(crate) fn signed(
    key: &EcdsaKeyPair,
    by: By<'_>,
    (nonce, url): (&str, &str),
    payload: &str,
) -> Result<String, String> {
    let protected = match by {
        By::Key => json!({ "alg": "ES256", "jwk": public(key)?, "nonce": nonce, "url": url }),
        By::Account(kid) => json!({ "alg": "ES256", "kid": kid, "nonce": nonce, "url": url }),
    };
    let (protected, payload) = (base64url(protected.to_string()), base64url(payload));
    let signature = key
        .sign(&SystemRandom::new(), format!("{protected}.{payload}").as_bytes())
        .map_err(|_| "the account's key cannot sign".to_owned())?;
    let signature = base64url(signature.as_ref());
    Ok(json!({ "protected": protected, "payload": payload, "signature": signature }).to_string())
}

/// The proof that the holder of an account elsewhere wants this key bound to it.
pub(crate) fn bound(key: &EcdsaKeyPair, id: &str, mac_key: &[u8], url: &str) -> Result<Value, String> {
    let protected = base64url(json!({ "alg": "HS256", "kid": id, "url": url }).to_string());
    let payload = base64url(public(key)?.to_string());
    let mac = hmac::Key::new(hmac::HMAC_SHA256, mac_key);
    let signature = base64url(hmac::sign(&mac, format!("{protected}.{payload}").as_bytes()));
    Ok(json!({ "protected": protected, "payload": payload, "signature": signature }))
}

/// The public half (RFC 7518 6.2.1).
fn public(key: &EcdsaKeyPair) -> Result<Value, String> {
    // An uncompressed point: 4, then both coordinates.
    let point = key.public_key().as_ref();
    let (Some(x), Some(y)) = (point.get(1..33), point.get(33..65)) else {
        return Err("the account's key is no P-256 key".to_owned());
    };
    Ok(json!({ "crv": "P-256", "kty": "EC", "x": base64url(x), "y": base64url(y) }))
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, UnparsedPublicKey};

    use super::*;

    fn decoded(text: &Value) -> Vec<u8> {
        BASE64_URL_SAFE_NO_PAD.decode(text.as_str().unwrap()).unwrap()
    }

    #[test]
    fn what_is_signed_can_be_verified_with_the_key_it_names() {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let text = signed(&key, By::Key, ("n1", "https://ca.example/new"), "{\"a\":1}").unwrap();
        let body: Value = serde_json::from_str(&text).unwrap();
        let protected: Value = serde_json::from_slice(&decoded(&body["protected"])).unwrap();
        assert_eq!(
            (&protected["nonce"], &protected["url"]),
            (&json!("n1"), &json!("https://ca.example/new"))
        );
        let jwk = &protected["jwk"];
        let point = [vec![4], decoded(&jwk["x"]), decoded(&jwk["y"])].concat();
        let signed = format!("{}.{}", body["protected"].as_str().unwrap(), body["payload"].as_str().unwrap());
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
        public.verify(signed.as_bytes(), &decoded(&body["signature"])).unwrap();
        let by_account = super::signed(&key, By::Account("https://ca.example/1"), ("n2", "u"), "").unwrap();
        let body: Value = serde_json::from_str(&by_account).unwrap();
        let protected: Value = serde_json::from_slice(&decoded(&body["protected"])).unwrap();
        assert!(protected["jwk"].is_null() && protected["kid"] == "https://ca.example/1");
    }
}
