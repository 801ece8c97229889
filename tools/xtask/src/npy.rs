//! The little of NumPy's `.npy` format that this crate needs: integers and simple fractions out, float32 in.
//!
//! Written here once more because this crate may depend on no other of the workspace.

use crate::command::{Error, Result};

const MAGIC: &[u8] = b"\x93NUMPY\x01\x00";

/// Version 1.0, little-endian, C order; the header is padded so that the data begin at a multiple of 64.
pub fn int32(shape: &[usize], values: &[i32]) -> Vec<u8> {
    array("<i4", shape, values.iter().flat_map(|value| value.to_le_bytes()))
}

pub fn int64(shape: &[usize], values: &[i64]) -> Vec<u8> {
    array("<i8", shape, values.iter().flat_map(|value| value.to_le_bytes()))
}

/// float32 numbers from 0 below 1, `values` counted in 1024ths.
pub fn float32_of(shape: &[usize], values: &[u32]) -> Vec<u8> {
    array("<f4", shape, values.iter().flat_map(|value| thousandth(*value).to_le_bytes()))
}

/// `value / 1024` for a value below 1024, by its bits: this crate computes with no floats.
fn thousandth(value: u32) -> u32 {
    match value.min(1023).checked_ilog2() {
        None => 0,
        Some(log) => (127 - 10 + log) << 23 | (value.min(1023) << (23 - log)) & 0x7f_ffff,
    }
}

fn array(descr: &str, shape: &[usize], data: impl Iterator<Item = u8>) -> Vec<u8> {
    let shape: String = shape.iter().map(|size| format!("{size}, ")).collect();
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({shape}), }}");
    while !(MAGIC.len() + 2 + header.len() + 1).is_multiple_of(64) {
        header.push(' ');
    }
    header.push('\n');
    let header_len = u16::try_from(header.len()).unwrap_or(u16::MAX);
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&header_len.to_le_bytes());
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend(data);
    bytes
}

/// The numbers of a float32 file in the order in which they lie, whatever its shape.
pub fn float32(bytes: &[u8]) -> Result<Vec<f32>> {
    let bad = |why: &str| Error::Failed(format!("an output is no .npy file of float32: {why}"));
    let rest = bytes.strip_prefix(MAGIC).ok_or_else(|| bad("another magic or version"))?;
    let (len, rest) = rest.split_first_chunk::<2>().ok_or_else(|| bad("it is cut short"))?;
    let header_len = usize::from(u16::from_le_bytes(*len));
    let (header, data) = rest.split_at_checked(header_len).ok_or_else(|| bad("it is cut short"))?;
    if !String::from_utf8_lossy(header).contains("'<f4'") {
        return Err(bad("another type"));
    }
    let (values, left) = data.as_chunks::<4>();
    if !left.is_empty() {
        return Err(bad("its length is no multiple of four"));
    }
    Ok(values.iter().map(|value| f32::from_le_bytes(*value)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_has_the_stated_layout() {
        let bytes = int32(&[1, 3], &[1, -1, 256]);
        assert_eq!(bytes.len() % 64, 12);
        assert!(bytes.starts_with(b"\x93NUMPY\x01\x00"));
        assert!(bytes.ends_with(&[1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 1, 0, 0]));
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.contains("'descr': '<i4'") && text.contains("'shape': (1, 3, )"), "{text}");
    }

    #[test]
    fn floats_are_read_and_other_files_refused() {
        let mut bytes = int32(&[2], &[0x3f80_0000, 0x4000_0000]);
        assert!(float32(&bytes).is_err());
        let at = bytes.windows(3).position(|three| three == b"<i4").unwrap();
        bytes[at + 1] = b'f';
        assert_eq!(float32(&bytes).unwrap(), [1.0, 2.0]);
        assert!(float32(&bytes[..bytes.len() - 1]).is_err());
        assert!(float32(&bytes[..40]).is_err());
        assert!(float32(b"").is_err());
        assert_eq!(float32(&float32_of(&[4], &[0, 1, 512, 768])).unwrap(), [0.0, 0.0009765625, 0.5, 0.75]);
    }
}
