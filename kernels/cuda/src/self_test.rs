//! What a device shows before it is trusted: the bits of a few launches on fixed inputs.
//!
//! Invariant: the digests written here are those of the operators' own evaluation, by test. A device that gives
//! another bit, by its driver's compiler or by a fault of its own, is refused with the kernel's name.

use repops::attrs::Attrs;
use repops::digest::{Digest, LEAF_BYTES, Layout, bytes_digest, leaf_hash, merkle_root};
use repops::dtype::DType;
use repops::ops;

use crate::Error;
use crate::device::{Device, Operand, View};
use crate::launch::contract::integer::{Way, launch_by};
use crate::launch::hash::{Bytes, ROOT_BYTES, roots};
use crate::table::{Call, InputType, lookup};

/// An operator on one or two inputs of one type.
struct Case {
    op: &'static str,
    /// Of the inputs, and of the output.
    types: (DType, DType),
    inputs: &'static [&'static [usize]],
    output: &'static [usize],
    /// Exponents of the inputs' elements, as stored, if they are floats.
    exponents: (u32, u32),
    digest: &'static str,
}

const FLOATS: (DType, DType) = (DType::F32, DType::F32);

const CASES: &[Case] = &[
    // Three chunks of a contraction, odd remainders of every tile.
    Case {
        op: "MatMul",
        types: FLOATS,
        inputs: &[&[5, 700], &[700, 37]],
        output: &[5, 37],
        exponents: (100, 140),
        digest: "70cd86fc9166bf6ae1e7d7926f891f3292a6bf72124b2458a6e8dec66f8e16b4",
    },
    // Where a fused or a flushed operation would show: quotients and roots of everything, subnormals too.
    Case {
        op: "Div",
        types: FLOATS,
        inputs: &[&[4099], &[4099]],
        output: &[4099],
        exponents: (0, 254),
        digest: "727cc0c05004dc771a9135a30bc6886e81c7fe970d498f5144f76efc74841228",
    },
    Case {
        op: "Sqrt",
        types: FLOATS,
        inputs: &[&[4099]],
        output: &[4099],
        exponents: (0, 254),
        digest: "3be38c7de1b58494252f0ad9f07a566750e67eee971bb03bec668d6bd4d6516f",
    },
    Case {
        op: "Mul",
        types: FLOATS,
        inputs: &[&[4099], &[4099]],
        output: &[4099],
        exponents: (0, 254),
        digest: "11be5e165aabc0913c1ec4cd00000130d931797976f8e2621e8d0ff2c77de9b7",
    },
    Case {
        op: "Exp",
        types: FLOATS,
        inputs: &[&[4099]],
        output: &[4099],
        exponents: (100, 134),
        digest: "e6a17feefaf3f4e945a0222480a8d58ae609dbfe2609743d7d2f9ce7ba87e640",
    },
    Case {
        op: "Tanh",
        types: FLOATS,
        inputs: &[&[4099]],
        output: &[4099],
        exponents: (100, 130),
        digest: "2ccedbc74619dc14d96aa2ee253c3814140e57ec98e39ae714e6a7644fa409c8",
    },
    Case {
        op: "Sin",
        types: FLOATS,
        inputs: &[&[4099]],
        output: &[4099],
        exponents: (100, 160),
        digest: "421fdff6d632643d93a42b6b40e54b918d8c5a541e82ecfacd0dd3e031a1d6e0",
    },
    // By tensor cores; where there are warpgroups, by these, too.
    Case {
        op: "MatMulInteger",
        types: (DType::I8, DType::I32),
        inputs: &[&[130, 300], &[300, 100]],
        output: &[130, 100],
        exponents: (0, 254),
        digest: "84947a69dacb72f2ae51903e98e81267544900386dcca7938142724faaf9fdee",
    },
];

impl Case {
    /// The bytes of input number `index`: every sign and fraction, exponents of the case's range.
    fn input(&self, index: usize) -> Vec<u8> {
        let count: usize = self.inputs[index].iter().product();
        let (low, high) = self.exponents;
        let mut state = 0x9e37_79b9_7f4a_7c15u64.wrapping_mul(index as u64 + 1);
        let mut next = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let (bits, exponent) = ((state >> 32) as u32, state as u32 % (high - low + 1) + low);
            (bits & 0x807f_ffff) | exponent << 23
        };
        let bytes = count * self.types.0.size();
        (0..bytes.div_ceil(4)).flat_map(|_| next().to_le_bytes()).take(bytes).collect()
    }

    fn digest_of(&self, bytes: &[u8]) -> String {
        bytes_digest(self.types.1, Layout::RowMajor, self.output, bytes).to_hex()
    }

    fn attrs(&self) -> Attrs {
        let def = ops::by_name(self.op).expect("an operator of the table");
        def.check_attrs(&Attrs::new()).expect("it needs no attributes")
    }

    /// What the device computes, in a way of its own where one is given.
    fn run<D: Device>(&self, device: &D, way: Option<Way>) -> Result<Vec<u8>, Error> {
        let def = ops::by_name(self.op).expect("an operator of the table");
        let attrs = self.attrs();
        let data: Vec<Vec<u8>> = (0..self.inputs.len()).map(|index| self.input(index)).collect();
        let (dtype, layout) = (self.types.0, Layout::RowMajor);
        let types: Vec<Option<InputType<'_>>> = self
            .inputs
            .iter()
            .map(|&shape| Some(InputType { dtype, shape, layout, on_host: true }))
            .collect();
        let missing = || Error::unsupported(format!("{}, which the self-test asks for,", self.op));
        let launch = lookup::<D>(def.id, def.version, &attrs, &types).ok_or_else(missing)?;
        let mut buffers = Vec::with_capacity(data.len());
        for bytes in &data {
            let buffer = device.alloc(bytes.len())?;
            device.write(&buffer, 0, bytes)?;
            buffers.push(buffer);
        }
        let mut out = vec![0; self.types.1.size() * self.output.iter().product::<usize>()];
        let result = device.alloc(out.len())?;
        let inputs: Vec<Option<Operand<'_, D::Buffer>>> = buffers
            .iter()
            .zip(&data)
            .zip(self.inputs)
            .map(|((buffer, bytes), &shape)| {
                let view = View { buffer, offset: 0, dtype, shape };
                Some(Operand { view, layout, host: Some(bytes) })
            })
            .collect();
        let outputs = [Some(View { buffer: &result, offset: 0, dtype: self.types.1, shape: self.output })];
        let call = Call { op: def, attrs: &attrs, inputs: &inputs, outputs: &outputs };
        match way {
            None => launch(device, &call)?,
            Some(way) => launch_by(device, &call, way)?,
        }
        device.read(&result, 0, &mut out)?;
        Ok(out)
    }
}

/// Has the device compute every case; an error names the first operator whose bits are not those expected.
pub fn run<D: Device>(device: &D) -> Result<(), Error> {
    let refused = |what: &str, found: &str, wanted: &str| Error::Launch {
        kernel: what.to_owned(),
        what: format!(
            "this device gives other bits than specified (digest {found}, not {wanted}) and is not used"
        ),
    };
    for case in CASES {
        let by_warpgroups = (case.op == "MatMulInteger" && device.architecture() == 90)
            .then_some(Some(Way::Warpgroups { blocks: 2 }));
        for way in std::iter::once(None).chain(by_warpgroups) {
            let found = case.digest_of(&case.run(device, way)?);
            if found != case.digest {
                return Err(refused(case.op, &found, case.digest));
            }
        }
    }
    // Two groups of leaves, and a leaf that is not full.
    let bytes: Vec<u8> = (0..130 * LEAF_BYTES + 77).map(|at| (at * 7 + at / 251) as u8).collect();
    let leaves: Vec<Digest> = bytes.chunks(LEAF_BYTES).map(leaf_hash).collect();
    let (buffer, out) = (device.put(&bytes)?, device.alloc(ROOT_BYTES)?);
    roots(device, &[Bytes { buffer: &buffer, offset: 0, len: bytes.len() }], &out, 0)?;
    let mut found = Digest([0; ROOT_BYTES]);
    device.read(&out, 0, &mut found.0)?;
    let wanted = merkle_root(&leaves);
    if found != wanted { Err(refused("leaves", &found.to_hex(), &wanted.to_hex())) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use repops::Tensor;

    #[test]
    fn expectations_are_the_references() {
        let mut wrong = Vec::new();
        for case in CASES {
            let inputs: Vec<Tensor> = (0..case.inputs.len())
                .map(|index| {
                    Tensor::from_bytes(case.types.0, case.inputs[index], &case.input(index)).unwrap()
                })
                .collect();
            let views: Vec<_> = inputs.iter().map(|tensor| Some(tensor.view())).collect();
            let attrs = case.attrs();
            let ctx = ops::EvalCtx { attrs: &attrs, inputs: &views, outputs: 1 };
            let computed = ops::by_name(case.op).unwrap().evaluate(&ctx).unwrap();
            assert_eq!(computed[0].shape(), case.output, "{}", case.op);
            let digest = case.digest_of(computed[0].bytes());
            if digest != case.digest {
                wrong.push(format!("{}: {digest}", case.op));
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}
