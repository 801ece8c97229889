//! Runs a [`Program`] on a device: constants uploaded once, values in its memory by the program's plan, each step
//! by the device's kernel.
//!
//! A step that the device has no kernel for runs on the CPU: its inputs are fetched, its outputs brought back when
//! something on the device needs them. Shapes, sizes and control flow stay on the host. Invariant: outputs, faults
//! and trace are those of [`Runtime`], to the bit, whichever steps ran where.

pub(crate) mod memory;
mod roots;
mod rows;
mod run;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use repops::exec::{ExecError, Execution, Executor, HashLevel, Observer, bind_sizes};
use repops::{Digest, Program, Tensor, fma};
use repops_cuda::Device;

use crate::Runtime;
use crate::bind::{Binding, Shape};
use crate::step::Prepared;

/// Is told once of each operator that runs on the CPU for want of a kernel.
pub type Warn = Box<dyn Fn(&str) + Send + Sync>;

/// Executes programs on a device, with a CPU for what the device cannot do. Runs take turns.
pub struct DeviceRuntime<D: Device> {
    device: D,
    name: String,
    cpu: Runtime,
    warn: Option<Warn>,
    /// What was made ready for the program that ran last, and its memory.
    state: Mutex<Option<State<D::Buffer>>>,
    fallbacks: Mutex<BTreeMap<&'static str, u64>>,
}

struct State<B> {
    program: Digest,
    prepared: Arc<Prepared>,
    binding: Option<(Vec<Shape>, Arc<Binding>)>,
    memory: memory::Memory<B>,
}

impl<D: Device> DeviceRuntime<D> {
    /// `name` is for messages and receipts.
    pub fn new(device: D, name: impl Into<String>, cpu: Runtime) -> DeviceRuntime<D> {
        DeviceRuntime {
            device,
            name: name.into(),
            cpu,
            warn: None,
            state: Mutex::default(),
            fallbacks: Mutex::default(),
        }
    }

    /// Has `warn` told of each operator without a kernel, once.
    pub fn with_warn(mut self, warn: Warn) -> DeviceRuntime<D> {
        self.warn = Some(warn);
        self
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn device(&self) -> &D {
        &self.device
    }

    /// The CPU's part.
    pub fn cpu(&self) -> &Runtime {
        &self.cpu
    }

    /// Operators that ran on the CPU for want of a kernel, and how many of their steps did.
    pub fn fallbacks(&self) -> BTreeMap<&'static str, u64> {
        self.fallbacks.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    /// Bytes of device memory that are kept for the program that ran last.
    pub fn buffer_bytes(&self) -> usize {
        let state = self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        state.as_ref().map_or(0, |state| state.memory.bytes())
    }

    fn fell_back(&self, op: &'static str) {
        let mut fallbacks = self.fallbacks.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let count = fallbacks.entry(op).or_insert(0);
        *count += 1;
        if *count == 1
            && let Some(warn) = &self.warn
        {
            warn(&format!("{op} has no kernel on {}; the CPU computes it", self.name));
        }
    }
}

impl<D: Device> Executor for DeviceRuntime<D> {
    fn execute(
        &self,
        program: &Program,
        inputs: &[Tensor],
        level: HashLevel,
        observer: &mut dyn Observer,
    ) -> Result<Execution, ExecError> {
        bind_sizes(program, inputs)?;
        self.cpu.pool.install(fma::check)?;
        let taken = self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        let kept = taken.filter(|state| state.program == program.digest());
        // Another program's memory is free by now.
        let mut state = kept.unwrap_or_else(|| State {
            program: program.digest(),
            prepared: Arc::new(Prepared::new(program, &self.cpu.regions, &self.cpu.tiles)),
            binding: None,
            memory: memory::Memory::new(&self.cpu.regions),
        });
        let shape = |t: &Tensor| Shape { dtype: t.dtype(), extents: t.shape().to_vec() };
        let shapes: Vec<Shape> = inputs.iter().map(shape).collect();
        let binding = match &state.binding {
            Some((bound, binding)) if *bound == shapes => binding.clone(),
            _ => Arc::new(Binding::new(program, inputs)),
        };
        state.binding = Some((shapes, binding.clone()));
        let prepared = state.prepared.clone();
        let setup = run::Setup {
            runtime: self,
            program,
            prepared: &prepared,
            binding: &binding,
            level,
            observer,
            memory: &mut state.memory,
        };
        let result = run::Run::new(setup).execute(inputs);
        // After an error of the device its memory is given up: another run begins anew.
        if !matches!(result, Err(ExecError::Device { .. })) {
            *self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(state);
        }
        result
    }
}
