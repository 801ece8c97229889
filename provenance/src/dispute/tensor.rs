//! The referee within a tensor: types and frontiers, then the leaf and the element that differ.

use repops::digest::{LEAF_BYTES, Layout, bind_tensor, leaf_hash};
use repops::ops::dispute::{TensorType, Term, bits_at};
use repops::program::stored_byte_len;

use super::ask::Tree;
use super::facts::Gap;
use super::judge::{Disputed, Question};
use super::message::Body;
use super::partial;
use super::referee::{Referee, first_difference};
use super::verdict::Reason;

impl Referee {
    pub(super) fn tensors(&mut self, now: u64, of: Disputed, bodies: [Body; 2]) {
        let digests = match of {
            Disputed::Logprobs => self.logprobs(),
            _ => {
                let Some(records) = &self.state.records else { return };
                records.each_ref().map(|record| of.digest(record))
            }
        };
        let check = |p: usize| {
            let Body::Output { dtype, shape, hashes } = &bodies[p] else { return None };
            let shape: Option<Vec<usize>> = shape.iter().map(|&d| usize::try_from(d).ok()).collect();
            let shape = shape?;
            let total = stored_byte_len(*dtype, &shape, Layout::RowMajor)?;
            let count = total.div_ceil(LEAF_BYTES) as u64;
            let root = partial::frontier_root(count, count, hashes)?;
            let digest = bind_tensor(*dtype, Layout::RowMajor, &shape, total as u64, &root);
            (digests[p] == Some(digest)).then(|| (TensorType { dtype: *dtype, shape }, hashes.clone()))
        };
        let checked = [check(0), check(1)];
        if !self.demand(checked.each_ref().map(Option::is_some), Reason::Hashes) {
            return;
        }
        if let [Some((a, left)), Some((b, right))] = checked {
            self.state.disputed = Some(of);
            self.state.frontiers = [left, right];
            self.state.output_types = Some([a.clone(), b.clone()]);
            if of == Disputed::Logprobs {
                return self.logprob_types(now, [a, b]);
            }
            let [a, b] = [a, b].map(|ty| self.all_rows(ty));
            let question = Question::Types { of, types: [a, b] };
            // What they follow from was opened with the record, unless they depend on data.
            match self.decide(&question) {
                Err(Gap::Missing(_)) => self.present(now, question),
                found => self.conclude(now, &question, found),
            }
        }
    }

    pub(super) fn leaves(&mut self, now: u64, index: u64, leaves: [Vec<u8>; 2]) {
        let Some([ty, _]) = self.state.output_types.clone() else { return };
        let total = ty.len() * ty.dtype.size();
        let expected = LEAF_BYTES.min(total.saturating_sub(index as usize * LEAF_BYTES));
        let right =
            [0, 1].map(|p| leaves[p].len() == expected && leaf_hash(&leaves[p]) == self.state.hashes[p]);
        if !self.demand(right, Reason::Hashes) {
            return;
        }
        let count = expected / ty.dtype.size();
        let value = |p: usize, at: usize| bits_at(ty.dtype, &leaves[p], at).unwrap_or(0);
        match (0..count).find(|&at| value(0, at) != value(1, at)) {
            Some(at) => {
                let element = index * (LEAF_BYTES / ty.dtype.size()) as u64 + at as u64;
                if self.state.disputed == Some(Disputed::Logprobs) {
                    return self.logprob(now, element, [value(0, at), value(1, at)]);
                }
                let element = element + self.elements_before(&ty);
                let output = self.state.disputed.map_or(0, Disputed::number);
                let term = Term::Output { output, element };
                self.state.first_term = Some(term);
                self.term(now, term, [value(0, at), value(1, at)]);
            }
            None => self.undecided("equal leaves with different hashes".to_string()),
        }
    }

    pub(super) fn agreed_types(&mut self, now: u64) {
        let Some([ty, _]) = &self.state.output_types else { return };
        let count = (ty.len() * ty.dtype.size()).div_ceil(LEAF_BYTES) as u64;
        match first_difference(count, &self.state.frontiers) {
            Some((first, height, at)) => self.descend(now, Tree::Output, first, height, at),
            None => self.undecided("equal leaves with different digests".to_string()),
        }
    }
}
