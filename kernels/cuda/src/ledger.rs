//! Whose memory is whose while a device records: what a recording took stays its own.
//!
//! Memory that was taken and given back while something is recorded is taken again by what is recorded later, since the device does it
//! in that order: but for contents that were put there, which every replay reads, and for memory that work beside may still use.
//! Invariant: each piece is freed once: by its buffer, or with the recording, whichever is there longer.

use std::collections::BTreeMap;

/// Memory by names.
#[derive(Debug)]
pub struct Ledger<N> {
    open: Option<Open<N>>,
    /// Of recordings that are done; whether the buffer is gone.
    recorded: BTreeMap<N, bool>,
}

#[derive(Debug)]
struct Open<N> {
    own: BTreeMap<N, Piece>,
    /// What can be taken again, by where (beside other work or not) and size.
    free: BTreeMap<(bool, usize), Vec<N>>,
}

#[derive(Clone, Copy, Debug)]
struct Piece {
    /// `None`: its contents are there for good.
    bytes: Option<usize>,
    is_dropped: bool,
}

/// What becomes of memory whose buffer is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dropped {
    /// It is nobody's.
    Free,
    /// It is a recording's.
    Kept,
    /// It may be taken again while this is recorded: its contents are lost.
    Idle,
}

impl<N> Default for Ledger<N> {
    fn default() -> Self {
        Ledger { open: None, recorded: BTreeMap::new() }
    }
}

impl<N: Ord + Copy> Ledger<N> {
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Begins a recording; says no if there is one.
    pub fn begin(&mut self) -> bool {
        let begins = self.open.is_none();
        if begins {
            self.open = Some(Open { own: BTreeMap::new(), free: BTreeMap::new() });
        }
        begins
    }

    /// Memory of that size that was given back.
    pub fn take(&mut self, bytes: usize, beside: bool) -> Option<N> {
        let open = self.open.as_mut()?;
        let name = open.free.get_mut(&(beside, bytes))?.pop()?;
        open.own.insert(name, Piece { bytes: Some(bytes), is_dropped: false });
        Some(name)
    }

    /// New memory, which is the recording's if there is one; without a size its contents stay.
    pub fn add(&mut self, name: N, bytes: Option<usize>) {
        if let Some(open) = &mut self.open {
            open.own.insert(name, Piece { bytes, is_dropped: false });
        }
    }

    /// A buffer is gone. `is_idle`: nothing beside can still use its memory but what is given beside later.
    pub fn drop(&mut self, name: N, beside: bool, is_idle: bool) -> Dropped {
        if let Some(open) = &mut self.open
            && let Some(piece) = open.own.get_mut(&name)
        {
            piece.is_dropped = true;
            return match piece.bytes {
                Some(bytes) if is_idle => {
                    open.free.entry((beside, bytes)).or_default().push(name);
                    Dropped::Idle
                }
                _ => Dropped::Kept,
            };
        }
        match self.recorded.get_mut(&name) {
            Some(is_dropped) => {
                *is_dropped = true;
                Dropped::Kept
            }
            None => Dropped::Free,
        }
    }

    /// Ends the recording: what is its own.
    pub fn end(&mut self) -> Vec<N> {
        let own = self.open.take().map(|open| open.own).unwrap_or_default();
        self.recorded.extend(own.iter().map(|(name, piece)| (*name, piece.is_dropped)));
        own.into_keys().collect()
    }

    /// A recording is gone: of its own, what has to be freed now. The rest is freed with its buffers.
    pub fn release(&mut self, own: &[N]) -> Vec<N> {
        own.iter().filter(|name| self.recorded.remove(name) == Some(true)).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_is_freed_once() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.drop(1, false, true), Dropped::Free);
        ledger.add(2, Some(8));
        assert!(ledger.begin());
        assert!(!ledger.begin());
        assert_eq!(ledger.take(8, false), None);
        for (name, bytes) in [(3, Some(8)), (4, Some(8)), (5, None), (6, Some(4)), (7, Some(8))] {
            ledger.add(name, bytes);
        }
        // One that was there before, one that is taken again, contents, one that work beside may use, one that stays.
        assert_eq!(ledger.drop(2, false, true), Dropped::Free);
        assert_eq!(ledger.drop(3, false, true), Dropped::Idle);
        assert_eq!(ledger.drop(5, false, true), Dropped::Kept);
        assert_eq!(ledger.drop(6, false, false), Dropped::Kept);
        assert_eq!(ledger.drop(7, true, true), Dropped::Idle);
        assert_eq!(ledger.take(4, false), None);
        assert_eq!(ledger.take(8, false), Some(3));
        assert_eq!(ledger.take(8, false), None);
        assert_eq!(ledger.take(8, true), Some(7));
        let own = ledger.end();
        assert_eq!(own, [3, 4, 5, 6, 7]);
        assert_eq!(ledger.drop(3, false, true), Dropped::Kept);
        assert_eq!(ledger.release(&own), [3, 5, 6]);
        assert_eq!(ledger.drop(4, false, true), Dropped::Free);
        assert_eq!(ledger.drop(7, false, true), Dropped::Free);
    }
}
