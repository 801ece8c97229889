//! The referee's part of disputes within an element: whose value of which term is asked for next.
//!
//! A round asks for finer terms of the term in dispute and, as long as they are few, for those beneath them. Invariant:
//! a term stands behind all its finer terms that the round asks for, so the first term that differs is computed from
//! values on which the parties agree, or from finer terms that are asked for next.

use std::collections::{BTreeMap, BTreeSet};

use repops::ops::dispute::Term;

use super::ask::Ask;
use super::facts::Gap;
use super::judge::{self, Disputed, Question};
use super::referee::Referee;
use super::verdict::Reason;

/// The most claims of one round.
const CLAIMS_MAX: usize = 8400;
/// A round goes further down while it asks for at most so many.
const CLAIMS_WIDE: usize = 512;

impl Referee {
    /// Goes on with a term about whose value the parties differ.
    pub(super) fn term(&mut self, now: u64, term: Term, values: [u64; 2]) {
        self.state.term = Some((term, values));
        let Some(of) = self.state.disputed else { return };
        let first = match self.unknown_beneath(of, term, values) {
            Ok(first) => first,
            Err(gap) => return self.stuck(gap, None),
        };
        if first.len() > CLAIMS_MAX {
            return self.undecided("a term of too many claims".to_string());
        }
        if first.is_empty() {
            return self.present(now, Question::Element { of, term, values });
        }
        let terms = match of {
            // Which terms are finer there depends on the values of others.
            Disputed::Choice => first,
            _ => self.deeper(of, values, first),
        };
        self.next(now, Ask::Claims { terms }, [true, true]);
    }

    /// Finer terms on whose values the parties have not agreed, each once.
    fn unknown_beneath(&mut self, of: Disputed, term: Term, values: [u64; 2]) -> Result<Vec<Term>, Gap> {
        let mut facts = std::mem::take(&mut self.state.facts);
        let finer = judge::finer(&self.context(), of, term, values, &mut facts);
        self.state.facts = facts;
        let mut seen = BTreeSet::new();
        let is_new = |term: &Term| !self.state.agreed.contains_key(term) && seen.insert(*term);
        Ok(finer?.into_iter().filter(is_new).collect())
    }

    /// Terms with the terms beneath them before them, level by level while they are few.
    fn deeper(&mut self, of: Disputed, values: [u64; 2], first: Vec<Term>) -> Vec<Term> {
        let mut beneath: BTreeMap<Term, Vec<Term>> = BTreeMap::new();
        let mut known: BTreeSet<Term> = first.iter().copied().collect();
        let mut level = first.clone();
        'levels: while !level.is_empty() && known.len() <= CLAIMS_WIDE {
            let (mut next, mut found) = (Vec::new(), BTreeMap::new());
            for term in &level {
                // What cannot be told yet is asked for when it is in dispute.
                let Ok(finer) = self.unknown_beneath(of, *term, values) else { break 'levels };
                next.extend(finer.iter().copied().filter(|finer| !known.contains(finer)));
                found.insert(*term, finer);
                if known.len() + next.len() > CLAIMS_WIDE {
                    break 'levels;
                }
            }
            next.sort_unstable();
            next.dedup();
            known.extend(&next);
            beneath.append(&mut found);
            level = next;
        }
        in_order(&first, &beneath)
    }

    /// What the parties say of terms.
    pub(super) fn claims(&mut self, now: u64, terms: &[Term], values: [Vec<u64>; 2]) {
        let right = values.each_ref().map(|values| values.len() == terms.len());
        if !self.demand(right, Reason::Malformed) {
            return;
        }
        for (at, term) in terms.iter().enumerate() {
            let [a, b] = [values[0][at], values[1][at]];
            if a != b {
                return self.term(now, *term, [a, b]);
            }
            self.state.agreed.insert(*term, a);
        }
        if let (Some((term, values)), Some(of)) = (self.state.term, self.state.disputed) {
            self.present(now, Question::Element { of, term, values });
        }
    }
}

/// Each term once, behind what is beneath it.
fn in_order(first: &[Term], beneath: &BTreeMap<Term, Vec<Term>>) -> Vec<Term> {
    let none = Vec::new();
    let finer = |term: &Term| beneath.get(term).unwrap_or(&none).iter();
    let (mut out, mut seen) = (Vec::new(), BTreeSet::new());
    for top in first {
        // Terms may lie deep beneath each other, so what waits is kept in a list and not on the stack.
        let mut waiting = Vec::new();
        if seen.insert(*top) {
            waiting.push((*top, finer(top)));
        }
        while let Some((term, rest)) = waiting.last_mut() {
            match rest.next() {
                Some(next) if seen.insert(*next) => waiting.push((*next, finer(next))),
                Some(_) => {}
                None => {
                    out.push(*term);
                    waiting.pop();
                }
            }
        }
    }
    out
}
