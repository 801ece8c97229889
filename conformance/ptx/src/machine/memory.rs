//! Bytes with a memory of who touched them.
//!
//! Every word (or, once something smaller was accessed, every byte) of global and shared memory has a cell with the
//! stamps of its last write and its last reads: when, by which thread. Two accesses of different threads, one of them a
//! write, clash unless a barrier that both passed lies between; blocks of a launch never wait for one another, so
//! accesses of different blocks always clash, except atomic ones.
//!
//! A cell also has the stamp of what was done to it *beside* other work: what comes later and has not waited must not
//! write it, nor read what was written.
//!
//! Invariant: time only grows: it advances with every launch, block and barrier, and never goes back.

use crate::error::{Error, Fault, Result, Space};

/// Buffer number `n` (from 1) lies at `n << WINDOW_BITS`: the gap between buffers is larger than any index error.
pub const WINDOW_BITS: u32 = 36;
/// How many bytes one machine has.
const BYTES_MAX: usize = 8 << 30;

/// A stamp is the time, then who: a thread, or several of them.
const WHO_BITS: u32 = 13;
const ATOMIC: u64 = 1 << 12;
const WHO: u64 = ATOMIC - 1;
const THREADS: u64 = 1024;
/// Several threads of warp `w`: `WARP + w`; of the block; of the launch.
const WARP: u64 = THREADS;
const BLOCK: u64 = WARP + 32;
const LAUNCH: u64 = BLOCK + 1;
/// A copy that goes on beside its threads.
const BULK: u64 = LAUNCH + 1;
/// What the host wrote.
const HOST: u64 = 1 << WHO_BITS;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Touch {
    Read,
    /// As constant memory.
    ReadConstant,
    Write,
    Atomic,
}

/// Work beside other work: what is done now, and what it has waited for.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Order {
    /// The number of the work beside that is done now; 0: none.
    pub beside: u64,
    /// Numbers up to this one have been waited for.
    pub joined: u64,
}

/// The time, and the times of what orders accesses, as one thread sees them.
#[derive(Clone, Copy, Debug)]
pub struct Watch {
    pub now: u64,
    /// Stamps before this do not count: the beginning of the launch, for shared memory of the block.
    pub floor: u64,
    /// Memory must have been written since: for shared memory the beginning of the block.
    pub written_since: u64,
    pub block: u64,
    pub barrier: u64,
    pub warp_barrier: u64,
    pub warp: u32,
    pub thread: u32,
    pub order: Order,
}

impl Watch {
    fn stamp(&self) -> u64 {
        self.now << WHO_BITS | u64::from(self.thread)
    }

    /// Whether what `stamp` says may happen at the same time as what this thread does now.
    fn clashes(&self, stamp: u64) -> bool {
        let time = stamp >> WHO_BITS;
        if time < self.floor {
            return false;
        }
        if time < self.block {
            return true;
        }
        let who = stamp & WHO;
        if who == u64::from(self.thread) {
            return false;
        }
        let warp = u64::from(self.warp);
        let same_warp = who == WARP + warp || (who < THREADS && who >> 5 == warp);
        who == LAUNCH || time >= if same_warp { self.warp_barrier } else { self.barrier }
    }

    /// The stamp of what happened before and what happens now.
    fn merge(&self, stamp: u64) -> u64 {
        let mine = self.stamp();
        let time = stamp >> WHO_BITS;
        let who = stamp & WHO;
        if time < self.floor {
            return mine;
        }
        let now = self.now << WHO_BITS;
        if time < self.block || who == LAUNCH {
            return now | LAUNCH;
        }
        if !self.clashes(stamp) {
            return mine;
        }
        let warp = u64::from(self.warp);
        let same_warp = who == WARP + warp || (who < THREADS && who >> 5 == warp);
        now | if same_warp { WARP + warp } else { BLOCK }
    }
}

#[derive(Clone, Copy, Default, Debug)]
struct Cell {
    written: u64,
    read: u64,
    /// Twice the number of the last work beside that touched it, and one more if that, or one before it that has not been waited for,
    /// wrote.
    beside: u64,
}

/// What is wrong with a touch; the caller knows where.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Clash {
    Uninitialized,
    NotConstant,
    Race(&'static str, &'static str),
    Unordered,
}

impl Clash {
    pub fn fault(self, space: Space, address: u64) -> Fault {
        match self {
            Clash::Uninitialized => Fault::UninitializedMemory { space, address },
            Clash::NotConstant => Fault::NotConstant { address },
            Clash::Unordered => Fault::Unordered { space, address },
            Clash::Race(now, before) => Fault::Race { space, address, now, before },
        }
    }
}

impl Cell {
    /// Checks and remembers what is done beside other work.
    #[inline]
    fn order(&mut self, writes: bool, order: Order) -> std::result::Result<(), Clash> {
        let waits = self.beside >> 1 > order.joined;
        if order.beside == 0 {
            return if waits && (writes || self.beside & 1 != 0) { Err(Clash::Unordered) } else { Ok(()) };
        }
        let wrote = writes || (waits && self.beside & 1 != 0);
        self.beside = order.beside << 1 | u64::from(wrote);
        Ok(())
    }

    #[inline]
    fn touch(&mut self, touch: Touch, watch: &Watch) -> std::result::Result<(), Clash> {
        self.order(!matches!(touch, Touch::Read | Touch::ReadConstant), watch.order)?;
        match touch {
            Touch::Read | Touch::ReadConstant => {
                if self.written >> WHO_BITS < watch.written_since {
                    return Err(Clash::Uninitialized);
                }
                if watch.clashes(self.written) {
                    return Err(Clash::Race("reads", "wrote"));
                }
                if touch == Touch::ReadConstant && self.written >> WHO_BITS >= watch.floor {
                    return Err(Clash::NotConstant);
                }
                self.read = watch.merge(self.read);
            }
            Touch::Write => {
                if watch.clashes(self.written) {
                    return Err(Clash::Race("writes", "wrote"));
                }
                if watch.clashes(self.read) {
                    return Err(Clash::Race("writes", "read"));
                }
                self.written = watch.stamp();
            }
            Touch::Atomic => {
                if self.written >> WHO_BITS < watch.written_since {
                    return Err(Clash::Uninitialized);
                }
                if self.written & ATOMIC == 0 && watch.clashes(self.written) {
                    return Err(Clash::Race("atomically changes", "wrote"));
                }
                if watch.clashes(self.read) {
                    return Err(Clash::Race("atomically changes", "read"));
                }
                self.written = watch.merge(self.written) | ATOMIC;
            }
        }
        Ok(())
    }
}

/// Why a copy or a product may not begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Beside {
    Clash(Clash),
    Unfenced,
}

/// A range of memory: a buffer, or the shared memory of a block.
#[derive(Clone, Debug)]
pub struct Region {
    bytes: Vec<u8>,
    cells: Vec<Cell>,
    /// One cell for every byte, else for every 4 bytes.
    by_byte: bool,
}

impl Region {
    pub fn new(bytes: usize) -> Region {
        let by_byte = !bytes.is_multiple_of(4);
        let cells = if by_byte { bytes } else { bytes / 4 };
        Region { bytes: vec![0; bytes], cells: vec![Cell::default(); cells], by_byte }
    }

    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether a range is inside.
    #[inline]
    pub fn holds(&self, offset: u64, bytes: usize) -> bool {
        offset <= self.bytes.len() as u64 && bytes as u64 <= self.bytes.len() as u64 - offset
    }

    /// The cells of a range that is inside.
    #[inline]
    fn cells(&mut self, offset: usize, bytes: usize) -> &mut [Cell] {
        if !self.by_byte && (offset | bytes) & 3 != 0 {
            self.by_byte = true;
            self.cells = self.cells.iter().flat_map(|&cell| [cell; 4]).collect();
        }
        if self.by_byte {
            &mut self.cells[offset..offset + bytes]
        } else {
            &mut self.cells[offset / 4..(offset + bytes) / 4]
        }
    }

    #[inline]
    pub fn touch(
        &mut self,
        offset: usize,
        bytes: usize,
        touch: Touch,
        watch: &Watch,
    ) -> std::result::Result<(), Clash> {
        for cell in self.cells(offset, bytes) {
            cell.touch(touch, watch)?;
        }
        Ok(())
    }

    /// Checks that a thread may begin a copy to a range, or products that read it: ordinary accesses that clash lie before a barrier,
    /// and writes before a fence of their thread's, whose time `fenced` tells. Bytes of copies are not looked at.
    pub fn touch_beside(
        &mut self,
        offset: usize,
        bytes: usize,
        writes: bool,
        watch: &Watch,
        fenced: impl Fn(u32) -> u64,
    ) -> std::result::Result<(), Beside> {
        for cell in self.cells(offset, bytes) {
            let (time, who) = (cell.written >> WHO_BITS, cell.written & WHO);
            let is_written = time >= watch.written_since;
            if is_written && who != BULK {
                if watch.clashes(cell.written) {
                    let now = if writes { "writes" } else { "reads" };
                    return Err(Beside::Clash(Clash::Race(now, "wrote")));
                }
                if who >= THREADS || fenced(who as u32) <= time {
                    return Err(Beside::Unfenced);
                }
            }
            if writes {
                if watch.clashes(cell.read) {
                    return Err(Beside::Clash(Clash::Race("writes", "read")));
                }
                cell.written = 0;
            } else if !is_written {
                return Err(Beside::Clash(Clash::Uninitialized));
            }
        }
        Ok(())
    }

    /// The bytes of a copy are there.
    pub fn arrive(&mut self, offset: usize, data: &[u8], now: u64) {
        self.bytes[offset..offset + data.len()].copy_from_slice(data);
        for cell in self.cells(offset, data.len()) {
            cell.written = now << WHO_BITS | BULK;
        }
    }

    /// Counts a range as not written: its bytes are under way.
    pub fn forget(&mut self, offset: usize, bytes: usize) {
        for cell in self.cells(offset, bytes) {
            cell.written = 0;
        }
    }

    #[inline]
    pub fn get(&self, offset: usize, bytes: usize) -> u64 {
        little(&self.bytes[offset..offset + bytes])
    }

    #[inline]
    pub fn put(&mut self, offset: usize, bytes: usize, value: u64) {
        put_little(&mut self.bytes[offset..offset + bytes], value);
    }

    pub fn slice(&self, offset: usize, bytes: usize) -> &[u8] {
        &self.bytes[offset..offset + bytes]
    }

    /// Writes from outside of a launch.
    fn fill(&mut self, offset: usize, bytes: &[u8], order: Order) -> Result<()> {
        self.order(offset, bytes.len(), true, order)?;
        self.bytes[offset..offset + bytes.len()].copy_from_slice(bytes);
        for cell in self.cells(offset, bytes.len()) {
            (cell.written, cell.read) = (HOST, 0);
        }
        Ok(())
    }

    fn order(&mut self, offset: usize, bytes: usize, writes: bool, order: Order) -> Result<()> {
        let cells = self.cells(offset, bytes).iter_mut();
        let mut ordered = cells.map(|cell| cell.order(writes, order));
        ordered.all(|ordered| ordered.is_ok()).then_some(()).ok_or_else(|| Error::Memory {
            what: format!(
                "bytes {offset} to {} are touched while work beside goes on with them",
                offset + bytes
            ),
        })
    }
}

/// An integer of 1, 2, 4 or 8 bytes.
#[inline]
pub fn little(bytes: &[u8]) -> u64 {
    match *bytes {
        [a] => a.into(),
        [a, b] => u16::from_le_bytes([a, b]).into(),
        [a, b, c, d] => u32::from_le_bytes([a, b, c, d]).into(),
        [a, b, c, d, e, f, g, h] => u64::from_le_bytes([a, b, c, d, e, f, g, h]),
        _ => 0,
    }
}

#[inline]
pub fn put_little(bytes: &mut [u8], value: u64) {
    match bytes {
        [a] => *a = value as u8,
        [_, _] => bytes.copy_from_slice(&(value as u16).to_le_bytes()),
        [_, _, _, _] => bytes.copy_from_slice(&(value as u32).to_le_bytes()),
        [_, _, _, _, _, _, _, _] => bytes.copy_from_slice(&value.to_le_bytes()),
        _ => {}
    }
}

/// All buffers of a machine. A number is never used again.
#[derive(Debug, Default)]
pub struct Memory {
    buffers: Vec<Option<Region>>,
    live_bytes: usize,
    /// Of what is done now.
    pub order: Order,
}

/// Why there is no buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full {
    pub free: usize,
}

impl Memory {
    /// The number of a new buffer.
    pub fn allocate(&mut self, bytes: usize) -> std::result::Result<u32, Full> {
        let free = BYTES_MAX - self.live_bytes;
        if bytes > free || self.buffers.len() >= 1 << 24 {
            return Err(Full { free });
        }
        self.live_bytes += bytes;
        self.buffers.push(Some(Region::new(bytes)));
        Ok(self.buffers.len() as u32)
    }

    pub fn free(&mut self, number: u32) {
        if let Some(region) = self.buffers.get_mut(number as usize - 1).and_then(Option::take) {
            self.live_bytes -= region.len();
        }
    }

    pub fn address(number: u32) -> u64 {
        u64::from(number) << WINDOW_BITS
    }

    /// The buffer that an address belongs to, and the offset in it, perhaps beyond its end.
    #[inline]
    pub fn at(&mut self, address: u64) -> Option<(&mut Region, u64)> {
        let number = (address >> WINDOW_BITS) as usize;
        let region = self.buffers.get_mut(number.wrapping_sub(1))?.as_mut()?;
        Some((region, address & ((1 << WINDOW_BITS) - 1)))
    }

    fn range(&mut self, number: u32, offset: usize, bytes: usize) -> Result<&mut Region> {
        let (region, _) =
            self.at(Memory::address(number)).ok_or(Error::Memory { what: "no such buffer".to_owned() })?;
        if region.holds(offset as u64, bytes) {
            return Ok(region);
        }
        let what =
            format!("bytes {offset} to {} of a buffer of {}", offset.saturating_add(bytes), region.len());
        Err(Error::Memory { what })
    }

    pub fn write(&mut self, number: u32, offset: usize, bytes: &[u8]) -> Result<()> {
        let order = self.order;
        self.range(number, offset, bytes.len())?.fill(offset, bytes, order)
    }

    /// Counts a buffer's bytes as not written.
    pub fn forget(&mut self, number: u32) {
        if let Some((region, _)) = self.at(Memory::address(number)) {
            region.forget(0, region.len());
        }
    }

    /// Fails for bytes that nothing has written.
    pub fn read(&mut self, number: u32, offset: usize, bytes: &mut [u8]) -> Result<()> {
        let order = self.order;
        let region = self.range(number, offset, bytes.len())?;
        region.order(offset, bytes.len(), false, order)?;
        bytes.copy_from_slice(region.slice(offset, bytes.len()));
        let by_byte = region.by_byte;
        let first = region.cells(offset, bytes.len()).iter().position(|cell| cell.written == 0);
        match first {
            None => Ok(()),
            Some(first) => {
                // Splitting into bytes, if `cells` did it, does not move the first one by more than its word.
                let at = if by_byte || region.by_byte { first } else { first * 4 };
                Err(Error::Memory { what: format!("byte {} is read but was never written", offset + at) })
            }
        }
    }

    /// Copies what was written; the rest stays unwritten.
    pub fn copy(
        &mut self,
        from: u32,
        from_offset: usize,
        to: u32,
        to_offset: usize,
        bytes: usize,
    ) -> Result<()> {
        let order = self.order;
        let source = self.range(from, from_offset, bytes)?;
        source.order(from_offset, bytes, false, order)?;
        let data = source.slice(from_offset, bytes).to_vec();
        let by_word = !source.by_byte && (from_offset | bytes) & 3 == 0;
        let written: Vec<bool> =
            source.cells(from_offset, bytes).iter().map(|cell| cell.written != 0).collect();
        let unit = if by_word { 4 } else { 1 };
        let target = self.range(to, to_offset, bytes)?;
        if written.iter().all(|&written| written) {
            return target.fill(to_offset, &data, order);
        }
        for (index, written) in written.into_iter().enumerate() {
            let at = index * unit;
            if written {
                target.fill(to_offset + at, &data[at..at + unit], order)?;
            } else {
                target.order(to_offset + at, unit, true, order)?;
                target.forget(to_offset + at, unit);
            }
        }
        Ok(())
    }
}
