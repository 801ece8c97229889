//! The newest receipts, by the ids of their answers.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes of all receipts that are kept.
const BYTES_MAX: usize = 256 << 20;

#[derive(Default)]
struct Kept {
    by_id: BTreeMap<String, Arc<str>>,
    /// The oldest first.
    order: VecDeque<String>,
    bytes: usize,
}

pub struct Receipts {
    count_max: usize,
    kept: Mutex<Kept>,
}

impl Receipts {
    pub fn new(count_max: usize) -> Receipts {
        Receipts { count_max, kept: Mutex::default() }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn get(&self, id: &str) -> Option<Arc<str>> {
        self.kept().by_id.get(id).cloned()
    }

    pub fn add(&self, id: &str, receipt: &str) {
        let mut kept = self.kept();
        kept.bytes += receipt.len();
        kept.by_id.insert(id.to_string(), receipt.into());
        kept.order.push_back(id.to_string());
        while kept.order.len() > self.count_max || kept.bytes > BYTES_MAX {
            let Some(oldest) = kept.order.pop_front() else { break };
            let gone = kept.by_id.remove(&oldest).map_or(0, |receipt| receipt.len());
            kept.bytes -= gone;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_give_way() {
        let receipts = Receipts::new(2);
        ["a", "b", "c"].iter().for_each(|id| receipts.add(id, id));
        assert_eq!(receipts.get("a"), None);
        assert_eq!(receipts.get("c").as_deref(), Some("c"));
        assert_eq!(receipts.kept().bytes, 2);
    }
}
