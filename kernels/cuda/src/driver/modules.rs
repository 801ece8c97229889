//! Modules: loaded when a kernel of theirs is first launched, and kept; the machine code that was assembled ahead of time
//! where this build has some for the device, else what the driver makes of the PTX.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::CString;

use cudarc::driver::{result, sys};

use super::{About, Inner, said};
use crate::Error;
use crate::cubins::{self, Archive};
use crate::device::{Kernel, Module};

/// Dynamic shared memory that every kernel may have without asking.
const SHARED_FREE: u32 = 48 << 10;
/// Bytes of what the driver's compiler has to say.
const LOG_BYTES: usize = 4096;

#[derive(Default)]
pub(super) struct Modules {
    loaded: BTreeMap<Cow<'static, str>, Loaded>,
}

/// A module in the device's memory.
struct Loaded {
    module: Handle<sys::CUmodule>,
    /// By entry, with the bytes of dynamic shared memory that it may have.
    functions: BTreeMap<&'static str, (Handle<sys::CUfunction>, u32)>,
}

#[derive(Clone, Copy)]
struct Handle<T>(T);

// SAFETY: a handle is a name that the driver takes in any thread; modules stay loaded as long as the context.
unsafe impl<T> Send for Handle<T> {}

impl Modules {
    /// The function of a kernel that may use so much dynamic shared memory. The context is current.
    pub fn function(
        &mut self,
        inner: &Inner,
        about: &About,
        kernel: &Kernel,
        shared: u32,
    ) -> Result<sys::CUfunction, Error> {
        let wrong = |what: String| Error::Launch { kernel: kernel.entry.to_string(), what };
        let Loaded { module, functions } = self.module(about, &kernel.module)?;
        if !functions.contains_key(kernel.entry) {
            let name = CString::new(kernel.entry).map_err(|e| wrong(e.to_string()))?;
            // SAFETY: the module is loaded.
            let function = unsafe { result::module::get_function(module.0, name) };
            let function = function.map_err(|e| wrong(format!("not in its module: {}", said(&e))))?;
            functions.insert(kernel.entry, (Handle(function), SHARED_FREE));
        }
        let (function, allowed) = functions.get_mut(kernel.entry).expect("just made sure");
        if shared > *allowed {
            debug_assert!(!inner.streams.main.is_null());
            use sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES as SHARED;
            // SAFETY: the function is of a loaded module.
            unsafe { result::function::set_function_attribute(function.0, SHARED, shared as i32) }
                .map_err(|e| wrong(format!("{shared} bytes of shared memory: {}", said(&e))))?;
            *allowed = shared;
        }
        Ok(function.0)
    }

    fn module(&mut self, about: &About, module: &Module) -> Result<&mut Loaded, Error> {
        if !self.loaded.contains_key(&module.name) {
            let handle = match load_code(about, module) {
                Some(handle) => handle,
                None => load(about, module)?,
            };
            let loaded = Loaded { module: Handle(handle), functions: BTreeMap::new() };
            self.loaded.insert(module.name.clone(), loaded);
        }
        Ok(self.loaded.get_mut(&module.name).expect("just made sure"))
    }
}

/// The module from its machine code, if there is some and the driver takes it.
fn load_code(about: &About, module: &Module) -> Option<sys::CUmodule> {
    let (major, minor) = about.capability;
    let architecture = u32::try_from(10 * major + minor).ok()?;
    let code = Archive::parse(cubins::EMBEDDED?)?.find(module, architecture)?.load()?;
    let mut handle = std::ptr::null_mut();
    // SAFETY: the code is a whole one, as its archive was written; it lives during the call, and the driver checks it.
    unsafe { sys::cuModuleLoadData(&mut handle, code.as_ptr().cast()) }.result().ok()?;
    Some(handle)
}

/// Has the driver translate a module's PTX for the device.
fn load(about: &About, module: &Module) -> Result<sys::CUmodule, Error> {
    let wrong = |what: String| Error::Launch { kernel: format!("module {}", module.name), what };
    let text = CString::new(module.ptx.as_bytes()).map_err(|e| wrong(e.to_string()))?;
    let mut log = vec![0u8; LOG_BYTES];
    let mut handle = std::ptr::null_mut();
    use sys::CUjit_option_enum::{CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
    let mut options = [CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES];
    let mut values = [log.as_mut_ptr().cast(), LOG_BYTES as *mut core::ffi::c_void];
    // SAFETY: the text ends with a zero; the log has as many bytes as are said; all of it lives during the call.
    let loaded = unsafe {
        sys::cuModuleLoadDataEx(
            &mut handle,
            text.as_ptr().cast(),
            options.len() as u32,
            options.as_mut_ptr(),
            values.as_mut_ptr(),
        )
    };
    loaded.result().map_err(|error| {
        let end = log.iter().position(|byte| *byte == 0).unwrap_or(LOG_BYTES);
        let log = String::from_utf8_lossy(&log[..end]);
        wrong(format!("not loaded on {}: {}: {}", about.name, said(&error), log.trim()))
    })?;
    Ok(handle)
}
