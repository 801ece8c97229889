//! What a sequence leaves behind for its later rows: keys and values in pages, and the entries of its log.
//!
//! Invariant: pages hold the rows of all positions of `tokens` and perhaps garbage after them. Full pages
//! are shared between sequences with a common beginning and never written again; a shared last page is copied before it is.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use repops::Digest;
use repops::sequence::trace::{Entry, sequence_root};
use repops::tensor::AlignedBytes;
use repops_kernels::sequence::{AttentionShape, PAGE};

use super::SessionError;

/// Bytes that pages of all sequences may take.
#[derive(Debug)]
pub(super) struct Budget {
    used: AtomicUsize,
    limit: usize,
}

impl Budget {
    pub fn new(limit: usize) -> Budget {
        Budget { used: AtomicUsize::new(0), limit }
    }

    pub fn limit(&self) -> usize {
        self.limit
    }

    pub fn used(&self) -> usize {
        self.used.load(Ordering::Acquire)
    }

    fn take(&self, bytes: usize) -> Result<(), SessionError> {
        let take = |used: usize| used.checked_add(bytes).filter(|total| *total <= self.limit);
        match self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, take) {
            Ok(_) => Ok(()),
            Err(used) => Err(SessionError::CacheFull { used, wanted: bytes, limit: self.limit }),
        }
    }
}

/// Where the keys and values of [`PAGE`] positions of one attention are.
pub(super) enum PagePlace {
    Host {
        keys: AlignedBytes,
        values: AlignedBytes,
    },
    /// A place among those that a device has.
    Slot(Slot),
}

/// The number of a place, which goes back to the free ones.
pub(super) struct Slot {
    pub number: u32,
    pub free: Arc<Mutex<Vec<u32>>>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).push(self.number);
    }
}

/// Who has room for pages.
pub(super) trait Pages: Send + Sync {
    /// A page of an attention, holding any numbers.
    fn make(&self, attention: usize, shape: &AttentionShape) -> Result<PagePlace, SessionError>;
    fn copy(
        &self,
        attention: usize,
        shape: &AttentionShape,
        from: &PagePlace,
    ) -> Result<PagePlace, SessionError>;
    /// Appends `count` rows of keys and values to a state's pages, which have room.
    fn append(
        &self,
        attention: usize,
        shape: &AttentionShape,
        state: &mut SequenceState,
        count: usize,
        rows: [&[f32]; 2],
    ) -> Result<(), SessionError>;
    /// Whether a page of an attention is one of its own.
    fn owns(&self, attention: usize, place: &PagePlace) -> bool;
}

/// Pages in the host's memory.
pub(super) struct HostPages;

impl Pages for HostPages {
    fn make(&self, _: usize, shape: &AttentionShape) -> Result<PagePlace, SessionError> {
        Ok(PagePlace::Host {
            keys: AlignedBytes::zeros(4 * shape.key_page_len())?,
            values: AlignedBytes::zeros(4 * shape.value_page_len())?,
        })
    }

    fn copy(
        &self,
        attention: usize,
        shape: &AttentionShape,
        from: &PagePlace,
    ) -> Result<PagePlace, SessionError> {
        let mut copy = self.make(attention, shape)?;
        if let (PagePlace::Host { keys, values }, PagePlace::Host { keys: k, values: v }) = (&mut copy, from)
        {
            keys.as_mut_slice().copy_from_slice(k.as_slice());
            values.as_mut_slice().copy_from_slice(v.as_slice());
        }
        Ok(copy)
    }

    fn append(
        &self,
        attention: usize,
        shape: &AttentionShape,
        state: &mut SequenceState,
        count: usize,
        [keys, values]: [&[f32]; 2],
    ) -> Result<(), SessionError> {
        super::step::append(shape, state, attention, count, keys, values);
        Ok(())
    }

    fn owns(&self, _: usize, place: &PagePlace) -> bool {
        matches!(place, PagePlace::Host { .. })
    }
}

/// A page, which counts in the budget.
pub(super) struct PageBuffer {
    pub place: PagePlace,
    budget: Arc<Budget>,
    bytes: usize,
}

impl PageBuffer {
    fn new(
        shape: &AttentionShape,
        budget: &Arc<Budget>,
        place: impl FnOnce() -> Result<PagePlace, SessionError>,
    ) -> Result<PageBuffer, SessionError> {
        let bytes = 4 * (shape.key_page_len() + shape.value_page_len());
        budget.take(bytes)?;
        match place() {
            Ok(place) => Ok(PageBuffer { place, budget: budget.clone(), bytes }),
            Err(error) => {
                budget.used.fetch_sub(bytes, Ordering::AcqRel);
                Err(error)
            }
        }
    }
}

impl Drop for PageBuffer {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

/// A sequence and what its rows have left: what [`super::Session::step`] continues.
#[derive(Clone)]
pub struct SequenceState {
    pub(super) tokens: Vec<u32>,
    /// Without the head's half where it was not asked for.
    pub(super) entries: Vec<Entry>,
    /// For each attention its pages.
    pub(super) pages: Vec<Vec<Arc<PageBuffer>>>,
}

impl SequenceState {
    pub(super) fn new(attentions: usize) -> SequenceState {
        SequenceState { tokens: Vec::new(), entries: Vec::new(), pages: vec![Vec::new(); attentions] }
    }

    /// The tokens whose rows have been computed.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// The entries of the log; empty when nothing is hashed. Their heads are there from the position on from which
    /// logits were asked for.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The state after the first `count` tokens, sharing pages with this one.
    pub fn prefix(&self, count: usize) -> SequenceState {
        let count = count.min(self.tokens.len());
        let pages = |pages: &Vec<Arc<PageBuffer>>| pages[..count.div_ceil(PAGE)].to_vec();
        SequenceState {
            tokens: self.tokens[..count].to_vec(),
            entries: self.entries[..count.min(self.entries.len())].to_vec(),
            pages: self.pages.iter().map(pages).collect(),
        }
    }

    /// The root of the log when logits count from position `first` on; `None` when some entry is missing a half.
    pub fn root(&self, first: usize) -> Option<Digest> {
        if self.entries.len() != self.tokens.len() {
            return None;
        }
        let entry = |(position, entry): (usize, &Entry)| {
            let head = if position < first { None } else { Some(entry.head?) };
            Some(Entry { head, ..*entry }.digest(position as u64))
        };
        let digests = self.entries.iter().enumerate().map(entry).collect::<Option<Vec<Digest>>>()?;
        Some(sequence_root(&digests, first as u64))
    }

    /// Makes room for `count` more rows, in pages that nobody else holds.
    pub(super) fn reserve(
        &mut self,
        count: usize,
        shapes: &[AttentionShape],
        budget: &Arc<Budget>,
        room: &dyn Pages,
    ) -> Result<(), SessionError> {
        let (from, until) = (self.tokens.len(), self.tokens.len() + count);
        for (number, (pages, shape)) in self.pages.iter_mut().zip(shapes).enumerate() {
            // What a step that failed has left.
            pages.truncate(from.div_ceil(PAGE));
            if !from.is_multiple_of(PAGE)
                && let Some(last) = pages.last_mut()
                && Arc::get_mut(last).is_none()
            {
                let copy = PageBuffer::new(shape, budget, || room.copy(number, shape, &last.place))?;
                *last = Arc::new(copy);
            }
            while pages.len() < until.div_ceil(PAGE) {
                pages.push(Arc::new(PageBuffer::new(shape, budget, || room.make(number, shape))?));
            }
        }
        Ok(())
    }

    /// Pages that would be needed anew for `count` more rows, in bytes.
    pub(super) fn growth(&self, count: usize, shapes: &[AttentionShape]) -> usize {
        let rows = self.tokens.len().saturating_add(count);
        let pages = rows.div_ceil(PAGE) - self.tokens.len().div_ceil(PAGE);
        let page: usize = shapes.iter().map(|s| 4 * (s.key_page_len() + s.value_page_len())).sum();
        page.saturating_mul(pages)
    }
}
