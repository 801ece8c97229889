//! What a launch needs of a machine: memory, copies, and running a kernel.
//!
//! Invariant: work given to a device happens as if in the order given, but for what is given to it to be done beside other work. Contents
//! of fresh memory are undefined, and a buffer that is dropped stays alive until what was launched on it is done.

use std::borrow::Cow;
use std::ops::Deref;
use std::sync::Arc;

use repops::digest::Layout;
use repops::dtype::DType;

use crate::Error;

/// A machine that runs PTX.
pub trait Device {
    /// Bytes on the device, aligned to at least 256; freed on drop.
    type Buffer;
    /// Launches and copies that are given to the device as one, as often as wanted.
    type Recording: Send;

    /// The least compute capability that it has for sure, as 75 for 7.5; 90 is 9.0 itself, whose own instructions no other has. Some
    /// kernels exist twice, with the same bits.
    fn architecture(&self) -> u32 {
        75
    }

    /// Contents undefined.
    fn alloc(&self, bytes: usize) -> Result<Self::Buffer, Error>;

    /// New memory with these contents.
    fn put(&self, bytes: &[u8]) -> Result<Self::Buffer, Error> {
        // Kernels may be handed the address of nothing.
        let buffer = self.alloc(bytes.len().max(16))?;
        self.write(&buffer, 0, bytes)?;
        Ok(buffer)
    }

    fn write(&self, to: &Self::Buffer, offset: usize, bytes: &[u8]) -> Result<(), Error>;

    /// Waits for everything given to the device before.
    fn read(&self, from: &Self::Buffer, offset: usize, bytes: &mut [u8]) -> Result<(), Error>;

    fn copy(
        &self,
        from: &Self::Buffer,
        from_offset: usize,
        to: &Self::Buffer,
        to_offset: usize,
        bytes: usize,
    ) -> Result<(), Error>;

    /// `shared`: bytes of dynamic shared memory. Arguments stand in the order of the entry's parameters and have
    /// their sizes.
    fn launch(
        &self,
        kernel: &Kernel,
        grid: [u32; 3],
        block: [u32; 3],
        shared: u32,
        arguments: &[Argument<'_, Self::Buffer>],
    ) -> Result<(), Error>;

    fn synchronize(&self) -> Result<(), Error>;

    /// Has `work` enqueue what is done after everything given before, and beside everything given later until [`Device::join`]. It may not
    /// read. What it touches must not be written meanwhile, nor what it writes be read.
    fn beside(&self, work: &mut dyn FnMut() -> Result<(), Error>) -> Result<(), Error> {
        work()
    }

    /// What is given from now on is done after all work beside.
    fn join(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Records the launches and copies that `work` gives, none of which is done. Memory that it takes belongs to the recording;
    /// contents by [`Device::put`] are there at once and for good. It may neither write otherwise nor read, and leaves no work beside:
    /// what it may not is an error, as is everything on a device that does not record. Nobody else may use the device meanwhile.
    fn record(&self, _work: &mut dyn FnMut() -> Result<(), Error>) -> Result<Self::Recording, Error> {
        Err(Error::unsupported("recording"))
    }

    /// Does what was recorded.
    fn replay(&self, _recording: &Self::Recording) -> Result<(), Error> {
        Err(Error::unsupported("recording"))
    }
}

/// A parameter of a kernel.
pub enum Argument<'a, B> {
    /// The address of a buffer's byte.
    Pointer {
        buffer: &'a B,
        offset: usize,
    },
    U32(u32),
    I32(i32),
    U64(u64),
    F32(f32),
}

/// An entry of a module.
#[derive(Clone, Debug)]
pub struct Kernel {
    pub module: ModuleRef,
    pub entry: &'static str,
}

/// A text of PTX.
#[derive(Debug)]
pub struct Module {
    /// The name of the source, `NAME.cu`, or of what the text was made from. One name, one text: a device that has loaded a module
    /// knows it by its name.
    pub name: Cow<'static, str>,
    pub ptx: Cow<'static, str>,
}

/// Which module: one of this crate's, or one that was made meanwhile.
#[derive(Clone, Debug)]
pub enum ModuleRef {
    Shipped(&'static Module),
    Made(Arc<Module>),
}

impl Deref for ModuleRef {
    type Target = Module;

    fn deref(&self) -> &Module {
        match self {
            ModuleRef::Shipped(module) => module,
            ModuleRef::Made(module) => module,
        }
    }
}

/// A tensor on the device: a buffer's range, element type and shape, row-major, NaNs canonical. `offset` in bytes
/// is a multiple of the element's size; kernels look themselves whether wider accesses are aligned.
pub struct View<'a, B> {
    pub buffer: &'a B,
    pub offset: usize,
    pub dtype: DType,
    pub shape: &'a [usize],
}

impl<B> Clone for View<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B> Copy for View<'_, B> {}

impl<'a, B> View<'a, B> {
    /// The address of the first element.
    pub fn pointer(&self) -> Argument<'a, B> {
        Argument::Pointer { buffer: self.buffer, offset: self.offset }
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// An input of an operator.
pub struct Operand<'a, B> {
    pub view: View<'a, B>,
    /// Of a program's constant that is the right operand of a product, or an embedding's table: perhaps panels.
    pub layout: Layout,
    /// Its bytes where the host knows them: constants, and values that decide sizes.
    pub host: Option<&'a [u8]>,
}

impl<B> Clone for Operand<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B> Copy for Operand<'_, B> {}

/// Declares a module of PTX and its entries, each as a static [`Kernel`].
#[macro_export]
macro_rules! kernels {
    ($module:ident = $name:literal; $($kernel:ident = $entry:literal;)*) => {
        pub static $module: $crate::Module = $crate::Module {
            name: ::std::borrow::Cow::Borrowed($name),
            ptx: ::std::borrow::Cow::Borrowed(include_str!(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/generated/",
                $name,
                ".ptx"
            ))),
        };
        $(pub static $kernel: $crate::Kernel =
            $crate::Kernel { module: $crate::ModuleRef::Shipped(&$module), entry: $entry };)*
    };
}
