//! The interpreter as a device: the launches that a GPU gets run here.
//!
//! Work beside other work is done at once, too; whoever touches what it touches without waiting for it meets an error. What is recorded
//! ([`recording`]) is a list of calls, and is done when it is replayed.
//!
//! Invariant: what is wrong with a launch, and what of a buffer is read though nothing has written it, is an error, never
//! a guess. Everything is done when a call returns.

mod recording;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use repops_cuda::ledger::{Dropped, Ledger};
use repops_cuda::{Argument, Device, Error, Kernel, Module};

use crate::definition::Floats;
use crate::{Loaded, Machine, Memory, Shape, Value};
use recording::Doing;
pub use recording::Recording;

/// A device in this process. Clones are the same device.
#[derive(Clone, Debug)]
pub struct Interpreter {
    state: Arc<Mutex<State>>,
    architecture: u32,
}

impl Default for Interpreter {
    fn default() -> Interpreter {
        Interpreter::of_architecture(75)
    }
}

#[derive(Debug, Default)]
struct State {
    machine: Machine,
    modules: BTreeMap<Name, Loaded>,
    /// Texts that stand in for those of modules.
    replaced: BTreeMap<Name, Arc<str>>,
    launched: BTreeMap<(Name, &'static str), u64>,
    /// Lines of modules that launches have executed, unless nobody asked.
    reached: Option<Reached>,
    /// The most blocks along the first axis; 0 for any number.
    blocks_max: u32,
    /// Works beside others so far.
    besides: u64,
    /// Recordings replayed so far.
    replays: u64,
    /// What is recorded now.
    calls: Vec<Doing>,
    ledger: Ledger<u32>,
}

/// A module's.
pub type Name = Cow<'static, str>;

/// Numbers of lines by module.
pub type Reached = BTreeMap<Name, BTreeSet<u32>>;

/// Bytes of an [`Interpreter`].
#[derive(Debug)]
pub struct Buffer {
    number: u32,
    state: Arc<Mutex<State>>,
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut state = locked(&self.state);
        let order = state.machine.memory.order;
        // Work beside may still be under way with it.
        let is_idle = order.beside > 0 || order.joined == state.besides;
        match state.ledger.drop(self.number, order.beside > 0, is_idle) {
            Dropped::Free => state.machine.memory.free(self.number),
            Dropped::Kept => {}
            Dropped::Idle => state.calls.push(Doing::Forget(self.number)),
        }
    }
}

/// A launch that failed leaves memory as it is, so a poisoned lock holds nothing broken.
fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Interpreter {
    pub fn new() -> Interpreter {
        Interpreter::default()
    }

    /// A device that says that it is of this architecture, as 80 for 8.0: of twin modules it is given the one for that.
    pub fn of_architecture(architecture: u32) -> Interpreter {
        Interpreter { state: Arc::default(), architecture }
    }

    /// Runs `text` wherever a launch names the module `name`: for faults that tests plant.
    pub fn replace(&self, name: &'static str, text: &str) {
        let mut state = locked(&self.state);
        state.replaced.insert(name.into(), text.into());
        state.modules.remove(name);
    }

    /// Limits the steps that the warps of one launch take together.
    pub fn limit_steps(&self, steps: u64) {
        locked(&self.state).machine.steps_max = steps;
    }

    /// The entries launched so far, by module and name, and how often.
    pub fn launched(&self) -> BTreeMap<(Name, &'static str), u64> {
        locked(&self.state).launched.clone()
    }

    /// How often recordings were replayed.
    pub fn replayed(&self) -> u64 {
        locked(&self.state).replays
    }

    /// From now on remembers which lines of modules are executed.
    pub fn remember_lines(&self) {
        locked(&self.state).reached = Some(Reached::new());
    }

    /// The lines that launches have executed since this was last asked; none if they are not remembered.
    pub fn take_lines(&self) -> Reached {
        locked(&self.state).reached.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// From now on remembers what float arithmetic gives.
    pub fn remember_floats(&self) {
        locked(&self.state).machine.floats = Some(Floats::default());
    }

    /// What float arithmetic has given since it is remembered, and no longer remembers it.
    pub fn take_floats(&self) -> Floats {
        locked(&self.state).machine.floats.take().unwrap_or_default()
    }

    /// From now on no launch has more blocks along the first axis, or as many as it asks for if that is 0: kernels that
    /// loop over what is left have to.
    pub fn limit_blocks(&self, blocks: u32) {
        locked(&self.state).blocks_max = blocks;
    }

    /// Instructions of threads executed so far.
    pub fn executed(&self) -> u64 {
        locked(&self.state).machine.executed
    }
}

impl State {
    fn load(&mut self, module: &Module) -> Result<&mut Loaded, Error> {
        let text = self.replaced.get(&module.name).cloned();
        match self.modules.entry(module.name.clone()) {
            std::collections::btree_map::Entry::Occupied(entry) => Ok(entry.into_mut()),
            std::collections::btree_map::Entry::Vacant(entry) => {
                let text = text.unwrap_or_else(|| module.ptx.as_ref().into());
                let loaded = Loaded::load(text, &mut self.machine.memory)
                    .map_err(|error| told(&module.name, &error))?;
                Ok(entry.insert(loaded))
            }
        }
    }

    /// New memory; without a size in the ledger its contents stay.
    fn allocate(&mut self, bytes: usize, size: Option<usize>) -> Result<u32, Error> {
        let made = self.machine.memory.allocate(bytes);
        let number = made.map_err(|full| Error::OutOfMemory { wanted: bytes, free: full.free })?;
        self.ledger.add(number, size);
        Ok(number)
    }

    /// Does what a launch or a copy says, or puts it down.
    fn give(&mut self, doing: Doing) -> Result<(), Error> {
        if self.ledger.is_open() {
            self.calls.push(doing);
            return Ok(());
        }
        self.do_now(&doing)
    }

    fn do_now(&mut self, doing: &Doing) -> Result<(), Error> {
        match doing {
            Doing::Launch { kernel, shape, values } => self.run(kernel, *shape, values),
            Doing::Copy { from, to, bytes } => {
                let memory = &mut self.machine.memory;
                memory.copy(from.0, from.1, to.0, to.1, *bytes).map_err(|error| told("memory", &error))
            }
            Doing::Beside => {
                self.besides += 1;
                self.machine.memory.order.beside = self.besides;
                Ok(())
            }
            Doing::Back => {
                self.machine.memory.order.beside = 0;
                Ok(())
            }
            Doing::Join => {
                self.machine.memory.order.joined = self.besides;
                Ok(())
            }
            Doing::Forget(number) => {
                self.machine.memory.forget(*number);
                Ok(())
            }
        }
    }

    fn run(&mut self, kernel: &Kernel, shape: Shape, values: &[Value]) -> Result<(), Error> {
        let [x, y, z] = shape.grid;
        let blocks = if self.blocks_max == 0 { x } else { x.min(self.blocks_max) };
        let shape = Shape { grid: [blocks, y, z], ..shape };
        let name = &kernel.module.name;
        self.load(&kernel.module)?;
        let Some(loaded) = self.modules.get_mut(name) else { return Ok(()) };
        self.machine.launch(loaded, kernel.entry, shape, values).map_err(|error| match error {
            crate::Error::Launch { entry, what } => Error::Launch { kernel: entry, what },
            error => told(&format!("{name} in `{}`", kernel.entry), &error),
        })?;
        *self.launched.entry((name.clone(), kernel.entry)).or_default() += 1;
        if let Some(reached) = &mut self.reached {
            reached.entry(name.clone()).or_default().extend(&self.machine.reached);
        }
        Ok(())
    }

    /// Nothing is read or written while something is recorded, nor read beside other work.
    fn at_once(&self, what: &str, reads: bool) -> Result<(), Error> {
        match () {
            () if self.ledger.is_open() => Err(Error::unsupported(format!("{what} in a recording"))),
            () if reads && self.machine.memory.order.beside > 0 => {
                Err(Error::unsupported(format!("{what} beside other work")))
            }
            () => Ok(()),
        }
    }
}

fn told(module: &str, error: &crate::Error) -> Error {
    Error::Interpreter {
        module: module.to_owned(),
        line: error.line().unwrap_or(0) as usize,
        what: error.to_string(),
    }
}

impl Device for Interpreter {
    type Buffer = Buffer;
    type Recording = Recording;

    fn architecture(&self) -> u32 {
        self.architecture
    }

    fn alloc(&self, bytes: usize) -> Result<Buffer, Error> {
        let mut state = locked(&self.state);
        let beside = state.machine.memory.order.beside > 0;
        let number = match state.ledger.take(bytes, beside) {
            Some(number) => number,
            None => state.allocate(bytes, Some(bytes))?,
        };
        Ok(Buffer { number, state: self.state.clone() })
    }

    fn put(&self, bytes: &[u8]) -> Result<Buffer, Error> {
        let mut state = locked(&self.state);
        let number = state.allocate(bytes.len().max(16), None)?;
        // New memory takes what is written.
        state.machine.memory.write(number, 0, bytes).map_err(|error| told("memory", &error))?;
        Ok(Buffer { number, state: self.state.clone() })
    }

    fn write(&self, to: &Buffer, offset: usize, bytes: &[u8]) -> Result<(), Error> {
        let mut state = locked(&self.state);
        state.at_once("writing", false)?;
        state.machine.memory.write(to.number, offset, bytes).map_err(|error| told("memory", &error))
    }

    fn read(&self, from: &Buffer, offset: usize, bytes: &mut [u8]) -> Result<(), Error> {
        let mut state = locked(&self.state);
        state.at_once("reading", true)?;
        state.machine.memory.read(from.number, offset, bytes).map_err(|error| told("memory", &error))
    }

    fn copy(
        &self,
        from: &Buffer,
        from_offset: usize,
        to: &Buffer,
        to_offset: usize,
        bytes: usize,
    ) -> Result<(), Error> {
        let (from, to) = ((from.number, from_offset), (to.number, to_offset));
        locked(&self.state).give(Doing::Copy { from, to, bytes })
    }

    fn launch(
        &self,
        kernel: &Kernel,
        grid: [u32; 3],
        block: [u32; 3],
        shared: u32,
        arguments: &[Argument<'_, Buffer>],
    ) -> Result<(), Error> {
        let values: Vec<Value> = arguments.iter().map(value).collect();
        let shape = Shape { grid, block, shared };
        locked(&self.state).give(Doing::Launch { kernel: kernel.clone(), shape, values })
    }

    fn synchronize(&self) -> Result<(), Error> {
        locked(&self.state).at_once("waiting", true)
    }

    fn beside(&self, work: &mut dyn FnMut() -> Result<(), Error>) -> Result<(), Error> {
        locked(&self.state).turn_aside()?;
        let done = work();
        let back = locked(&self.state).turn(Doing::Back);
        done.and(back)
    }

    fn join(&self) -> Result<(), Error> {
        let mut state = locked(&self.state);
        if state.machine.memory.order.beside > 0 {
            return Err(Error::unsupported("waiting for work beside, beside"));
        }
        state.turn(Doing::Join)
    }

    fn record(&self, work: &mut dyn FnMut() -> Result<(), Error>) -> Result<Recording, Error> {
        locked(&self.state).begin_recording()?;
        let done = work();
        let (recording, done) = locked(&self.state).end_recording(done, &self.state);
        done.map(|()| recording)
    }

    fn replay(&self, recording: &Recording) -> Result<(), Error> {
        locked(&self.state).replay(recording)
    }
}

fn value(argument: &Argument<'_, Buffer>) -> Value {
    let (bits, bytes, is_pointer) = match argument {
        Argument::Pointer { buffer, offset } => {
            (Memory::address(buffer.number).wrapping_add(*offset as u64), 8, true)
        }
        Argument::U32(value) => (u64::from(*value), 4, false),
        Argument::I32(value) => (u64::from(*value as u32), 4, false),
        Argument::U64(value) => (*value, 8, false),
        Argument::F32(value) => (u64::from(value.to_bits()), 4, false),
    };
    Value { bits, bytes, is_pointer }
}
