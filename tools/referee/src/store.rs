//! What a referee must not forget, in an embedded store.
//!
//! Invariant: what a call has stored is on disk when it returns, whole or not at all, whenever the process is killed; one
//! process at a time has a store.

use std::path::Path;

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use repops::Digest;

use crate::{RefereeError, Result};

type Numbered = TableDefinition<'static, (&'static [u8; 32], u64), &'static [u8]>;

/// A dispute's receipts and terms: its transcript before anything has happened.
const DISPUTES: TableDefinition<&[u8; 32], &[u8]> = TableDefinition::new("disputes");
/// What has happened in a dispute, in order.
const EVENTS: Numbered = TableDefinition::new("events");

pub struct Store {
    database: Database,
    name: String,
}

impl Store {
    /// Opens a store, or makes one.
    pub fn open(path: &Path) -> Result<Store> {
        let name = path.display().to_string();
        let database = Database::create(path)
            .map_err(|error| RefereeError::Store { name: name.clone(), problem: error.to_string() })?;
        let store = Store { database, name };
        // All tables, so that whoever reads finds them.
        store.write(|transaction| {
            transaction.open_table(DISPUTES)?;
            transaction.open_table(EVENTS)?;
            Ok(())
        })?;
        Ok(store)
    }

    fn failed(&self, error: impl std::fmt::Display) -> RefereeError {
        RefereeError::Store { name: self.name.clone(), problem: error.to_string() }
    }

    /// One transaction, on disk when it returns.
    fn write(
        &self,
        act: impl FnOnce(&redb::WriteTransaction) -> std::result::Result<(), redb::Error>,
    ) -> Result<()> {
        let written = || {
            let transaction = self.database.begin_write()?;
            act(&transaction)?;
            transaction.commit()?;
            Ok::<(), redb::Error>(())
        };
        written().map_err(|error| self.failed(error))
    }

    /// Keeps a dispute that has been opened.
    pub fn add_dispute(&self, id: Digest, opening: &[u8]) -> Result<()> {
        self.write(|transaction| {
            transaction.open_table(DISPUTES)?.insert(&id.0, opening)?;
            Ok(())
        })
    }

    /// Keeps what has happened in a dispute, from event `first` on.
    pub fn add_events(&self, id: Digest, first: u64, events: &[Vec<u8>]) -> Result<()> {
        self.write(|transaction| {
            let mut table = transaction.open_table(EVENTS)?;
            for (number, event) in (first..).zip(events) {
                table.insert((&id.0, number), event.as_slice())?;
            }
            Ok(())
        })
    }

    /// Every dispute's transcript as far as it is kept.
    pub fn transcripts(&self) -> Result<Vec<Vec<u8>>> {
        let read = || {
            let transaction = self.database.begin_read()?;
            let (disputes, events) = (transaction.open_table(DISPUTES)?, transaction.open_table(EVENTS)?);
            let mut found = Vec::new();
            for entry in disputes.iter()? {
                let (id, opening) = entry?;
                let id = id.value();
                let mut bytes = opening.value().to_vec();
                for event in events.range((id, 0)..=(id, u64::MAX))? {
                    bytes.extend_from_slice(event?.1.value());
                }
                found.push(bytes);
            }
            Ok::<_, redb::Error>(found)
        };
        read().map_err(|error| self.failed(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_stored_is_found_again() {
        let folder = std::env::temp_dir().join(format!("repops-store-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("a.redb");
        let ids = [Digest([1; 32]), Digest([2; 32])];
        {
            let store = Store::open(&path).unwrap();
            assert!(Store::open(&path).is_err(), "two processes would have it");
            for id in ids {
                store.add_dispute(id, &id.0[..1]).unwrap();
            }
            store.add_events(ids[0], 0, &[vec![7], vec![8]]).unwrap();
            store.add_events(ids[0], 2, &[vec![9]]).unwrap();
        }
        let store = Store::open(&path).unwrap();
        assert_eq!(store.transcripts().unwrap(), [vec![1, 7, 8, 9], vec![2]]);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
