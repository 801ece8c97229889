//! A GPU through its driver alone: no toolkit, no runtime library.
//!
//! Everything a [`Driver`] is given goes to one stream of its own, so that it happens in the order given; work beside other work to
//! a second one ([`streams`]). What is recorded is a graph. Memory comes from the driver's stream-ordered pool, or from free lists where
//! the driver has none. Invariants: without a driver, and with one that is too old, there is an error that says so, never a
//! panic; a buffer's memory is used again only for what the stream does after everything that was launched on it.
#![allow(unsafe_code)]

mod graph;
mod memory;
mod modules;
mod staging;
mod streams;

use std::sync::{Arc, Mutex, MutexGuard};

use cudarc::driver::CudaContext;
use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys;

use crate::device::{Argument, Device, Kernel};
use crate::{Error, self_test};

pub use graph::Recording;
pub use memory::Buffer;

/// The oldest driver that has everything used here: that of CUDA 12.0.
const VERSION_MIN: i32 = 12_000;
/// The oldest architecture that the kernels are made for: Turing.
const CAPABILITY_MIN: (i32, i32) = (7, 5);

/// What a device is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    pub index: usize,
    pub name: String,
    /// Compute capability, major and minor.
    pub capability: (i32, i32),
    pub memory_bytes: usize,
    /// The newest CUDA that the driver knows: 12080 is 12.8.
    pub driver: i32,
}

impl std::fmt::Display for About {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (major, minor) = self.capability;
        let (cuda, gib) = (self.driver / 1000, self.memory_bytes >> 30);
        write!(
            f,
            "cuda:{} {} sm_{major}{minor}, {gib} GiB, driver for CUDA {cuda}.{}",
            self.index,
            self.name,
            self.driver % 1000 / 10
        )
    }
}

/// A GPU.
pub struct Driver {
    inner: Arc<Inner>,
    about: About,
    modules: Mutex<modules::Modules>,
    staging: Mutex<staging::Staging>,
}

/// What buffers hold on to.
struct Inner {
    context: Arc<CudaContext>,
    streams: streams::Streams,
    memory: memory::Pool,
}

// SAFETY: the driver's functions may be called from any thread that the context is current in, and every use binds it
// first; the streams are destroyed when nobody holds them any more.
unsafe impl Send for Inner {}
// SAFETY: as above; the driver does its own locking, and what is changed here is behind mutexes.
unsafe impl Sync for Inner {}

impl Inner {
    /// Makes the context current in this thread.
    fn bind(&self) -> Result<(), Error> {
        self.context.bind_to_thread().map_err(|e| failed("the context", e))
    }

    fn synchronize(&self) -> Result<(), Error> {
        self.bind()?;
        self.streams.synchronize()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.bind().is_ok() {
            self.streams.destroy();
            self.memory.free_all();
        }
    }
}

/// The devices of this machine, with what can be said of each.
pub fn devices() -> Result<Vec<About>, Error> {
    let driver = driver_version()?;
    let count = CudaContext::device_count().map_err(|e| Error::NoDriver(said(&e)))?;
    (0..count as usize).map(|index| about(index, driver)).collect()
}

/// Says no where a call into the driver would panic: without a driver, or with one that lacks a function.
fn driver_version() -> Result<i32, Error> {
    // SAFETY: it only tries to open the library.
    if !unsafe { sys::is_culib_present() } {
        return Err(Error::NoDriver("this machine has no NVIDIA driver (libcuda)".to_string()));
    }
    let mut version = 0;
    // SAFETY: the place for the number is a local. Every driver has this function, and it needs no initialization.
    let known = unsafe { sys::cuDriverGetVersion(&mut version) }.result();
    known.map_err(|e| Error::NoDriver(format!("the driver does not tell its version: {}", code(&e))))?;
    if version < VERSION_MIN {
        let (found, least) = (version / 1000, VERSION_MIN / 1000);
        return Err(Error::NoDriver(format!(
            "the NVIDIA driver is one for CUDA {found}.{}; {least}.0 or newer is needed",
            version % 1000 / 10
        )));
    }
    result::init().map_err(|e| Error::NoDriver(format!("the driver does not start: {}", said(&e))))?;
    Ok(version)
}

fn about(index: usize, driver: i32) -> Result<About, Error> {
    let ask = || -> Result<About, DriverError> {
        let device = result::device::get(index as i32)?;
        use sys::CUdevice_attribute::{
            CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR as MAJOR,
            CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR as MINOR,
        };
        // SAFETY: the device was given by the driver.
        let (major, minor, memory_bytes) = unsafe {
            (
                result::device::get_attribute(device, MAJOR)?,
                result::device::get_attribute(device, MINOR)?,
                result::device::total_mem(device)?,
            )
        };
        let name = result::device::get_name(device)?;
        Ok(About { index, name, capability: (major, minor), memory_bytes, driver })
    };
    ask().map_err(|e| Error::NoDriver(format!("cuda:{index}: {}", said(&e))))
}

impl Driver {
    /// Opens device number `index` and has it show that it computes the bits that it should.
    pub fn open(index: usize) -> Result<Driver, Error> {
        let driver = Driver::open_untested(index)?;
        self_test::run(&driver)?;
        Ok(driver)
    }

    /// Opens a device that has nothing to show yet.
    pub fn open_untested(index: usize) -> Result<Driver, Error> {
        let version = driver_version()?;
        let count = CudaContext::device_count().map_err(|e| Error::NoDriver(said(&e)))?;
        if index >= count as usize {
            return Err(Error::NoDriver(format!("there is no cuda:{index}; this machine has {count}")));
        }
        let about = about(index, version)?;
        if about.capability < CAPABILITY_MIN {
            let (major, minor) = about.capability;
            return Err(Error::NoDriver(format!(
                "{} is sm_{major}{minor}; kernels are for sm_75 and newer",
                about.name
            )));
        }
        let context = CudaContext::new(index).map_err(|e| Error::NoDriver(said(&e)))?;
        let streams = streams::Streams::new()?;
        let memory = memory::Pool::new(&context, index)?;
        let inner = Arc::new(Inner { context, streams, memory });
        let staging = Mutex::new(staging::Staging::new(inner.clone())?);
        Ok(Driver { inner, about, modules: Mutex::default(), staging })
    }

    pub fn about(&self) -> &About {
        &self.about
    }
}

impl Device for Driver {
    type Buffer = Buffer;
    type Recording = Recording;

    fn architecture(&self) -> u32 {
        let (major, minor) = self.about.capability;
        u32::try_from(10 * major + minor).unwrap_or(75)
    }

    fn alloc(&self, bytes: usize) -> Result<Buffer, Error> {
        self.inner.bind()?;
        Buffer::new(&self.inner, bytes)
    }

    fn put(&self, bytes: &[u8]) -> Result<Buffer, Error> {
        self.inner.bind()?;
        if self.inner.streams.turn().ledger.is_open() {
            return Buffer::with(&self.inner, bytes);
        }
        let buffer = Buffer::new(&self.inner, bytes.len())?;
        self.write(&buffer, 0, bytes)?;
        Ok(buffer)
    }

    fn write(&self, to: &Buffer, offset: usize, bytes: &[u8]) -> Result<(), Error> {
        let address = to.range(offset, bytes.len())?;
        self.inner.bind()?;
        self.at_once("writing", false)?;
        let stream = {
            let turn = self.inner.streams.turn();
            to.used(&turn);
            self.inner.streams.of(&turn)
        };
        lock(&self.staging).upload(stream, address, bytes)
    }

    fn read(&self, from: &Buffer, offset: usize, bytes: &mut [u8]) -> Result<(), Error> {
        let from = from.range(offset, bytes.len())?;
        self.inner.bind()?;
        self.at_once("reading", true)?;
        lock(&self.staging).download(from, bytes)
    }

    fn copy(
        &self,
        from: &Buffer,
        from_offset: usize,
        to: &Buffer,
        to_offset: usize,
        bytes: usize,
    ) -> Result<(), Error> {
        let (source, target) = (from.range(from_offset, bytes)?, to.range(to_offset, bytes)?);
        if bytes == 0 {
            return Ok(());
        }
        self.inner.bind()?;
        let turn = self.inner.streams.turn();
        [from, to].into_iter().for_each(|buffer| buffer.used(&turn));
        // SAFETY: both ranges lie within buffers that live; freeing them is ordered after this on the stream.
        unsafe { result::memcpy_dtod_async(target, source, bytes, self.inner.streams.of(&turn)) }
            .map_err(|e| failed("copying", e))
    }

    fn launch(
        &self,
        kernel: &Kernel,
        grid: [u32; 3],
        block: [u32; 3],
        shared: u32,
        arguments: &[Argument<'_, Buffer>],
    ) -> Result<(), Error> {
        self.inner.bind()?;
        let function = lock(&self.modules).function(&self.inner, &self.about, kernel, shared)?;
        // Every parameter fits into eight bytes, little-endian like the machine.
        let words: Vec<u64> = arguments.iter().map(word).collect();
        let mut pointers: Vec<*mut core::ffi::c_void> =
            words.iter().map(|word| std::ptr::from_ref(word).cast_mut().cast()).collect();
        let (grid, block) = ((grid[0], grid[1], grid[2]), (block[0], block[1], block[2]));
        let turn = self.inner.streams.turn();
        for argument in arguments {
            if let Argument::Pointer { buffer, .. } = argument {
                buffer.used(&turn);
            }
        }
        let stream = self.inner.streams.of(&turn);
        // SAFETY: the function is of a module that stays loaded; the driver copies each parameter, of the size that the
        // kernel declares and at most eight bytes, before the call returns. What the kernel does with addresses is what
        // the interpreter has checked; buffers are freed on the same stream, after it.
        unsafe { result::launch_kernel(function, grid, block, shared, stream, &mut pointers) }
            .map_err(|e| Error::Launch { kernel: kernel.entry.to_string(), what: said(&e) })
    }

    fn synchronize(&self) -> Result<(), Error> {
        self.at_once("waiting", true)?;
        self.inner.synchronize()
    }

    fn beside(&self, work: &mut dyn FnMut() -> Result<(), Error>) -> Result<(), Error> {
        self.inner.bind()?;
        {
            let mut turn = self.inner.streams.turn();
            if turn.is_beside {
                return Err(Error::unsupported("work beside work that is beside other work"));
            }
            self.inner.streams.fork()?;
            turn.is_beside = true;
            turn.besides += 1;
        }
        let done = work();
        self.inner.streams.turn().is_beside = false;
        done
    }

    fn join(&self) -> Result<(), Error> {
        self.inner.bind()?;
        let mut turn = self.inner.streams.turn();
        if turn.is_beside {
            return Err(Error::unsupported("waiting for work beside, beside"));
        }
        self.inner.streams.join(&mut turn)
    }

    fn record(&self, work: &mut dyn FnMut() -> Result<(), Error>) -> Result<Recording, Error> {
        self.inner.record(work)
    }

    fn replay(&self, recording: &Recording) -> Result<(), Error> {
        self.inner.replay(recording)
    }
}

impl Driver {
    /// Nothing is read or written while something is recorded, nor read beside other work.
    fn at_once(&self, what: &str, reads: bool) -> Result<(), Error> {
        let turn = self.inner.streams.turn();
        match () {
            () if turn.ledger.is_open() => Err(Error::unsupported(format!("{what} in a recording"))),
            () if reads && turn.is_beside => Err(Error::unsupported(format!("{what} beside other work"))),
            () => Ok(()),
        }
    }
}

fn word(argument: &Argument<'_, Buffer>) -> u64 {
    match argument {
        Argument::Pointer { buffer, offset } => buffer.address() + *offset as u64,
        Argument::U32(value) => u64::from(*value),
        Argument::I32(value) => u64::from(*value as u32),
        Argument::U64(value) => *value,
        Argument::F32(value) => u64::from(value.to_bits()),
    }
}

/// What a poisoned lock guards is still whole: every change is one insertion.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// The driver's words for an error.
fn said(error: &DriverError) -> String {
    let text = error.error_string().map(|text| text.to_string_lossy().into_owned());
    text.unwrap_or_else(|_| code(error))
}

/// An error's name, without asking the driver.
fn code(error: &DriverError) -> String {
    format!("{:?}", error.0)
}

fn failed(what: &str, error: DriverError) -> Error {
    Error::Launch { kernel: what.to_string(), what: said(&error) }
}
