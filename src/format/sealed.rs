//! Layer 1.2: data encrypted with a key, and bound to what it belongs to.
//!
//! Knows: the layout, and the one cipher (XChaCha20-Poly1305). Does not know: where keys come from,
//! or whose they are. Nonces are given: nothing here asks for chance.
//!
//! ```text
//! key id 16, nonce 24, ciphertext as long as the data, tag 16
//! ```

use std::fmt;

use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::bytes::{Put, Take};

const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;
pub(crate) const SECRET_BYTES: usize = 32;

/// A key. Its bytes are overwritten when it is dropped, and never printed.
#[derive(Clone)]
pub(crate) struct Secret(Zeroizing<[u8; SECRET_BYTES]>);

impl Secret {
    pub(crate) fn new(bytes: [u8; SECRET_BYTES]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    pub(crate) fn of(bytes: &[u8]) -> Option<Self> {
        Some(Self::new(bytes.try_into().ok()?))
    }

    pub(crate) fn bytes(&self) -> &[u8; SECRET_BYTES] {
        &self.0
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new((&*self.0).into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Encrypts `data`; `None` when there is more of it than the cipher takes (256 GiB). A nonce must
/// never come twice with a key: 24 bytes of chance never do.
pub(crate) fn seal(
    (key, secret): (Uuid, &Secret),
    nonce: [u8; NONCE_BYTES],
    binding: &[u8],
    data: &[u8],
) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(16 + NONCE_BYTES + data.len() + TAG_BYTES);
    out.put(key.as_bytes());
    out.put(&nonce);
    out.put(data);
    let body = out.get_mut(16 + NONCE_BYTES..)?;
    let tag = secret.cipher().encrypt_inout_detached(&nonce.into(), binding, body.into()).ok()?;
    out.put(&tag);
    Some(out)
}

/// With which key it was encrypted.
pub(crate) fn key_of(sealed: &[u8]) -> Option<Uuid> {
    Take(sealed).uuid()
}

/// The data; `None` when it was not encrypted with this key, or not for this, or was changed.
pub(crate) fn unseal(secret: &Secret, binding: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut take = Take(sealed);
    take.uuid()?;
    let nonce: [u8; NONCE_BYTES] = take.slice(NONCE_BYTES)?.try_into().ok()?;
    let (body, tag) = take.0.split_last_chunk::<TAG_BYTES>()?;
    let mut data = Zeroizing::new(body.to_vec());
    let (nonce, tag) = (nonce.into(), (*tag).into());
    let opened =
        secret.cipher().decrypt_inout_detached(&nonce, binding, data.as_mut_slice().into(), &tag);
    opened.ok().map(|()| data)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed() -> (Secret, Vec<u8>) {
        let secret = Secret::new([7; 32]);
        let sealed = seal((Uuid::from_u128(9), &secret), [3; 24], b"bound to", b"data").unwrap();
        (secret, sealed)
    }

    #[test]
    fn data_comes_back_with_its_key_and_only_to_what_it_is_bound_to() {
        let (secret, sealed) = sealed();
        assert_eq!(key_of(&sealed), Some(Uuid::from_u128(9)));
        assert_eq!(sealed.len(), super::super::body::SEALED_BYTES + 4);
        assert_eq!(**unseal(&secret, b"bound to", &sealed).unwrap(), *b"data");
        assert!(unseal(&secret, b"another", &sealed).is_none());
        assert!(unseal(&Secret::new([8; 32]), b"bound to", &sealed).is_none());
    }

    #[test]
    fn every_flipped_bit_behind_the_key_id_and_every_cut_is_noticed() {
        let (secret, good) = sealed();
        for bit in 16 * 8..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(unseal(&secret, b"bound to", &bad).is_none(), "bit {bit}");
        }
        for cut in 0..good.len() {
            assert!(unseal(&secret, b"bound to", &good[..cut]).is_none(), "cut {cut}");
        }
    }

    /// The vector of draft-irtf-cfrg-xchacha-03, A.3.1: the cipher is the one that others know.
    #[test]
    fn the_cipher_is_the_published_one() {
        let hex = |text: &str| -> Vec<u8> {
            let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
            let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16);
            digits.chunks(2).map(|digits| pair(digits).unwrap()).collect()
        };
        let key: Vec<u8> = (0x80..0xa0).collect();
        let nonce: Vec<u8> = (0x40..0x58).collect();
        let bound = hex("50515253c0c1c2c3c4c5c6c7");
        let data = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip \
            for the future, sunscreen would be it.";
        let secret = Secret::of(&key).unwrap();
        let nonce = nonce.try_into().unwrap();
        let sealed = seal((Uuid::nil(), &secret), nonce, &bound, data).unwrap();
        let ciphertext = &sealed[16 + NONCE_BYTES..];
        assert_eq!(ciphertext[..16], hex("bd6d179d3e83d43b9576579493c0e939")[..]);
        assert_eq!(ciphertext[data.len()..], hex("c0875924c1c7987947deafd8780acf49")[..]);
    }
}
