//! `repops keygen`, and where the user's own key is.

use std::path::PathBuf;

use repops_provenance::{Key, KeyError, PublicKey};
use serde_json::json;

use crate::arguments::Keygen;
use crate::report::{note, print, print_json};
use crate::{Answer, Failure, Result};

pub fn keygen(arguments: &Keygen) -> Result<Answer> {
    let (key, path) = match (&arguments.show, &arguments.output) {
        (Some(path), _) => (Key::load(path)?, path),
        (None, Some(path)) => {
            let key = Key::generate()?;
            key.create(path)?;
            (key, path)
        }
        (None, None) => return Err(Failure::new("-o FILE is needed")),
    };
    let public = key.public().to_string();
    if arguments.json {
        print_json(&json!({ "public": public, "file": path }));
    } else {
        print(&public);
    }
    Ok(Answer::Yes)
}

/// The key in the user's configuration folder, made when it is not there.
pub fn user_key() -> Result<Key> {
    let path = user_key_path()?;
    match Key::load(&path) {
        Ok(key) => {
            note(&format!("signing with {} ({})", path.display(), key.public()));
            return Ok(key);
        }
        Err(KeyError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|e| Failure(format!("{}: {e}", folder.display())))?;
    }
    let key = Key::generate()?;
    match key.create(&path) {
        Ok(()) => {
            note(&format!("a signing key was made: {} ({})", path.display(), key.public()));
            Ok(key)
        }
        // Somebody else was faster.
        Err(KeyError::Exists { .. }) => Ok(Key::load(&path)?),
        Err(error) => Err(error.into()),
    }
}

/// `$XDG_CONFIG_HOME/repops/key.pem`, or below `~/.config`.
fn user_key_path() -> Result<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")));
    let folder = folder.ok_or_else(|| {
        Failure::new("there is no key: neither XDG_CONFIG_HOME nor HOME names a folder; give --key FILE")
    })?;
    Ok(folder.join("repops").join("key.pem"))
}

/// A public key from 64 hexadecimal digits, or from a key file.
pub fn public_key(text: &str) -> Result<PublicKey> {
    if let Some(key) = PublicKey::from_hex(text) {
        return Ok(key);
    }
    let key = Key::load(text.as_ref()).map_err(|error| {
        Failure(format!(
            "--signer {text:?} is neither 64 lower-case hexadecimal digits nor a key file: {error}"
        ))
    })?;
    Ok(key.public())
}
