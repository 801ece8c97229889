//! The executor that the arguments ask for.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use repops::exec::{ExecError, Execution, Executor, HashLevel, Observer};
use repops::reference::Reference;
use repops::{Program, Tensor};
use repops_cuda::driver::Driver;
use repops_runtime::device::{DeviceRuntime, Warn};
use repops_runtime::session::{Session, SessionOptions};
use repops_runtime::{Isa, Runtime, RuntimeOptions};

use crate::arguments::{self, DeviceChoice, IsaChoice, Regions};
use crate::region_code;
use crate::report::note;
use crate::{Failure, Result};

/// The CPU's part, as the arguments want it.
fn runtime(arguments: &arguments::Engine) -> Result<Runtime> {
    let isa = match arguments.isa {
        IsaChoice::Auto => None,
        IsaChoice::Portable => Some(Isa::Portable),
        IsaChoice::Avx2 => Some(Isa::Avx2),
        IsaChoice::Avx512 => Some(Isa::Avx512),
        IsaChoice::Neon => Some(Isa::Neon),
    };
    let regions = match (&arguments.region_code, arguments.unfused, arguments.regions) {
        (Some(path), ..) => region_code::read(path)?,
        (None, true, _) | (None, false, Regions::Steps) => repops_runtime::Regions::Unfused,
        (None, false, Regions::Tiles) => repops_runtime::Regions::Tiles,
        (None, false, Regions::Native) => crate::extension()?.native_regions()?,
    };
    Ok(Runtime::new(RuntimeOptions { threads: arguments.threads, isa, regions })?)
}

/// The GPU that the arguments name, and what to call it.
fn driver(arguments: &arguments::Engine) -> Result<Option<(Driver, String)>> {
    let DeviceChoice::Cuda(index) = arguments.device else { return Ok(None) };
    let driver = Driver::open(index)?;
    let about = driver.about();
    let name = format!("cuda:{index} {} sm_{}{}", about.name, about.capability.0, about.capability.1);
    Ok(Some((driver, name)))
}

fn warn() -> Warn {
    Box::new(|text: &str| note(&format!("warning: {text}")))
}

/// An executor and its name.
pub enum Engine {
    Reference,
    Runtime(Runtime),
    /// A GPU, with the CPU beside it.
    Device(Box<DeviceRuntime<Driver>>),
}

impl Engine {
    pub fn new(arguments: &arguments::Engine) -> Result<Engine> {
        if arguments.reference {
            return Ok(Engine::Reference);
        }
        let runtime = runtime(arguments)?;
        let Some((driver, name)) = driver(arguments)? else { return Ok(Engine::Runtime(runtime)) };
        Ok(Engine::Device(Box::new(DeviceRuntime::new(driver, name, runtime).with_warn(warn()))))
    }

    /// The CPU's kernels, however else the arguments want it.
    pub fn on_cpu(arguments: &arguments::Engine) -> Result<Engine> {
        Engine::new(&arguments::Engine {
            device: DeviceChoice::Cpu,
            reference: false,
            region_code: None,
            ..*arguments
        })
    }

    /// A session, which steps sequences row by row.
    pub fn session(
        arguments: &arguments::Engine,
        program: &Arc<Program>,
        options: SessionOptions,
    ) -> Result<Session> {
        if arguments.reference {
            return Err(Failure::new(
                "--reference: sessions have no plain way; verify receipts with --reference instead",
            ));
        }
        let runtime = Arc::new(runtime(arguments)?);
        Ok(match driver(arguments)? {
            None => Session::new(runtime, program.clone(), options)?,
            Some((driver, name)) => {
                Session::on_device(driver, &name, Some(warn()), runtime, program.clone(), options)?
            }
        })
    }

    /// What computed, as receipts name it.
    pub fn device(&self) -> String {
        match self {
            Engine::Reference => "reference".to_string(),
            Engine::Runtime(runtime) => {
                format!("{} {}", std::env::consts::ARCH, runtime.isa().name())
            }
            Engine::Device(device) => device.name().to_string(),
        }
    }

    /// The number of threads in use.
    pub fn threads(&self) -> usize {
        match self {
            Engine::Reference => 1,
            Engine::Runtime(runtime) => runtime.threads(),
            Engine::Device(device) => device.cpu().threads(),
        }
    }

    /// Bytes of the buffers that are kept between runs, where the executor knows them.
    pub fn buffer_bytes(&self) -> Option<usize> {
        match self {
            Engine::Reference => None,
            Engine::Runtime(runtime) => Some(runtime.buffer_bytes()),
            Engine::Device(device) => Some(device.buffer_bytes()),
        }
    }

    /// Of a device: the operators that it had no kernel for, and how many steps of each the CPU has computed.
    pub fn fallbacks(&self) -> Option<BTreeMap<&'static str, u64>> {
        match self {
            Engine::Reference | Engine::Runtime(_) => None,
            Engine::Device(device) => Some(device.fallbacks()),
        }
    }

    /// Calls `work` where runs begin without being handed to another thread.
    pub fn install<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        match self {
            Engine::Reference => work(),
            Engine::Runtime(runtime) => runtime.install(work),
            Engine::Device(device) => device.cpu().install(work),
        }
    }

    /// Takes results that are not needed any more, whose memory the next run may use.
    pub fn give_back(&self, tensors: Vec<Tensor>) {
        if let Engine::Runtime(runtime) = self {
            runtime.give_back(tensors);
        }
    }

    /// Compares the constants' bytes with the digests that the program declares.
    pub fn check_constants(&self, program: &Program) -> Result<()> {
        match self {
            Engine::Reference => program.check_constants(repops::digest::bytes_digest)?,
            Engine::Runtime(runtime) => runtime.check_constants(program)?,
            Engine::Device(device) => device.cpu().check_constants(program)?,
        }
        Ok(())
    }
}

impl Executor for Engine {
    fn execute(
        &self,
        program: &Program,
        inputs: &[Tensor],
        level: HashLevel,
        observer: &mut dyn Observer,
    ) -> std::result::Result<Execution, ExecError> {
        match self {
            Engine::Reference => Reference.execute(program, inputs, level, observer),
            Engine::Runtime(runtime) => runtime.execute(program, inputs, level, observer),
            Engine::Device(device) => device.execute(program, inputs, level, observer),
        }
    }
}

/// Reads a program file.
pub fn load(path: &Path) -> Result<Program> {
    Ok(repops_runtime::load(path)?)
}
