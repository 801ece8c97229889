//! The newest receipts, by the ids of their answers.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes of all receipts that are kept.
const BYTES_MAX: usize = 256 << 20;

/// What is kept of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    /// As JSON.
    pub receipt: String,
    /// Of the answer's tokens.
    pub logprobs: Vec<f32>,
}

impl Kept {
    fn bytes(&self) -> usize {
        self.receipt.len() + 4 * self.logprobs.len()
    }
}

#[derive(Default)]
struct Store {
    by_id: BTreeMap<String, Arc<Kept>>,
    /// The oldest first.
    order: VecDeque<String>,
    bytes: usize,
}

pub struct Receipts {
    count_max: usize,
    store: Mutex<Store>,
}

impl Receipts {
    pub fn new(count_max: usize) -> Receipts {
        Receipts { count_max, store: Mutex::default() }
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn get(&self, id: &str) -> Option<Arc<Kept>> {
        self.store().by_id.get(id).cloned()
    }

    pub fn add(&self, id: &str, kept: Kept) {
        let mut store = self.store();
        store.bytes += kept.bytes();
        store.by_id.insert(id.to_string(), Arc::new(kept));
        store.order.push_back(id.to_string());
        while store.order.len() > self.count_max || store.bytes > BYTES_MAX {
            let Some(oldest) = store.order.pop_front() else { break };
            let gone = store.by_id.remove(&oldest).map_or(0, |kept| kept.bytes());
            store.bytes -= gone;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_give_way() {
        let receipts = Receipts::new(2);
        let kept = |id: &str| Kept { receipt: id.to_string(), logprobs: vec![0.0; 2] };
        ["a", "b", "c"].iter().for_each(|id| receipts.add(id, kept(id)));
        assert_eq!(receipts.get("a"), None);
        assert_eq!(receipts.get("c").map(|kept| kept.receipt.clone()).as_deref(), Some("c"));
        assert_eq!(receipts.store().bytes, 2 * 9);
    }
}
