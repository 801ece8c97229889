//! Runs a [`Program`]: sizes bound, memory planned and reused, threads used, steps observed and hashed.
//!
//! Invariant: threads, instruction set, region backend and memory never change a bit of an output or of
//! the trace. Whoever embeds this crate needs neither LLVM nor Python.
#![forbid(unsafe_code)]
#![deny(clippy::float_arithmetic)]

mod bind;
pub mod device;
pub mod generation;
mod hashing;
mod load;
mod memory;
mod run;
pub mod session;
mod step;

use std::sync::{Arc, Mutex};

use repops::exec::{ExecError, Execution, Executor, HashLevel, Observer, bind_sizes};
use repops::fma;
use repops::region::RegionBackend;
use repops::{Digest, Program, Tensor};
pub use repops_kernels::isa::Isa;
use repops_kernels::{FloatEnv, TileRegions};

pub use load::{LoadError, load};

/// How fused regions are evaluated. The bits are the same.
#[derive(Clone, Default)]
pub enum Regions {
    /// Tile by tile, instruction by instruction, by the kernels.
    #[default]
    Tiles,
    /// By the given backend; what it cannot take, by tiles.
    Backend(Arc<dyn RegionBackend>),
    /// Instruction by instruction over whole tensors, as if nothing had been fused.
    Unfused,
}

/// More threads than any machine runs at once; each takes memory, and a slip of a digit would take all of it.
pub const THREADS_MAX: usize = 1024;

/// How a [`Runtime`] works. None of this changes a bit.
#[derive(Clone, Default)]
pub struct RuntimeOptions {
    /// Threads to use, at most [`THREADS_MAX`]; 0: as many as the machine has.
    pub threads: usize,
    /// The instruction set; `None`: the fastest of this machine.
    pub isa: Option<Isa>,
    pub regions: Regions,
}

/// Why a runtime cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    #[error("this machine has no {isa}; it has: {available}")]
    Isa { isa: &'static str, available: String },
    #[error("{threads} threads were asked for; at most {THREADS_MAX} are allowed")]
    TooManyThreads { threads: usize },
    #[error("{threads} threads could not be started: {problem}")]
    Threads { threads: usize, problem: String },
}

/// Executes programs. May be shared between threads; runs of one runtime take turns.
pub struct Runtime {
    isa: Isa,
    pool: rayon::ThreadPool,
    tiles: TileRegions,
    regions: Regions,
    /// What was made ready for the program that ran last, and its memory.
    state: Mutex<Option<State>>,
}

struct State {
    program: Digest,
    prepared: Arc<step::Prepared>,
    binding: Option<(Vec<bind::Shape>, Arc<bind::Binding>)>,
    memory: memory::Memory,
}

impl Runtime {
    pub fn new(options: RuntimeOptions) -> Result<Runtime, RuntimeError> {
        let isa = options.isa.unwrap_or_else(Isa::detect);
        if !isa.is_available() {
            let available: Vec<&str> = Isa::available().map(Isa::name).collect();
            return Err(RuntimeError::Isa { isa: isa.name(), available: available.join(", ") });
        }
        if options.threads > THREADS_MAX {
            return Err(RuntimeError::TooManyThreads { threads: options.threads });
        }
        let pool = repops_kernels::pool(options.threads)
            .map_err(|e| RuntimeError::Threads { threads: options.threads, problem: e.to_string() })?;
        let tiles = TileRegions { isa };
        Ok(Runtime { isa, pool, tiles, regions: options.regions, state: Mutex::new(None) })
    }

    /// The instruction set in use.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// The number of threads in use.
    pub fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// Bytes of the buffers for intermediate values that are kept for the program that ran last. Values
    /// whose place is not planned, the program's outputs for instance, are not among them.
    pub fn buffer_bytes(&self) -> usize {
        let state = self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        state.as_ref().map_or(0, |state| state.memory.bytes())
    }

    /// Calls `work` on one of the runtime's threads. Runs that begin there begin at once, where otherwise each is handed
    /// to a sleeping thread and waited for: tens of microseconds, which a caller of many small runs saves.
    pub fn install<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        self.pool.install(work)
    }

    /// Takes tensors that are not needed any more, the results of an earlier run for instance: the next run of the
    /// program that ran last writes its results into their memory rather than into memory that the system has to
    /// clear first.
    pub fn give_back(&self, tensors: Vec<Tensor>) {
        let mut state = self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(state) = state.as_mut() {
            tensors.into_iter().for_each(|tensor| state.memory.give_back(tensor.into_aligned()));
        }
    }

    /// Compares the constants' bytes with their digests, on all threads.
    pub fn check_constants(&self, program: &Program) -> Result<(), ExecError> {
        self.pool
            .install(|| program.check_constants(repops_kernels::bytes_digest))
            .map_err(ExecError::Program)
    }

    /// The digest of a tensor, on all threads.
    pub fn tensor_digest(&self, tensor: &Tensor) -> Digest {
        let view = tensor.view();
        self.pool.install(|| {
            repops_kernels::bytes_digest(view.dtype, repops::Layout::RowMajor, view.shape, view.bytes)
        })
    }
}

impl Executor for Runtime {
    fn execute(
        &self,
        program: &Program,
        inputs: &[Tensor],
        level: HashLevel,
        observer: &mut dyn Observer,
    ) -> Result<Execution, ExecError> {
        bind_sizes(program, inputs)?;
        // A run that panicked left nothing half-made: the state is taken out while a run lasts.
        let taken = self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        let mut state = match taken {
            Some(state) if state.program == program.digest() => state,
            _ => State {
                program: program.digest(),
                prepared: Arc::new(step::Prepared::new(program, &self.regions, &self.tiles)),
                binding: None,
                memory: memory::Memory::default(),
            },
        };
        let shape = |t: &Tensor| bind::Shape { dtype: t.dtype(), extents: t.shape().to_vec() };
        let shapes: Vec<bind::Shape> = inputs.iter().map(shape).collect();
        let binding = match &state.binding {
            Some((bound, binding)) if *bound == shapes => binding.clone(),
            _ => Arc::new(bind::Binding::new(program, inputs)),
        };
        state.binding = Some((shapes, binding.clone()));
        let prepared = state.prepared.clone();
        let result = self.pool.install(|| {
            let _env = FloatEnv::enter();
            // After the environment is set: what is asked is whether the kernels' own arithmetic is right.
            fma::check()?;
            let setup = run::Setup {
                program,
                isa: self.isa,
                prepared: &prepared,
                binding: &binding,
                level,
                observer,
                memory: &mut state.memory,
            };
            run::Run::new(setup).execute(inputs)
        });
        *self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(state);
        result
    }
}
