//! Deflate inside of zlib. Source: RFC 1950 and RFC 1951.

/// The bytes that the stream holds, which must be exactly `expected` many.
pub fn inflate(stream: &[u8], expected: usize) -> Option<Vec<u8>> {
    let [method, flags, body @ ..] = stream else { return None };
    let has_dictionary = flags & 0x20 != 0;
    if method & 15 != 8 || (usize::from(*method) << 8 | usize::from(*flags)) % 31 != 0 || has_dictionary {
        return None;
    }
    let mut bits = Bits { bytes: body, at: 0, held: 0, count: 0 };
    let mut out = Vec::new();
    loop {
        let is_last = bits.take(1)? == 1;
        match bits.take(2)? {
            0 => stored(&mut bits, &mut out, expected)?,
            1 => {
                let mut lengths = [8; 288];
                lengths[144..256].fill(9);
                lengths[256..280].fill(7);
                block(&mut bits, &mut out, expected, &Code::new(&lengths)?, &Code::new(&[5; 30])?)?;
            }
            2 => {
                let (literals, distances) = codes(&mut bits)?;
                block(&mut bits, &mut out, expected, &literals, &distances)?;
            }
            _ => return None,
        }
        if is_last {
            break;
        }
    }
    bits.align();
    let mut check = 0;
    for _ in 0..4 {
        check = check << 8 | bits.take(8)?;
    }
    (out.len() == expected && check == adler32(&out)).then_some(out)
}

fn adler32(bytes: &[u8]) -> u32 {
    let (mut a, mut b) = (1u32, 0u32);
    for byte in bytes {
        a = (a + u32::from(*byte)) % 65521;
        b = (b + a) % 65521;
    }
    b << 16 | a
}

struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
    held: u32,
    count: u32,
}

impl Bits<'_> {
    /// Up to 16 bits, the first one lowest.
    fn take(&mut self, n: u32) -> Option<u32> {
        while self.count < n {
            self.held |= u32::from(*self.bytes.get(self.at)?) << self.count;
            self.at += 1;
            self.count += 8;
        }
        let value = self.held & ((1 << n) - 1);
        self.held >>= n;
        self.count -= n;
        Some(value)
    }

    /// To the next byte.
    fn align(&mut self) {
        self.held >>= self.count % 8;
        self.count -= self.count % 8;
    }
}

/// A canonical Huffman code.
struct Code {
    /// How many codes each length has.
    counts: [u16; 16],
    /// Symbols in the order of their codes.
    symbols: Vec<u16>,
}

impl Code {
    fn new(lengths: &[u8]) -> Option<Code> {
        let mut counts = [0u16; 16];
        lengths.iter().for_each(|&length| counts[usize::from(length)] += 1);
        counts[0] = 0;
        let mut left = 1i32;
        for count in &counts[1..] {
            left = left * 2 - i32::from(*count);
            if left < 0 {
                return None;
            }
        }
        let mut symbols: Vec<u16> =
            (0..lengths.len() as u16).filter(|&s| lengths[usize::from(s)] != 0).collect();
        symbols.sort_by_key(|&s| lengths[usize::from(s)]);
        Some(Code { counts, symbols })
    }

    fn read(&self, bits: &mut Bits<'_>) -> Option<u16> {
        let (mut code, mut first, mut index) = (0u32, 0u32, 0u32);
        for count in &self.counts[1..] {
            code |= bits.take(1)?;
            let count = u32::from(*count);
            if code < first + count {
                return self.symbols.get((index + code - first) as usize).copied();
            }
            index += count;
            first = (first + count) << 1;
            code <<= 1;
        }
        None
    }
}

fn stored(bits: &mut Bits<'_>, out: &mut Vec<u8>, limit: usize) -> Option<()> {
    bits.align();
    let (len, complement) = (bits.take(16)?, bits.take(16)?);
    if len != !complement & 0xffff || out.len() + len as usize > limit {
        return None;
    }
    for _ in 0..len {
        out.push(bits.take(8)? as u8);
    }
    Some(())
}

fn codes(bits: &mut Bits<'_>) -> Option<(Code, Code)> {
    const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
    let literals = bits.take(5)? as usize + 257;
    let distances = bits.take(5)? as usize + 1;
    let given = bits.take(4)? as usize + 4;
    if literals > 286 || distances > 30 {
        return None;
    }
    let mut lengths = [0; 19];
    for &place in &ORDER[..given] {
        lengths[place] = bits.take(3)? as u8;
    }
    let code = Code::new(&lengths)?;
    let mut lengths: Vec<u8> = Vec::new();
    while lengths.len() < literals + distances {
        let (value, times) = match code.read(bits)? {
            16 => (*lengths.last()?, 3 + bits.take(2)?),
            17 => (0, 3 + bits.take(3)?),
            18 => (0, 11 + bits.take(7)?),
            length => (length as u8, 1),
        };
        lengths.extend(std::iter::repeat_n(value, times as usize));
    }
    let fits = lengths.len() == literals + distances && lengths[256] != 0;
    let (a, b) = lengths.split_at(literals);
    if fits { Code::new(a).zip(Code::new(b)) } else { None }
}

fn block(
    bits: &mut Bits<'_>,
    out: &mut Vec<u8>,
    limit: usize,
    literals: &Code,
    distances: &Code,
) -> Option<()> {
    const LENGTHS: [u16; 29] = [
        3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163,
        195, 227, 258,
    ];
    const DISTANCES: [u16; 30] = [
        1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049,
        3073, 4097, 6145, 8193, 12289, 16385, 24577,
    ];
    loop {
        let symbol = usize::from(literals.read(bits)?);
        let len = match symbol {
            0..256 => {
                if out.len() == limit {
                    return None;
                }
                out.push(symbol as u8);
                continue;
            }
            256 => return Some(()),
            285 => 258,
            _ => {
                let place = symbol - 257;
                let more = if place < 8 { 0 } else { (place / 4 - 1) as u32 };
                usize::from(*LENGTHS.get(place)?) + bits.take(more)? as usize
            }
        };
        let place = usize::from(distances.read(bits)?);
        let more = if place < 4 { 0 } else { (place / 2 - 1) as u32 };
        let distance = usize::from(*DISTANCES.get(place)?) + bits.take(more)? as usize;
        if out.len() + len > limit {
            return None;
        }
        let start = out.len().checked_sub(distance)?;
        for at in start..start + len {
            out.push(out[at]);
        }
    }
}
