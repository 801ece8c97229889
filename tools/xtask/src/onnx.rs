//! Finds one weight in the bytes of an ONNX file and flips one bit of it: the demonstration's cheat.
//!
//! Reads just as much protobuf as that takes. Invariant: the flipped file has the original's length and differs in
//! exactly one bit.

use crate::command::{Error, Result};
use std::ops::Range;

// Field numbers of onnx.proto: ModelProto.graph, GraphProto.initializer, TensorProto.{data_type, name, raw_data}.
const MODEL_GRAPH: u64 = 7;
const GRAPH_INITIALIZER: u64 = 5;
const TENSOR_DATA_TYPE: u64 = 2;
const TENSOR_NAME: u64 = 8;
const TENSOR_RAW_DATA: u64 = 9;
/// TensorProto.DataType.FLOAT
const FLOAT: u64 = 1;

/// What was changed.
#[derive(Debug, PartialEq, Eq)]
pub struct Flip {
    pub tensor: String,
    pub element: usize,
    /// The element's bits before and after.
    pub before: u32,
    pub after: u32,
}

/// Flips the lowest bit of the exponent (the value doubles or halves) of the middle element of the largest
/// float32 weight.
pub fn flip_one_weight(model: &mut [u8]) -> Result<Flip> {
    let (tensor, data) = largest_weight(model)
        .ok_or_else(|| Error::Failed("no float32 weight was found in the ONNX file".to_owned()))?;
    let element = data.len() / 4 / 2;
    let place = &mut model[data.start + 4 * element..][..4];
    let before = u32::from_le_bytes([place[0], place[1], place[2], place[3]]);
    let after = before ^ (1 << 23);
    place.copy_from_slice(&after.to_le_bytes());
    Ok(Flip { tensor, element, before, after })
}

fn largest_weight(model: &[u8]) -> Option<(String, Range<usize>)> {
    let mut largest: Option<(String, Range<usize>)> = None;
    for graph in fields(model, 0..model.len())?.into_iter().filter(|field| field.number == MODEL_GRAPH) {
        for tensor in
            fields(model, graph.content)?.into_iter().filter(|field| field.number == GRAPH_INITIALIZER)
        {
            let parts = fields(model, tensor.content)?;
            let find = |number| parts.iter().find(|field| field.number == number);
            let is_float = find(TENSOR_DATA_TYPE).is_some_and(|field| field.value == FLOAT);
            let (Some(data), true) = (find(TENSOR_RAW_DATA), is_float) else { continue };
            if data.content.len() >= 4
                && largest.as_ref().is_none_or(|(_, old)| old.len() < data.content.len())
            {
                let name = find(TENSOR_NAME).map_or(&[][..], |field| &model[field.content.clone()]);
                largest = Some((String::from_utf8_lossy(name).into_owned(), data.content.clone()));
            }
        }
    }
    largest
}

/// One field of a message: a number for varints, a place for everything with a length.
struct Field {
    number: u64,
    value: u64,
    content: Range<usize>,
}

fn fields(bytes: &[u8], message: Range<usize>) -> Option<Vec<Field>> {
    let mut found = Vec::new();
    let mut at = message.start;
    while at < message.end {
        let key = varint(bytes, &mut at)?;
        let mut field = Field { number: key >> 3, value: 0, content: at..at };
        match key & 7 {
            0 => field.value = varint(bytes, &mut at)?,
            1 => at = at.checked_add(8)?,
            2 => {
                let len = usize::try_from(varint(bytes, &mut at)?).ok()?;
                field.content = at..at.checked_add(len)?;
                at = field.content.end;
            }
            5 => at = at.checked_add(4)?,
            _ => return None,
        }
        if at > message.end {
            return None;
        }
        found.push(field);
    }
    Some(found)
}

fn varint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bit_of_the_shipped_model_is_flipped() {
        let path = crate::command::root().join("assets/magika/standard_v3_3.onnx");
        let original = std::fs::read(path).unwrap();
        let mut flipped = original.clone();
        let flip = flip_one_weight(&mut flipped).unwrap();
        assert!(flip.tensor.ends_with("Conv_0/transpose_3:0"), "{flip:?}");
        assert_eq!(flip.element, 512 * 256 * 5 / 2);
        let differing: u32 = original.iter().zip(&flipped).map(|(a, b)| (a ^ b).count_ones()).sum();
        assert_eq!((original.len(), differing), (flipped.len(), 1));
    }

    #[test]
    fn what_is_no_model_is_refused() {
        assert!(flip_one_weight(&mut []).is_err());
        assert!(flip_one_weight(&mut [0x3a, 0xff, 0xff, 0xff, 0xff, 0x0f, 1]).is_err());
        assert!(flip_one_weight(&mut [0xff; 20]).is_err());
    }
}
