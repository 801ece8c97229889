//! The floating-point environment that the kernels need: round to nearest, subnormals kept.
//!
//! A host program may have switched a thread to flushing subnormals; every task of a kernel runs under
//! [`FloatEnv::enter`], which sets the default and puts the host's setting back at the end.

/// Restores the thread's former environment when dropped.
#[must_use]
pub struct FloatEnv {
    /// `None`: it was the default already.
    former: Option<u64>,
}

impl FloatEnv {
    /// Sets the default for this thread until the value is dropped.
    #[inline]
    pub fn enter() -> FloatEnv {
        let former = control();
        if former & CONTROL_MASK == CONTROL_DEFAULT {
            return FloatEnv { former: None };
        }
        set_control(former & !CONTROL_MASK | CONTROL_DEFAULT);
        FloatEnv { former: Some(former) }
    }
}

impl Drop for FloatEnv {
    #[inline]
    fn drop(&mut self) {
        if let Some(former) = self.former {
            set_control(former);
        }
    }
}

/// MXCSR: flush to zero, rounding, exception masks, denormals are zero. Not the sticky flags.
#[cfg(target_arch = "x86_64")]
const CONTROL_MASK: u64 = 0xffc0;
#[cfg(target_arch = "x86_64")]
const CONTROL_DEFAULT: u64 = 0x1f80;

#[cfg(target_arch = "x86_64")]
#[inline]
fn control() -> u64 {
    let mut value = 0u32;
    // SAFETY: stores four bytes to a local variable.
    unsafe { std::arch::asm!("stmxcsr [{}]", in(reg) &mut value, options(nostack, preserves_flags)) };
    value as u64
}

#[cfg(target_arch = "x86_64")]
fn set_control(value: u64) {
    let value = value as u32;
    // SAFETY: reads four bytes; the value was read from the register, with defined bits changed only.
    unsafe { std::arch::asm!("ldmxcsr [{}]", in(reg) &value, options(nostack, preserves_flags)) };
}

/// FPCR: half-precision flush, rounding, flush to zero, default NaN, FIZ and AH.
#[cfg(target_arch = "aarch64")]
const CONTROL_MASK: u64 = 1 << 19 | 3 << 22 | 1 << 24 | 1 << 25 | 3;
#[cfg(target_arch = "aarch64")]
const CONTROL_DEFAULT: u64 = 0;

#[cfg(target_arch = "aarch64")]
#[inline]
fn control() -> u64 {
    let value: u64;
    // SAFETY: reads a control register.
    unsafe { std::arch::asm!("mrs {}, fpcr", out(reg) value, options(nostack, preserves_flags)) };
    value
}

#[cfg(target_arch = "aarch64")]
fn set_control(value: u64) {
    // SAFETY: the value was read from the register, with defined bits changed only.
    unsafe { std::arch::asm!("msr fpcr, {}", in(reg) value, options(nostack, preserves_flags)) };
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const CONTROL_MASK: u64 = 0;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const CONTROL_DEFAULT: u64 = 0;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn control() -> u64 {
    0
}
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn set_control(_: u64) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn flushing_is_switched_off_and_back_on() {
        let flushing = control() | 0x8040;
        set_control(flushing);
        {
            let _env = FloatEnv::enter();
            let tiny = std::hint::black_box(f32::MIN_POSITIVE);
            assert!((tiny * std::hint::black_box(0.5)).to_bits() != 0);
        }
        assert_eq!(control() & 0x8040, 0x8040);
        set_control(flushing & !0x8040);
    }
}
