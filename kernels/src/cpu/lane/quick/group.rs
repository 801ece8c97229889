//! Several registers that act as one, so that the long chains of operations of one do not keep a machine waiting.

use super::super::pair::Pair;
use super::QuickLane;

impl<H: QuickLane> QuickLane for Pair<H> {
    const STEPS: usize = H::STEPS;
    const COUNT: usize = 2 * H::COUNT;
    #[inline(always)]
    fn look_up<const N: usize>(table: &'static [f32; N], index: Self::Bits) -> Self {
        Pair(H::look_up(table, index.0), H::look_up(table, index.1))
    }
    #[inline(always)]
    fn greater_magnitude(self, other: Self) -> Self {
        Pair(self.0.greater_magnitude(other.0), self.1.greater_magnitude(other.1))
    }
    #[inline(always)]
    fn is_within(self, limit: f32) -> bool {
        self.0.greater_magnitude(self.1).is_within(limit)
    }
    #[inline(always)]
    fn truths(mask: Self::Mask) -> u64 {
        H::truths(mask.0) | H::truths(mask.1) << H::COUNT
    }
    #[inline(always)]
    unsafe fn read(from: *const f32) -> Self {
        // SAFETY: the caller promises as many as both have.
        unsafe { Pair(H::read(from), H::read(from.add(H::COUNT))) }
    }
    #[inline(always)]
    unsafe fn write(self, to: *mut f32) {
        // SAFETY: as above.
        unsafe {
            self.0.write(to);
            self.1.write(to.add(H::COUNT));
        }
    }
}
