//! A warp: 32 threads whose registers lie side by side, and how they take turns.
//!
//! Threads that stand at the same instruction go on together. Where they part, those that called deepest go first, and
//! among them those with the smallest address, so that they meet again where the code joins; an instruction that needs
//! others waits for them.
//!
//! Invariant: which threads go on together never changes what one of them computes.

use std::collections::VecDeque;

use super::memory::{Memory, Order, Region, Watch};
use super::order::{Asynchronous, Products, Seen};
use crate::code::{Code, NONE, Op, Preset, Reg};
use crate::definition::Floats;
use crate::error::Fault;

pub const LANES: usize = 32;
pub const FULL: u32 = u32::MAX;

/// A fault and the lane that met it.
pub type Lane<T> = std::result::Result<T, (Fault, u32)>;

/// What a warp shares with others.
pub struct Context<'m> {
    pub memory: &'m mut Memory,
    pub shared: &'m mut Region,
    pub constants: &'m [u8],
    pub parameters: &'m [u8],
    pub clock: Clock,
    /// Threads of a block.
    pub threads: u32,
    /// What goes on beside the threads of the block.
    pub beside: Asynchronous,
    /// Steps of warps still allowed.
    pub steps_left: u64,
    /// Of the launch, for the message.
    pub steps_max: u64,
    /// Instructions of threads.
    pub executed: u64,
    /// By instruction: whether a thread has executed it.
    pub reached: &'m mut [bool],
    /// Results of float arithmetic, if somebody asked for them.
    pub floats: Option<&'m mut Floats>,
}

/// Times at which accesses became ordered.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    pub now: u64,
    pub launch: u64,
    pub block: u64,
    pub barrier: u64,
    pub warps: [u64; LANES],
    pub order: Order,
}

impl Clock {
    /// How a thread sees the past of global memory.
    pub fn watch(&self, warp: u32, lane: u32) -> Watch {
        Watch {
            now: self.now,
            floor: self.launch,
            written_since: 1,
            block: self.block,
            barrier: self.barrier,
            warp_barrier: self.warps[warp as usize],
            warp,
            thread: warp * 32 + lane,
            order: self.order,
        }
    }

    /// And of shared memory, which begins with the block.
    pub fn watch_shared(&self, warp: u32, lane: u32) -> Watch {
        let order = Order::default();
        Watch { floor: self.block, written_since: self.block, order, ..self.watch(warp, lane) }
    }
}

/// Threads at one place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Group {
    pc: u32,
    depth: u32,
    mask: u32,
    /// For others to arrive.
    waiting: bool,
}

/// Why a warp stops.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    Ended,
    /// At the block's barrier in this instruction.
    Barrier(u32),
    /// Has asked a barrier in shared memory in vain, in this instruction: others may go on.
    Yielded(u32),
}

/// Copies from global to shared memory that are under way, of one thread.
#[derive(Clone, Default, Debug)]
pub struct Copies {
    pub open: Vec<Copy>,
    pub groups: VecDeque<Vec<Copy>>,
}

#[derive(Clone, Copy, Debug)]
pub struct Copy {
    pub to: u32,
    pub bytes: u8,
    pub data: [u8; 16],
}

/// What one instruction leads to.
pub enum Next {
    Step,
    /// Comes back to the instruction when more threads have arrived.
    Wait,
    Jump(u32),
    /// Threads with their targets; the rest goes on.
    Part(Vec<(u32, u32)>),
    Enter(u32),
    Leave(u16),
    End,
    Barrier,
    /// Goes on when others have had a turn.
    Yield,
}

pub struct Warp<'c> {
    pub code: &'c Code,
    pub index: u32,
    pub r32: Vec<[u32; LANES]>,
    pub r64: Vec<[u64; LANES]>,
    pub predicates: Vec<u32>,
    /// Lanes whose register holds a value.
    pub set_32: Vec<u32>,
    pub set_64: Vec<u32>,
    pub set_p: Vec<u32>,
    pub carry: u32,
    pub carry_set: u32,
    pub live: u32,
    groups: Vec<Group>,
    pub returns: Vec<[u32; LANES]>,
    /// Local memory, lane after lane, and which bytes of it were written.
    pub local: Vec<u8>,
    pub local_set: Vec<bool>,
    pub copies: Vec<Copies>,
    pub products: Products,
    /// What lanes know of copies and products; every lane is in one mask.
    pub seen: Vec<(u32, Seen)>,
}

/// Where a block is, for special registers.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub at: [u32; 3],
}

impl<'c> Warp<'c> {
    pub fn new(code: &'c Code, index: u32, place: &Place) -> Warp<'c> {
        let threads = place.block.iter().product::<u32>();
        let lanes = (threads - index * 32).min(32);
        let live = if lanes == 32 { FULL } else { (1 << lanes) - 1 };
        let mut warp = Warp {
            code,
            index,
            r32: vec![[0; LANES]; code.registers_32],
            r64: vec![[0; LANES]; code.registers_64],
            predicates: vec![0; code.predicates],
            set_32: vec![0; code.registers_32],
            set_64: vec![0; code.registers_64],
            set_p: vec![0; code.predicates],
            carry: 0,
            carry_set: 0,
            live,
            groups: vec![Group { pc: 0, depth: 0, mask: live, waiting: false }],
            returns: vec![[0; LANES]; code.functions.into()],
            local: Vec::new(),
            local_set: Vec::new(),
            copies: Vec::new(),
            products: Products::default(),
            seen: vec![(FULL, Seen::default())],
        };
        for &(register, preset) in &code.presets_32 {
            warp.r32[usize::from(register)] =
                std::array::from_fn(|lane| warp.preset(preset, lane as u32, place) as u32);
            warp.set_32[usize::from(register)] = FULL;
        }
        for &(register, preset) in &code.presets_64 {
            warp.r64[usize::from(register)] =
                std::array::from_fn(|lane| warp.preset(preset, lane as u32, place));
            warp.set_64[usize::from(register)] = FULL;
        }
        for &(register, value) in &code.presets_p {
            warp.predicates[usize::from(register)] = if value { FULL } else { 0 };
            warp.set_p[usize::from(register)] = FULL;
        }
        warp
    }

    fn preset(&self, preset: Preset, lane: u32, place: &Place) -> u64 {
        let thread = self.index * 32 + lane;
        let [x, y, _] = place.block;
        let below = (1u64 << lane) - 1;
        match preset {
            Preset::Bits(bits) => bits,
            Preset::Thread(0) => (thread % x).into(),
            Preset::Thread(1) => (thread / x % y).into(),
            Preset::Thread(_) => (thread / x / y).into(),
            Preset::Threads(axis) => place.block[usize::from(axis)].into(),
            Preset::Block(axis) => place.at[usize::from(axis)].into(),
            Preset::Blocks(axis) => place.grid[usize::from(axis)].into(),
            Preset::Lane => lane.into(),
            Preset::Warp => self.index.into(),
            Preset::LaneMaskEq => 1 << lane,
            Preset::LaneMaskLt => below,
            Preset::LaneMaskLe => below << 1 | 1,
            Preset::LaneMaskGt => u64::from(FULL) & !(below << 1 | 1),
            Preset::LaneMaskGe => u64::from(FULL) & !below,
        }
    }

    /// Runs until all threads have ended or stand at the barrier. An error names the line, too.
    pub fn run(&mut self, context: &mut Context<'_>) -> std::result::Result<Stop, (Fault, u32, u32)> {
        let code = self.code;
        while !self.groups.is_empty() {
            let mut group = self.pick().map_err(|group| {
                (Fault::Divergent, group.mask.trailing_zeros(), code.code[group.pc as usize].line)
            })?;
            let stop = self.meets_at(&group);
            while group.pc < stop {
                let inst = &code.code[group.pc as usize];
                if context.steps_left == 0 {
                    return Err((Fault::StepLimit { limit: context.steps_max }, 0, inst.line));
                }
                context.steps_left -= 1;
                let exec = if inst.guard == NONE {
                    group.mask
                } else {
                    self.guarded(inst.guard, inst.negated, group.mask)
                        .map_err(|(fault, lane)| (fault, lane, inst.line))?
                };
                context.executed += u64::from(exec.count_ones());
                if exec == 0 {
                    group.pc += 1;
                    continue;
                }
                context.reached[group.pc as usize] = true;
                let next = self
                    .execute(context, &inst.op, exec, group.mask, group.pc)
                    .map_err(|(fault, lane)| (fault, lane, inst.line))?;
                if let Some(floats) = context.floats.as_deref_mut() {
                    self.remember(&inst.op, exec, floats);
                }
                match next {
                    Next::Step => group.pc += 1,
                    Next::Jump(target) if exec == group.mask => {
                        let back = target <= group.pc;
                        group.pc = target;
                        // Others may wait further up.
                        if back && !self.groups.is_empty() {
                            break;
                        }
                    }
                    next => {
                        if let Some(stop) = self.part(&mut group, next, exec, inst.line)? {
                            return Ok(stop);
                        }
                        break;
                    }
                }
            }
            if group.mask != 0 {
                self.groups.push(group);
            }
        }
        Ok(Stop::Ended)
    }

    /// What float arithmetic has given.
    fn remember(&self, op: &Op, exec: u32, floats: &mut Floats) {
        use crate::code::{Binary as B, Ternary, Unary};
        let (wide, register) = match *op {
            Op::Binary32(B::AddF | B::SubF | B::MulF | B::DivF, d, ..)
            | Op::Ternary32(Ternary::FmaF, d, ..)
            | Op::Unary32(Unary::SqrtF, d, _) => (false, d),
            Op::Binary64(B::AddF | B::SubF | B::MulF | B::DivF, d, ..)
            | Op::Ternary64(Ternary::FmaF, d, ..)
            | Op::Unary64(Unary::SqrtF, d, _) => (true, d),
            _ => return,
        };
        for lane in lanes(exec) {
            if wide {
                floats.double(self.r64[usize::from(register)][lane]);
            } else {
                floats.single(self.r32[usize::from(register)][lane]);
            }
        }
    }

    /// Everything that changes which threads go together. Leaves an empty group if all are in `groups`.
    fn part(
        &mut self,
        group: &mut Group,
        next: Next,
        exec: u32,
        line: u32,
    ) -> std::result::Result<Option<Stop>, (Fault, u32, u32)> {
        let Group { pc, depth, mask, .. } = *group;
        let rest = mask & !exec;
        group.mask = 0;
        let mut go = |pc: u32, depth: u32, mask: u32| {
            if mask != 0 {
                self.groups.push(Group { pc, depth, mask, waiting: false });
            }
        };
        match next {
            Next::Wait => {
                self.groups.push(Group { pc, depth, mask, waiting: true });
                return Ok(None);
            }
            Next::Barrier => {
                go(pc + 1, depth, mask);
                return Ok(Some(Stop::Barrier(pc)));
            }
            Next::Yield => {
                go(pc + 1, depth, mask);
                return Ok(Some(Stop::Yielded(pc)));
            }
            Next::Step => go(pc + 1, depth, mask),
            Next::Jump(target) => {
                go(target, depth, exec);
                go(pc + 1, depth, rest);
            }
            Next::Part(targets) => {
                for (target, mask) in targets {
                    go(target, depth, mask);
                }
                go(pc + 1, depth, rest);
            }
            Next::Enter(target) => {
                go(target, depth + 1, exec);
                go(pc + 1, depth, rest);
            }
            Next::Leave(function) => {
                go(pc + 1, depth, rest);
                let returns = self.returns[usize::from(function)];
                let mut left = exec;
                while left != 0 {
                    let to = returns[left.trailing_zeros() as usize];
                    let same = mask_where(left, |lane| returns[lane] == to);
                    left &= !same;
                    let results = match &self.code.code[to as usize - 1].op {
                        Op::Call(call) => call.results.as_slice(),
                        _ => &[],
                    };
                    self.pass(results, same).map_err(|(fault, lane)| (fault, lane, line))?;
                    self.groups.push(Group { pc: to, depth: depth - 1, mask: same, waiting: false });
                }
            }
            Next::End => {
                go(pc + 1, depth, rest);
                self.live &= !exec;
                // Whoever waits for all threads may have all of them now.
                for group in &mut self.groups {
                    group.waiting = false;
                }
            }
        }
        Ok(None)
    }

    /// The group that goes on, joined by those at the same place; or one of those that wait for nobody.
    fn pick(&mut self) -> std::result::Result<Group, Group> {
        let best = self
            .groups
            .iter()
            .filter(|group| !group.waiting)
            .max_by_key(|group| (group.depth, std::cmp::Reverse(group.pc)))
            .copied();
        let Some(mut best) = best else { return Err(self.groups[0]) };
        best.mask = 0;
        self.groups.retain(|group| {
            let joins = group.pc == best.pc && group.depth == best.depth;
            if joins {
                best.mask |= group.mask;
            }
            !joins
        });
        Ok(best)
    }

    /// The next place at which another group stands.
    fn meets_at(&self, group: &Group) -> u32 {
        let others = self.groups.iter().filter(|other| other.depth == group.depth && other.pc > group.pc);
        others.map(|other| other.pc).min().unwrap_or(u32::MAX)
    }

    /// Lanes of `mask` whose guard lets them.
    fn guarded(&self, guard: Reg, negated: bool, mask: u32) -> Lane<u32> {
        let value = self.predicate(guard, mask)?;
        Ok(mask & if negated { !value } else { value })
    }

    pub fn predicate(&self, register: Reg, mask: u32) -> Lane<u32> {
        is_set(self.set_p[usize::from(register)], mask)?;
        Ok(self.predicates[usize::from(register)])
    }

    pub fn put_predicate(&mut self, register: Reg, value: u32, mask: u32) {
        if register != NONE {
            let slot = &mut self.predicates[usize::from(register)];
            *slot = *slot & !mask | value & mask;
            self.set_p[usize::from(register)] |= mask;
        }
    }

    #[inline]
    pub fn get_32(&self, register: Reg, mask: u32) -> Lane<&[u32; LANES]> {
        is_set(self.set_32[usize::from(register)], mask)?;
        Ok(&self.r32[usize::from(register)])
    }

    #[inline]
    pub fn get_64(&self, register: Reg, mask: u32) -> Lane<&[u64; LANES]> {
        is_set(self.set_64[usize::from(register)], mask)?;
        Ok(&self.r64[usize::from(register)])
    }

    #[inline]
    pub fn put_32(&mut self, register: Reg, values: &[u32; LANES], mask: u32) {
        let slot = &mut self.r32[usize::from(register)];
        self.set_32[usize::from(register)] |= mask;
        if mask == FULL {
            *slot = *values;
        } else {
            for lane in 0..LANES {
                if mask >> lane & 1 == 1 {
                    slot[lane] = values[lane];
                }
            }
        }
    }

    #[inline]
    pub fn put_64(&mut self, register: Reg, values: &[u64; LANES], mask: u32) {
        let slot = &mut self.r64[usize::from(register)];
        self.set_64[usize::from(register)] |= mask;
        if mask == FULL {
            *slot = *values;
        } else {
            for lane in 0..LANES {
                if mask >> lane & 1 == 1 {
                    slot[lane] = values[lane];
                }
            }
        }
    }
}

/// Whether all lanes of `mask` are in `set`.
#[inline]
pub fn is_set(set: u32, mask: u32) -> Lane<()> {
    let missing = mask & !set;
    if missing == 0 { Ok(()) } else { Err((Fault::UninitializedRegister, missing.trailing_zeros())) }
}

/// The lanes of `mask` for which `f` holds.
#[inline]
pub fn mask_where(mask: u32, f: impl Fn(usize) -> bool) -> u32 {
    let mut out = 0;
    for lane in 0..LANES {
        out |= u32::from(f(lane)) << lane;
    }
    out & mask
}

/// The numbers of the lanes of a mask.
pub fn lanes(mut mask: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        if mask == 0 {
            return None;
        }
        let lane = mask.trailing_zeros() as usize;
        mask &= mask - 1;
        Some(lane)
    })
}
