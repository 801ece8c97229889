//! The executor that the arguments ask for.

use std::path::Path;

use repops::exec::{ExecError, Execution, Executor, HashLevel, Observer};
use repops::reference::Reference;
use repops::{Program, Tensor};
use repops_runtime::{Isa, Runtime, RuntimeOptions};

#[cfg(not(feature = "compile"))]
use crate::Failure;
use crate::Result;
use crate::arguments::{self, IsaChoice, Regions};

/// An executor and its name.
pub enum Engine {
    Reference,
    Runtime(Runtime),
}

impl Engine {
    pub fn new(arguments: &arguments::Engine) -> Result<Engine> {
        if arguments.reference {
            return Ok(Engine::Reference);
        }
        let isa = match arguments.isa {
            IsaChoice::Auto => None,
            IsaChoice::Portable => Some(Isa::Portable),
            IsaChoice::Avx2 => Some(Isa::Avx2),
            IsaChoice::Avx512 => Some(Isa::Avx512),
            IsaChoice::Neon => Some(Isa::Neon),
        };
        let regions = match (arguments.unfused, arguments.regions) {
            (true, _) | (false, Regions::Steps) => repops_runtime::Regions::Unfused,
            (false, Regions::Tiles) => repops_runtime::Regions::Tiles,
            (false, Regions::Native) => native()?,
        };
        let options = RuntimeOptions { threads: arguments.threads, isa, regions };
        Ok(Engine::Runtime(Runtime::new(options)?))
    }

    /// What computed, as receipts name it.
    pub fn device(&self) -> String {
        match self {
            Engine::Reference => "reference".to_string(),
            Engine::Runtime(runtime) => {
                format!("{} {}", std::env::consts::ARCH, runtime.isa().name())
            }
        }
    }

    /// The number of threads in use.
    pub fn threads(&self) -> usize {
        match self {
            Engine::Reference => 1,
            Engine::Runtime(runtime) => runtime.threads(),
        }
    }

    /// Bytes of the buffers that are kept between runs, where the executor knows them.
    pub fn buffer_bytes(&self) -> Option<usize> {
        match self {
            Engine::Reference => None,
            Engine::Runtime(runtime) => Some(runtime.buffer_bytes()),
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
        }
    }
}

/// Reads a program file.
pub fn load(path: &Path) -> Result<Program> {
    Ok(repops_runtime::load(path)?)
}

/// Regions as machine code, made by the compiler.
#[cfg(feature = "compile")]
fn native() -> Result<repops_runtime::Regions> {
    let backend = repops_compiler::native::regions::NativeRegions::new()?;
    Ok(repops_runtime::Regions::Backend(std::sync::Arc::new(backend)))
}

#[cfg(not(feature = "compile"))]
fn native() -> Result<repops_runtime::Regions> {
    Err(Failure::new("--regions native: the compiler is not part of this build; there are tiles and steps"))
}
