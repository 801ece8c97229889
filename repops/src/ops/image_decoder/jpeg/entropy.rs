//! One scan: the coefficients that its bits hold. Source: ITU-T T.81, annexes F and G.

use super::{Block, Frame, Tables, ZIGZAG};

/// A Huffman code; as in T.81, C.2.
pub struct Code {
    counts: [u8; 16],
    symbols: Vec<u8>,
}

impl Code {
    pub fn new(counts: &[u8], symbols: &[u8]) -> Option<Code> {
        let counts: [u8; 16] = counts.try_into().ok()?;
        let mut left = 1i32;
        for &count in &counts {
            left = left * 2 - i32::from(count);
            if left < 0 {
                return None;
            }
        }
        Some(Code { counts, symbols: symbols.to_vec() })
    }
}

struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
    held: u32,
    count: u32,
}

impl Bits<'_> {
    fn take(&mut self, n: u32) -> Option<i32> {
        while self.count < n {
            let byte = *self.bytes.get(self.at)?;
            self.at += 1;
            if byte == 0xff {
                // A marker ends the bits; zero bits that are not there are no coefficients.
                if *self.bytes.get(self.at)? != 0 {
                    return None;
                }
                self.at += 1;
            }
            self.held = self.held << 8 | u32::from(byte);
            self.count += 8;
        }
        self.count -= n;
        Some((self.held >> self.count & ((1 << n) - 1)) as i32)
    }

    fn symbol(&mut self, code: &Code) -> Option<u8> {
        let (mut value, mut first, mut index) = (0, 0, 0);
        for &count in &code.counts {
            value |= self.take(1)?;
            let count = i32::from(count);
            if value < first + count {
                return code.symbols.get((index + value - first) as usize).copied();
            }
            index += count;
            first = (first + count) << 1;
            value <<= 1;
        }
        None
    }

    /// A number of `n` bits with its sign: T.81, F.2.2.1.
    fn signed(&mut self, n: u32) -> Option<i32> {
        if n == 0 {
            return Some(0);
        }
        let value = self.take(n)?;
        Some(if value < 1 << (n - 1) { value - (1 << n) + 1 } else { value })
    }

    /// Passes the restart marker of that number.
    fn restart(&mut self, number: usize) -> Option<()> {
        (self.held, self.count) = (0, 0);
        let marker = self.bytes.get(self.at..self.at + 2)?;
        self.at += 2;
        (marker == [0xff, 0xd0 + (number % 8) as u8]).then_some(())
    }
}

/// What a scan adds: coefficients `first` to `last`, the bits above `low`; `high` is what was there before.
struct Range {
    first: usize,
    last: usize,
    high: u32,
    low: u32,
}

/// The codes of one component in a scan.
struct Codes<'a> {
    dc: Option<&'a Code>,
    ac: Option<&'a Code>,
}

/// Reads a scan; gives the number of bytes that it took.
pub fn scan(frame: &mut Frame, head: &[u8], tables: &Tables, bytes: &[u8]) -> Option<usize> {
    let count = usize::from(*head.first()?);
    let (entries, rest) = head.get(1..)?.split_at_checked(2 * count)?;
    let [first, last, approximation] = *rest else { return None };
    let range = Range {
        first: usize::from(first),
        last: usize::from(last),
        high: u32::from(approximation >> 4),
        low: u32::from(approximation & 15),
    };
    let is_allowed = match frame.is_progressive {
        false => (range.first, range.last, approximation) == (0, 63, 0),
        true => {
            let is_band = if range.first == 0 { range.last == 0 } else { range.last < 64 && count == 1 };
            is_band
                && range.first <= range.last
                && range.low < 14
                && (range.high == 0 || range.high == range.low + 1)
        }
    };
    if !is_allowed || !(1..=3).contains(&count) {
        return None;
    }
    let mut chosen = Vec::new();
    for entry in entries.chunks_exact(2) {
        let index = frame.components.iter().position(|component| component.id == entry[0])?;
        if chosen.iter().any(|(other, _)| *other == index) {
            return None;
        }
        let codes = Codes {
            dc: tables.dc.get(usize::from(entry[1] >> 4))?.as_ref(),
            ac: tables.ac.get(usize::from(entry[1] & 15))?.as_ref(),
        };
        let component = &mut frame.components[index];
        if component.quantization.is_none() {
            component.quantization = tables.quantization[component.table];
        }
        chosen.push((index, codes));
    }
    let mut bits = Bits { bytes, at: 0, held: 0, count: 0 };
    let (units_x, units_y) = units(frame, &chosen);
    let mut state = State { before: [0; 3], zeros: 0 };
    for unit in 0..units_x * units_y {
        if tables.restart > 0 && unit > 0 && unit % tables.restart == 0 {
            bits.restart(unit / tables.restart - 1)?;
            state = State { before: [0; 3], zeros: 0 };
        }
        let (x, y) = (unit % units_x, unit / units_x);
        for (slot, (index, codes)) in chosen.iter().enumerate() {
            let component = &mut frame.components[*index];
            let (h, v) = if count == 1 { (1, 1) } else { (component.h, component.v) };
            for part in 0..h * v {
                let at = (y * v + part / h) * component.columns + x * h + part % h;
                let block = &mut component.blocks[at];
                match (frame.is_progressive, range.first, range.high) {
                    (false, _, _) => sequential(&mut bits, block, codes, &mut state.before[slot])?,
                    (true, 0, 0) => {
                        let value = difference(&mut bits, codes, &mut state.before[slot])?;
                        block[0] = (value << range.low) as i16;
                    }
                    (true, 0, _) => block[0] |= (bits.take(1)? << range.low) as i16,
                    (true, _, 0) => first_pass(&mut bits, block, codes.ac?, &range, &mut state.zeros)?,
                    (true, _, _) => refined(&mut bits, block, codes.ac?, &range, &mut state.zeros)?,
                }
            }
        }
    }
    Some(bits.at)
}

/// What is remembered from block to block until a restart.
struct State {
    /// The DC coefficients before, by component of the scan.
    before: [i32; 3],
    /// Blocks that have no more coefficients in this band.
    zeros: u32,
}

/// Groups of blocks along and down; of a single component its own blocks, without those that only fill a group.
fn units(frame: &Frame, chosen: &[(usize, Codes<'_>)]) -> (usize, usize) {
    match chosen {
        [(index, _)] => {
            let component = &frame.components[*index];
            (component.width.div_ceil(8), component.height.div_ceil(8))
        }
        _ => (frame.width.div_ceil(8 * frame.h_max), frame.height.div_ceil(8 * frame.v_max)),
    }
}

fn difference(bits: &mut Bits<'_>, codes: &Codes<'_>, before: &mut i32) -> Option<i32> {
    let len = u32::from(bits.symbol(codes.dc?)?);
    if len > 11 {
        return None;
    }
    *before = (*before + bits.signed(len)?).clamp(-(1 << 15), (1 << 15) - 1);
    Some(*before)
}

fn sequential(bits: &mut Bits<'_>, block: &mut Block, codes: &Codes<'_>, before: &mut i32) -> Option<()> {
    let ac = codes.ac?;
    block[0] = difference(bits, codes, before)? as i16;
    let mut k = 1;
    while k < 64 {
        let symbol = bits.symbol(ac)?;
        let (run, len) = (usize::from(symbol >> 4), u32::from(symbol & 15));
        match (run, len) {
            (15, 0) => k += 16,
            (_, 0) => break,
            _ => {
                k += run;
                *block.get_mut(*ZIGZAG.get(k)?)? = bits.signed(len)? as i16;
                k += 1;
            }
        }
    }
    Some(())
}

fn first_pass(
    bits: &mut Bits<'_>,
    block: &mut Block,
    ac: &Code,
    range: &Range,
    zeros: &mut u32,
) -> Option<()> {
    if *zeros > 0 {
        *zeros -= 1;
        return Some(());
    }
    let mut k = range.first;
    while k <= range.last {
        let symbol = bits.symbol(ac)?;
        let (run, len) = (usize::from(symbol >> 4), u32::from(symbol & 15));
        match (run, len) {
            (15, 0) => k += 16,
            (run, 0) => {
                *zeros = (1 << run) + bits.take(run as u32)? as u32 - 1;
                break;
            }
            _ => {
                k += run;
                if k > range.last {
                    return None;
                }
                block[ZIGZAG[k]] = (bits.signed(len)? << range.low) as i16;
                k += 1;
            }
        }
    }
    Some(())
}

/// One more bit of each coefficient that is not zero, and new ones: T.81, G.1.2.3.
fn refined(bits: &mut Bits<'_>, block: &mut Block, ac: &Code, range: &Range, zeros: &mut u32) -> Option<()> {
    let one = 1i16 << range.low;
    let correct = |bits: &mut Bits<'_>, value: &mut i16| {
        let is_set = bits.take(1)? == 1;
        if is_set && *value & one == 0 {
            *value = if *value < 0 { value.wrapping_sub(one) } else { value.wrapping_add(one) };
        }
        Some(())
    };
    let mut k = range.first;
    if *zeros == 0 {
        while k <= range.last {
            let symbol = bits.symbol(ac)?;
            let (mut run, len) = (u32::from(symbol >> 4), symbol & 15);
            let new = match len {
                0 if run < 15 => {
                    *zeros = (1 << run) + bits.take(run)? as u32;
                    break;
                }
                0 => 0,
                1 => {
                    if bits.take(1)? == 1 {
                        one
                    } else {
                        -one
                    }
                }
                _ => return None,
            };
            // Over coefficients that are known, which are corrected, and so many that stay zero.
            while k <= range.last {
                let value = &mut block[ZIGZAG[k]];
                if *value != 0 {
                    correct(bits, value)?;
                } else if run == 0 {
                    *value = new;
                    k += 1;
                    break;
                } else {
                    run -= 1;
                }
                k += 1;
            }
        }
    }
    if *zeros > 0 {
        for &place in &ZIGZAG[k..=range.last] {
            if block[place] != 0 {
                correct(bits, &mut block[place])?;
            }
        }
        *zeros -= 1;
    }
    Some(())
}
