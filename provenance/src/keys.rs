//! Ed25519 keys and their files.
//!
//! A key file is the PEM form of PKCS#8 (RFC 8410), as OpenSSL writes and reads it. Invariant: a secret
//! key is never printed, a key file is created with mode 0600, and an existing file is never replaced.

use std::fmt;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use repops::Digest;

/// A key file is far smaller.
const FILE_BYTES_MAX: u64 = 4096;
const PEM_BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const PEM_END: &str = "-----END PRIVATE KEY-----";
/// RFC 8410, section 7: `PrivateKeyInfo` version 0, algorithm 1.3.101.112, up to the 32 bytes of the seed.
const PKCS8_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// A signing key.
pub struct Key(SigningKey);

/// Who signed: 32 bytes, written as 64 hexadecimal characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PublicKey(pub [u8; 32]);

/// A signature.
pub type SignatureBytes = [u8; 64];

/// Why a key could not be made, read or written.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{}: a key is already there; it is not replaced", path.display())]
    Exists { path: PathBuf },
    #[error("{}: {problem}", path.display())]
    Format { path: PathBuf, problem: &'static str },
    #[error("the operating system gives no randomness: {0}")]
    Randomness(getrandom::Error),
}

impl Key {
    /// A new key from the operating system's randomness.
    pub fn generate() -> Result<Key, KeyError> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(KeyError::Randomness)?;
        Ok(Key::from_seed(seed))
    }

    pub fn from_seed(seed: [u8; 32]) -> Key {
        Key(SigningKey::from_bytes(&seed))
    }

    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Signs a digest.
    pub fn sign(&self, digest: &Digest) -> SignatureBytes {
        self.0.sign(&digest.0).to_bytes()
    }

    /// Reads a key file.
    pub fn load(path: &Path) -> Result<Key, KeyError> {
        let io = |source| KeyError::Io { path: path.to_owned(), source };
        let file = std::fs::File::open(path).map_err(io)?;
        let mut text = String::new();
        file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(io)?;
        Key::from_pem(&text).map_err(|problem| KeyError::Format { path: path.to_owned(), problem })
    }

    /// Writes a new key file with mode 0600; what is half written is removed.
    pub fn create(&self, path: &Path) -> Result<(), KeyError> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::AlreadyExists => KeyError::Exists { path: path.to_owned() },
            _ => KeyError::Io { path: path.to_owned(), source },
        };
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path).map_err(failed)?;
        let written = file.write_all(self.to_pem().as_bytes()).and_then(|()| file.sync_all());
        written.map_err(|source| {
            // The error that matters is the first one.
            let _ = std::fs::remove_file(path);
            failed(source)
        })
    }

    /// The text of a key file.
    pub fn to_pem(&self) -> String {
        let der = [PKCS8_PREFIX.as_slice(), &self.0.to_bytes()].concat();
        format!("{PEM_BEGIN}\n{}\n{PEM_END}\n", base64_encode(&der))
    }

    /// The inverse of [`Key::to_pem`]; says what is wrong.
    pub fn from_pem(text: &str) -> Result<Key, &'static str> {
        if text.len() as u64 > FILE_BYTES_MAX {
            return Err("this is too large to be a key");
        }
        let body = text
            .trim()
            .strip_prefix(PEM_BEGIN)
            .and_then(|rest| rest.strip_suffix(PEM_END))
            .ok_or("this is no key file: the line `-----BEGIN PRIVATE KEY-----` or its end is missing")?;
        let body: String = body.split_ascii_whitespace().collect();
        let der = base64_decode(&body).ok_or("the key's base64 cannot be read")?;
        let seed = der.strip_prefix(PKCS8_PREFIX.as_slice()).ok_or("this is no Ed25519 key")?;
        let seed: [u8; 32] = seed.try_into().map_err(|_| "an Ed25519 key has 32 bytes")?;
        Ok(Key::from_seed(seed))
    }
}

/// The secret is never shown.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key(public {})", self.public())
    }
}

impl PublicKey {
    /// Whether `signature` is this key's over `digest`: the strict form, which refuses keys of small order
    /// and encodings that are not canonical, so that all verifiers agree.
    pub fn verifies(&self, digest: &Digest, signature: &SignatureBytes) -> bool {
        VerifyingKey::from_bytes(&self.0)
            .and_then(|key| key.verify_strict(&digest.0, &Signature::from_bytes(signature)))
            .is_ok()
    }

    pub fn from_hex(text: &str) -> Option<PublicKey> {
        Digest::from_hex(text).map(|bytes| PublicKey(bytes.0))
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Digest(self.0).to_hex())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// RFC 4648; `bytes` are a multiple of three, as a key's 48 are, so that there is no padding.
fn base64_encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() / 3 * 4);
    for group in bytes.chunks_exact(3) {
        let word = u32::from_be_bytes([0, group[0], group[1], group[2]]);
        out.extend([18, 12, 6, 0].map(|shift| BASE64[(word >> shift & 63) as usize] as char));
    }
    out
}

/// The inverse of [`base64_encode`].
fn base64_decode(text: &str) -> Option<Vec<u8>> {
    let (groups, []) = text.as_bytes().as_chunks::<4>() else { return None };
    let mut out = Vec::with_capacity(groups.len() * 3);
    for group in groups {
        let mut word = 0;
        for c in group {
            word = word << 6 | BASE64.iter().position(|b| b == c)? as u32;
        }
        out.extend_from_slice(&word.to_be_bytes()[1..]);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_file_is_rfc_8410s() {
        // The example key of RFC 8410, section 10.3, and the public key of its section 10.1.
        let pem = "-----BEGIN PRIVATE KEY-----\n\
                   MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
                   -----END PRIVATE KEY-----\n";
        let key = Key::from_pem(pem).unwrap();
        assert_eq!(key.to_pem(), pem);
        assert_eq!(
            key.public().to_string(),
            "19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1"
        );
    }

    #[test]
    fn damaged_key_files_are_refused() {
        let pem = Key::from_seed([7; 32]).to_pem();
        for at in 0..pem.trim_end().len() {
            let mut changed = pem.clone().into_bytes();
            changed[at] = if changed[at] == b'!' { b'?' } else { b'!' };
            assert!(Key::from_pem(std::str::from_utf8(&changed).unwrap()).is_err(), "byte {at}");
            assert!(Key::from_pem(&pem[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn signatures_bind_digest_and_key() {
        let (key, other) = (Key::from_seed([1; 32]), Key::from_seed([2; 32]));
        let digest = repops::digest::sha256(&[b"claim"]);
        let signature = key.sign(&digest);
        assert!(key.public().verifies(&digest, &signature));
        assert!(!other.public().verifies(&digest, &signature));
        assert!(!key.public().verifies(&Digest::default(), &signature));
        // The identity point as a key would verify anything under the lenient rule.
        let mut neutral = [0; 32];
        neutral[0] = 1;
        let mut forged = [0; 64];
        forged[0] = 1;
        assert!(!PublicKey(neutral).verifies(&digest, &forged));
    }
}
