//! A machine: memory, loaded modules, launches.
//!
//! Blocks run one after the other and warps take turns at barriers; [`memory`] finds what would depend on another
//! order.
//!
//! Invariant: a launch either runs to its end or is an error; what it wrote before an error stays written.

mod access;
mod hopper;
mod lanes;
pub mod memory;
mod order;
pub mod scalar;
mod together;
mod warp;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::ast::Home;
use crate::code::Code;
use crate::definition::Floats;
use crate::error::{Error, Fault, Result};
use crate::lower::{self, Layout};
use crate::parse;
use memory::{Memory, Region};
use order::{Asynchronous, Seen};
use warp::{Clock, Context, FULL, LANES, Place, Stop, Warp};

/// Where shared memory begins in its space, so that 0 is no address of a variable.
pub const SHARED_START: u64 = 1024;
/// Where spaces lie among generic addresses: below every buffer.
const SPACE_BITS: u32 = 32;
const SHARED_BASE: u64 = 1 << SPACE_BITS;
const LOCAL_BASE: u64 = 2 << SPACE_BITS;
const CONSTANT_BASE: u64 = 3 << SPACE_BITS;
const PARAMETER_BASE: u64 = 4 << SPACE_BITS;

/// Steps of warps in one launch.
pub const STEPS_MAX: u64 = 1 << 34;

/// Turns of all warps in which none changes a barrier that others wait for, before nothing more is expected.
const TURNS_MAX: u32 = 16;

/// A value for a parameter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Value {
    pub bits: u64,
    pub bytes: u32,
    pub is_pointer: bool,
}

/// How an entry is launched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shape {
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub shared: u32,
}

/// A module whose global variables lie in the memory of a machine.
#[derive(Debug)]
pub struct Loaded {
    text: Arc<str>,
    layout: Layout,
    entries: BTreeMap<String, Arc<Code>>,
}

impl Loaded {
    pub fn load(text: Arc<str>, memory: &mut Memory) -> Result<Loaded> {
        let module = parse::module(&text)?;
        let mut layout = Layout::of(&module)?;
        for variable in module.variables.iter().filter(|variable| variable.home == Home::Global) {
            let bytes = variable.bytes.unwrap_or(0) as usize;
            let number = memory
                .allocate(bytes)
                .map_err(|_| Error::Memory { what: format!("no room for `{}`", variable.name) })?;
            let mut content = variable.initial.clone().unwrap_or_default();
            content.resize(bytes, 0);
            memory.write(number, 0, &content)?;
            layout.globals.insert(variable.name.to_owned(), Memory::address(number));
        }
        drop(module);
        Ok(Loaded { text, layout, entries: BTreeMap::new() })
    }

    /// The code of an entry, made when it is first asked for.
    pub fn entry(&mut self, name: &str) -> Result<Arc<Code>> {
        if let Some(code) = self.entries.get(name) {
            return Ok(code.clone());
        }
        let code = Arc::new(lower::entry(&parse::module(&self.text)?, &self.layout, name)?);
        self.entries.insert(name.to_owned(), code.clone());
        Ok(code)
    }
}

/// The time of a machine, and how much it has done.
#[derive(Debug, Default)]
pub struct Machine {
    pub memory: Memory,
    now: u64,
    /// Instructions of threads so far.
    pub executed: u64,
    /// The limit of steps of warps in one launch; 0 means [`STEPS_MAX`].
    pub steps_max: u64,
    /// Lines of the text from which the last launch executed an instruction, in ascending order.
    pub reached: Vec<u32>,
    /// Results of float arithmetic in launches, unless nobody asked.
    pub floats: Option<Floats>,
}

impl Machine {
    pub fn launch(
        &mut self,
        loaded: &mut Loaded,
        entry: &str,
        shape: Shape,
        arguments: &[Value],
    ) -> Result<()> {
        let code = loaded.entry(entry)?;
        check(&code, &shape)?;
        let parameters = parameters(&code, arguments)?;
        let mut shared = Region::new((code.shared_bytes + shape.shared) as usize);
        let steps_left = if self.steps_max == 0 { STEPS_MAX } else { self.steps_max };
        // What the host writes has the time 1.
        let launch = self.now.max(1) + 1;
        let mut reached = vec![false; code.code.len()];
        let order = self.memory.order;
        let mut context = Context {
            memory: &mut self.memory,
            shared: &mut shared,
            constants: &loaded.layout.constants,
            parameters: &parameters,
            clock: Clock {
                now: launch,
                launch,
                block: launch,
                barrier: launch,
                warps: [launch; LANES],
                order,
            },
            threads: shape.block.iter().product(),
            beside: Asynchronous::default(),
            steps_left,
            steps_max: steps_left,
            executed: 0,
            reached: &mut reached,
            floats: self.floats.as_mut(),
        };
        let mut result = Ok(());
        'blocks: for z in 0..shape.grid[2] {
            for y in 0..shape.grid[1] {
                for x in 0..shape.grid[0] {
                    let place = Place { grid: shape.grid, block: shape.block, at: [x, y, z] };
                    result = block(&code, &mut context, &place);
                    if result.is_err() {
                        break 'blocks;
                    }
                }
            }
        }
        self.now = context.clock.now;
        self.executed += context.executed;
        let lines =
            code.code.iter().zip(&reached).filter(|(_, reached)| **reached).map(|(inst, _)| inst.line);
        self.reached = lines.collect::<BTreeSet<u32>>().into_iter().collect();
        result
    }
}

/// Runs a block: its warps one after the other from barrier to barrier.
fn block(code: &Code, context: &mut Context<'_>, place: &Place) -> Result<()> {
    context.clock.now += 1;
    order_all(&mut context.clock);
    context.clock.block = context.clock.now;
    let threads: u32 = place.block.iter().product();
    let mut warps: Vec<Warp<'_>> =
        (0..threads.div_ceil(32)).map(|index| Warp::new(code, index, place)).collect();
    let fault = |(fault, lane, line): (Fault, u32, u32), warp: u32| Error::Fault {
        line,
        block: place.at,
        thread: warp * 32 + lane,
        fault,
    };
    context.beside = Asynchronous::default();
    let mut stops: Vec<Option<Stop>> = vec![None; warps.len()];
    let mut idle = 0;
    loop {
        let changes = context.beside.changes;
        for (warp, stop) in warps.iter_mut().zip(&mut stops) {
            // Those that stand at the barrier or have ended wait for the others.
            if !matches!(stop, Some(Stop::Barrier(_) | Stop::Ended)) {
                *stop = Some(warp.run(context).map_err(|error| fault(error, warp.index))?);
            }
        }
        let waiting = |stop: &Option<Stop>| match stop {
            Some(Stop::Yielded(pc)) => Some(*pc),
            _ => None,
        };
        if let Some((index, pc)) = stops.iter().enumerate().find_map(|(at, stop)| Some((at, waiting(stop)?)))
        {
            idle = if changes == context.beside.changes { idle + 1 } else { 0 };
            if idle >= TURNS_MAX {
                return Err(fault((Fault::Deadlock, 0, code.code[pc as usize].line), index as u32));
            }
            continue;
        }
        // All warps have to stand at the same barrier of the text.
        let mut at = None;
        for (index, stop) in stops.iter_mut().enumerate() {
            if let Some(Stop::Barrier(pc)) = *stop {
                if *at.get_or_insert(pc) != pc {
                    let line = code.code[pc as usize].line;
                    return Err(fault((Fault::Divergent, 0, line), index as u32));
                }
                *stop = None;
            }
        }
        if at.is_none() {
            let line = code.code.last().map_or(0, |inst| inst.line);
            return context.beside.end(threads).map_err(|error| fault((error, 0, line), 0));
        }
        context.clock.now += 1;
        order_all(&mut context.clock);
        context.beside.meet();
        let mut all = Seen::default();
        warps.iter().flat_map(|warp| &warp.seen).for_each(|(_, seen)| all.join(seen));
        warps.iter_mut().for_each(|warp| warp.seen = vec![(FULL, all.clone())]);
    }
}

/// Everything so far happened before everything that follows, in this block.
fn order_all(clock: &mut Clock) {
    clock.barrier = clock.now;
    clock.warps = [clock.now; LANES];
}

/// What every device grants without being asked for more, and what the module demands.
fn check(code: &Code, shape: &Shape) -> Result<()> {
    let refuse = |what: String| Err(Error::Launch { entry: code.name.clone(), what });
    let threads = shape.block.iter().try_fold(1u32, |product, &size| product.checked_mul(size));
    let Some(threads @ 1..=1024) = threads else {
        return refuse(format!("blocks of {:?} threads", shape.block));
    };
    if shape.block[2] > 64 {
        return refuse(format!("blocks of {:?} threads", shape.block));
    }
    let [x, y, z] = shape.grid;
    if x == 0 || x > i32::MAX as u32 || !(1..=65535).contains(&y) || !(1..=65535).contains(&z) {
        return refuse(format!("a grid of {:?} blocks", shape.grid));
    }
    if let Some(limit) = code.threads_max
        && threads > limit.iter().fold(1u32, |product, &size| product.saturating_mul(size))
    {
        return refuse(format!("{threads} threads, .maxntid is {limit:?}"));
    }
    if let Some(wanted) = code.threads_exactly
        && wanted != shape.block
    {
        return refuse(format!("{:?} threads, .reqntid is {wanted:?}", shape.block));
    }
    let limit = shared_limit(code);
    let shared = u64::from(code.shared_bytes) + u64::from(shape.shared);
    if shared > limit {
        return refuse(format!("{shared} bytes of shared memory, at most {limit}"));
    }
    Ok(())
}

/// The least that any processor from this target on lets a block have.
fn shared_limit(code: &Code) -> u64 {
    match code.target {
        ..80 => 64 << 10,
        90 if code.is_specific => 227 << 10,
        _ => 99 << 10,
    }
}

fn parameters(code: &Code, arguments: &[Value]) -> Result<Vec<u8>> {
    let refuse = |what: String| Err(Error::Launch { entry: code.name.clone(), what });
    if arguments.len() != code.parameters.len() {
        return refuse(format!("{} arguments for {} parameters", arguments.len(), code.parameters.len()));
    }
    let mut out = vec![0; code.parameter_bytes as usize];
    for (index, (value, parameter)) in arguments.iter().zip(&code.parameters).enumerate() {
        if value.bytes != parameter.bytes {
            return refuse(format!("argument {index} has {} bytes, not {}", value.bytes, parameter.bytes));
        }
        if value.is_pointer && !value.bits.is_multiple_of(parameter.pointer_align) {
            return refuse(format!("argument {index} is not aligned to {}", parameter.pointer_align));
        }
        let bytes = value.bytes as usize;
        out[parameter.offset as usize..][..bytes].copy_from_slice(&value.bits.to_le_bytes()[..bytes]);
    }
    Ok(out)
}
