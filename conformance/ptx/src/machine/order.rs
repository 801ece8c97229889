//! What copies and products under way use, and what is known to be done: the part of a block that barriers in shared memory order.
//!
//! Ordinary accesses are ordered by barriers of the block alone (`memory.rs`). Copies of ranges and products of warpgroups go on
//! beside the threads that begin them; here is what they read and write, and which lane of a warp knows of their end. Knowledge travels
//! with an arrival at a barrier in shared memory to whoever sees the phase complete.
//!
//! Invariant: a range is overwritten or read only by a lane that knows that what came before is done.

use std::collections::{BTreeMap, VecDeque};

use super::memory::Region;
use super::warp::LANES;
use crate::code::Reg;
use crate::error::Fault;

/// What a lane knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// By warp: its products that it has waited for before this time are done.
    warps: [u64; LANES],
    /// By barrier: so many of its phases are complete.
    phases: BTreeMap<u32, u64>,
}

impl Default for Seen {
    fn default() -> Seen {
        Seen { warps: [0; LANES], phases: BTreeMap::new() }
    }
}

impl Seen {
    pub fn join(&mut self, other: &Seen) {
        for (mine, theirs) in self.warps.iter_mut().zip(other.warps) {
            *mine = (*mine).max(theirs);
        }
        for (&barrier, &phases) in &other.phases {
            let mine = self.phases.entry(barrier).or_default();
            *mine = (*mine).max(phases);
        }
    }
}

/// A barrier in shared memory.
#[derive(Clone, Debug)]
pub struct SharedBarrier {
    count: u32,
    pending: u32,
    /// Bytes that this phase still expects; below zero while some have come that nobody expects yet.
    bytes: i64,
    /// Complete ones.
    phases: u64,
    /// What those knew that have arrived so far, and what those of the last complete phase did.
    arrivals: Seen,
    complete: Seen,
    copies: Vec<Copy>,
    pub maker: u32,
    pub made: u64,
}

/// A copy under way: its bytes, read when it began.
#[derive(Clone, Debug)]
struct Copy {
    start: usize,
    data: Vec<u8>,
}

/// Bytes of a copy that came with the phase of a barrier, the number of which counts complete ones.
#[derive(Clone, Copy, Debug)]
struct Arrived {
    start: usize,
    end: usize,
    barrier: u32,
    phase: u64,
}

/// A range that products of a warp read.
#[derive(Clone, Copy, Debug)]
struct Read {
    warp: u32,
    start: usize,
    end: usize,
    group: u64,
    /// When the warp had waited for them.
    done: Option<u64>,
}

/// What all four warps of a warpgroup have to do alike: an instruction and its operands.
pub type Step = (u32, u64, u64, bool);

/// Steps that not all warps of a warpgroup have done, and how many of them each has.
#[derive(Clone, Debug, Default)]
struct Log {
    steps: VecDeque<Step>,
    done: [usize; 4],
}

/// Steps that a warp may be ahead of another of its warpgroup.
const AHEAD_MAX: usize = 1 << 16;

/// Of a block.
#[derive(Clone, Debug, Default)]
pub struct Asynchronous {
    pub barriers: BTreeMap<u32, SharedBarrier>,
    arrived: Vec<Arrived>,
    reads: Vec<Read>,
    logs: BTreeMap<u32, Log>,
    /// By thread: when it last ordered its ordinary accesses before copies and products.
    pub fences: BTreeMap<u32, u64>,
    /// By warp: what it asked for.
    pub registers: BTreeMap<u32, u32>,
    /// Changes of barriers, by which others may go on.
    pub changes: u64,
}

fn meets(start: usize, end: usize, range: (usize, usize)) -> bool {
    start < range.1 && range.0 < end
}

impl Asynchronous {
    /// Notes what a warp of a warpgroup does; whether it is what the others did.
    pub fn step(&mut self, warp: u32, step: Step) -> bool {
        let log = self.logs.entry(warp / 4).or_default();
        let at = &mut log.done[warp as usize % 4];
        *at += 1;
        let is_same = match log.steps.get(*at - 1) {
            Some(known) => *known == step,
            None => {
                log.steps.push_back(step);
                log.steps.len() <= AHEAD_MAX
            }
        };
        if log.done.iter().all(|&done| done > 0) {
            log.steps.pop_front();
            log.done.iter_mut().for_each(|done| *done -= 1);
        }
        is_same
    }

    /// Whether all warps of warpgroups have done the same, and nothing is under way.
    pub fn end(&self, threads: u32) -> Result<(), Fault> {
        if self.logs.values().any(|log| !log.steps.is_empty()) {
            return Err(Fault::Divergent);
        }
        let is_open = self.reads.iter().any(|read| read.done.is_none());
        if is_open || self.barriers.values().any(|barrier| !barrier.copies.is_empty()) {
            return Err(Fault::Unfinished);
        }
        if self.registers.is_empty() {
            return Ok(());
        }
        // A block shares out what it was given at first, no more: a lane has 512 registers in each quarter of a processor, for every
        // fourth warp, equal numbers that are multiples of 8.
        let warps = threads.div_ceil(32);
        let given = 512u32.checked_div(warps.div_ceil(4)).unwrap_or(0).min(255) / 8 * 8;
        let asked: u32 = (0..warps).map(|warp| self.registers.get(&warp).copied().unwrap_or(given)).sum();
        if asked > warps * given { Err(Fault::Registers) } else { Ok(()) }
    }

    /// What a barrier of the block orders: all that is done is known to all.
    pub fn meet(&mut self) {
        self.reads.retain(|read| read.done.is_none());
        self.arrived.clear();
    }

    /// Whether a lane may write a range now; forgets who has read it.
    pub fn write(&mut self, start: usize, end: usize, warp: u32, seen: &Seen) -> Result<(), Fault> {
        if self.barriers.is_empty() && self.reads.is_empty() {
            return Ok(());
        }
        let fault = |at: usize| Fault::UnderWay { address: super::SHARED_START + at as u64 };
        for (&at, barrier) in &self.barriers {
            if meets(at as usize, at as usize + 8, (start, end)) {
                return Err(fault(at as usize));
            }
            for copy in &barrier.copies {
                if meets(copy.start, copy.start + copy.data.len(), (start, end)) {
                    return Err(fault(copy.start));
                }
            }
        }
        for read in self.reads.iter().filter(|read| meets(read.start, read.end, (start, end))) {
            let is_known = read
                .done
                .is_some_and(|done| read.warp == warp || done < seen.warps[read.warp as usize % LANES]);
            if !is_known {
                return Err(fault(read.start));
            }
        }
        self.has_arrived(start, end, seen)?;
        self.reads.retain(|read| !meets(read.start, read.end, (start, end)));
        Ok(())
    }

    /// Whether a lane knows that the bytes of a range that were copied are there.
    pub fn has_arrived(&self, start: usize, end: usize, seen: &Seen) -> Result<(), Fault> {
        for copy in self.arrived.iter().filter(|copy| meets(copy.start, copy.end, (start, end))) {
            if seen.phases.get(&copy.barrier).is_none_or(|&phases| phases < copy.phase) {
                return Err(Fault::UnderWay { address: super::SHARED_START + copy.start as u64 });
            }
        }
        Ok(())
    }

    /// Notes that products of a warp read a range.
    pub fn read(&mut self, start: usize, end: usize, warp: u32, group: u64) {
        let known =
            self.reads.iter_mut().find(|read| (read.warp, read.start, read.end) == (warp, start, end));
        match known {
            Some(read) => (read.group, read.done) = (group, None),
            None => self.reads.push(Read { warp, start, end, group, done: None }),
        }
    }

    /// A warp has waited for its products up to a group.
    pub fn waited(&mut self, warp: u32, group: u64, now: u64) {
        for read in &mut self.reads {
            if read.warp == warp && read.done.is_none() && read.group <= group {
                read.done = Some(now);
            }
        }
    }

    pub fn init(&mut self, at: u32, count: u32, maker: u32, made: u64) {
        let new = SharedBarrier {
            count,
            pending: count,
            bytes: 0,
            phases: 0,
            arrivals: Seen::default(),
            complete: Seen::default(),
            copies: Vec::new(),
            maker,
            made,
        };
        self.barriers.insert(at, new);
        self.changes += 1;
    }

    /// One arrival of a warp's lane, which makes known what was done before `now`.
    pub fn arrive(
        &mut self,
        at: u32,
        bytes: u32,
        warp: u32,
        seen: &Seen,
        now: u64,
    ) -> Result<(), &'static str> {
        let Some(barrier) = self.barriers.get_mut(&at) else { return Err("is none") };
        if barrier.pending == 0 {
            return Err("has had all arrivals of its phase");
        }
        barrier.bytes += i64::from(bytes);
        barrier.pending -= 1;
        barrier.arrivals.join(seen);
        barrier.arrivals.warps[warp as usize % LANES] = now;
        barrier.turn();
        self.changes += 1;
        Ok(())
    }

    /// Begins a copy, whose bytes a barrier counts.
    pub fn copy(&mut self, at: u32, start: usize, data: Vec<u8>) {
        let end = start + data.len();
        self.arrived.retain(|copy| !meets(copy.start, copy.end, (start, end)));
        if let Some(barrier) = self.barriers.get_mut(&at) {
            barrier.copies.push(Copy { start, data });
        }
        self.changes += 1;
    }

    /// Whether the phase of that parity is complete; what is known then. Copies arrive as late as they may: when all threads have
    /// arrived and somebody waits for them.
    pub fn test(
        &mut self,
        at: u32,
        parity: u32,
        shared: &mut Region,
        now: u64,
    ) -> Result<Option<Seen>, &'static str> {
        let Some(barrier) = self.barriers.get_mut(&at) else { return Err("is none") };
        let is_incomplete = |barrier: &SharedBarrier| barrier.phases % 2 == u64::from(parity);
        if is_incomplete(barrier) && barrier.pending == 0 && !barrier.copies.is_empty() {
            let phase = barrier.phases + 1;
            for copy in std::mem::take(&mut barrier.copies) {
                let (start, end) = (copy.start, copy.start + copy.data.len());
                shared.arrive(start, &copy.data, now);
                barrier.bytes -= copy.data.len() as i64;
                self.arrived.push(Arrived { start, end, barrier: at, phase });
            }
            self.changes += 1;
            if barrier.bytes < 0 {
                return Err("counts more bytes than it expects");
            }
            barrier.turn();
        }
        if is_incomplete(barrier) {
            return Ok(None);
        }
        let mut seen = barrier.complete.clone();
        seen.phases.insert(at, barrier.phases);
        Ok(Some(seen))
    }
}

impl SharedBarrier {
    /// Completes the phase if nothing is missing.
    fn turn(&mut self) {
        if self.pending == 0 && self.bytes == 0 {
            self.phases += 1;
            self.pending = self.count;
            self.complete = self.arrivals.clone();
        }
    }
}

/// Products of a warp that are under way, and the registers that they add to.
#[derive(Clone, Debug, Default)]
pub struct Products {
    /// By accumulator: its place in what follows.
    pub slots: BTreeMap<Reg, usize>,
    pub sums: Vec<Sum>,
    /// Groups so far; products since belong to the next one.
    pub groups: u64,
    pub has_open: bool,
}

/// A register of sums.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum {
    /// What it holds, or will hold: products under way, and ordinary instructions before the last fence, agree on it.
    pub values: [u32; LANES],
    pub set: u32,
    /// Whether a fence has come since it was last changed.
    pub is_fenced: bool,
    /// The group of the last product that adds to it, and its shape; 0: none is under way.
    pub group: u64,
    pub n: u16,
}
