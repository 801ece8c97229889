//! A first look at the bytes of a model, before anything is decoded.
//!
//! It walks the nested messages and checks lengths, depth and number. So a file that is cut or changed
//! is refused with the byte and the field where it stops making sense, and decoding allocates no more
//! than a small multiple of the file's size.

use super::ImportError;

/// Depth of nested messages. A subgraph takes three: graph, node, attribute.
pub const DEPTH_MAX: usize = 60;
/// Messages in one model. A decoded message may take some hundred bytes, whatever it took in the file.
pub const MESSAGES_MAX: u64 = 4_000_000;

/// Kinds of message that hold other messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Model,
    Graph,
    Node,
    Attribute,
    Function,
    SparseTensor,
    Training,
    Tensor,
    ValueInfo,
    Type,
    TensorType,
    Shape,
    ElementType,
    Configuration,
    Sharding,
    /// A message that is not followed further.
    Leaf,
}

/// Length-delimited fields that are messages: number, kind, name.
fn messages(kind: Kind) -> &'static [(u64, Kind, &'static str)] {
    use Kind::*;
    match kind {
        Model => &[
            (7, Graph, "graph"),
            (8, Leaf, "opset_import"),
            (14, Leaf, "metadata_props"),
            (20, Training, "training_info"),
            (25, Function, "functions"),
            (26, Leaf, "configuration"),
        ],
        Graph => &[
            (1, Node, "node"),
            (5, Tensor, "initializer"),
            (11, ValueInfo, "input"),
            (12, ValueInfo, "output"),
            (13, ValueInfo, "value_info"),
            (14, Leaf, "quantization_annotation"),
            (15, SparseTensor, "sparse_initializer"),
            (16, Leaf, "metadata_props"),
        ],
        Node => &[
            (5, Attribute, "attribute"),
            (9, Leaf, "metadata_props"),
            (10, Configuration, "device_configurations"),
        ],
        Attribute => &[
            (5, Tensor, "t"),
            (6, Graph, "g"),
            (10, Tensor, "tensors"),
            (11, Graph, "graphs"),
            (14, Type, "tp"),
            (15, Type, "type_protos"),
            (22, SparseTensor, "sparse_tensor"),
            (23, SparseTensor, "sparse_tensors"),
        ],
        Function => &[
            (7, Node, "node"),
            (9, Leaf, "opset_import"),
            (11, Attribute, "attribute_proto"),
            (12, ValueInfo, "value_info"),
            (14, Leaf, "metadata_props"),
        ],
        SparseTensor => &[(1, Tensor, "values"), (2, Tensor, "indices")],
        Training => &[
            (1, Graph, "initialization"),
            (2, Graph, "algorithm"),
            (3, Leaf, "initialization_binding"),
            (4, Leaf, "update_binding"),
        ],
        Tensor => &[(3, Leaf, "segment"), (13, Leaf, "external_data"), (16, Leaf, "metadata_props")],
        ValueInfo => &[(2, Type, "type"), (4, Leaf, "metadata_props")],
        Type => &[
            (1, TensorType, "tensor_type"),
            (4, ElementType, "sequence_type"),
            (5, ElementType, "map_type"),
            (7, Leaf, "opaque_type"),
            (8, TensorType, "sparse_tensor_type"),
            (9, ElementType, "optional_type"),
        ],
        TensorType => &[(2, Shape, "shape")],
        Shape => &[(1, Leaf, "dim")],
        // A sequence's or optional's element has number 1, a map's value number 2.
        ElementType => &[(1, Type, "elem_type"), (2, Type, "value_type")],
        Configuration => &[(2, Sharding, "sharding_spec")],
        Sharding => &[(3, Leaf, "index_to_device_group_map"), (4, Leaf, "sharded_dim")],
        Leaf => &[],
    }
}

/// Checks the bytes of a ModelProto.
pub fn scan(bytes: &[u8]) -> Result<(), ImportError> {
    let mut scan = Scan { bytes, messages: 0, path: vec!["model"] };
    scan.message(Kind::Model, 0, bytes.len())
}

struct Scan<'a> {
    bytes: &'a [u8],
    messages: u64,
    /// Names of the fields that lead to the present message.
    path: Vec<&'static str>,
}

impl Scan<'_> {
    fn message(&mut self, kind: Kind, start: usize, end: usize) -> Result<(), ImportError> {
        self.messages += 1;
        if self.messages > MESSAGES_MAX {
            let what = "protobuf messages in the model".to_string();
            return Err(ImportError::Limit { what, found: self.messages, limit: MESSAGES_MAX });
        }
        if self.path.len() > DEPTH_MAX {
            let what = format!("depth of nested messages at byte {start}");
            return Err(ImportError::Limit { what, found: self.path.len() as u64, limit: DEPTH_MAX as u64 });
        }
        let mut at = start;
        while at < end {
            let field_start = at;
            let key = self.varint(&mut at, end)?;
            let number = key >> 3;
            if number == 0 || number > 0x1fff_ffff {
                return Err(self.malformed(field_start, format!("{number} is no field number")));
            }
            match key & 7 {
                0 => {
                    self.varint(&mut at, end)?;
                }
                1 => at = self.skip(at, 8, end, number)?,
                5 => at = self.skip(at, 4, end, number)?,
                2 => {
                    let length = self.varint(&mut at, end)?;
                    let inner = at;
                    at = self.skip(at, length, end, number)?;
                    let known = messages(kind).iter().find(|(n, _, _)| *n == number);
                    if let Some(&(_, inner_kind, name)) = known {
                        self.path.push(name);
                        self.message(inner_kind, inner, at)?;
                        self.path.pop();
                    }
                }
                wire => {
                    return Err(self.malformed(field_start, format!("field {number} has wire type {wire}")));
                }
            }
        }
        Ok(())
    }

    fn skip(&self, at: usize, length: u64, end: usize, number: u64) -> Result<usize, ImportError> {
        let left = (end - at) as u64;
        if length > left {
            let problem = format!("field {number} declares {length} bytes where {left} are left");
            return Err(self.malformed(at, problem));
        }
        Ok(at + length as usize)
    }

    fn varint(&self, at: &mut usize, end: usize) -> Result<u64, ImportError> {
        let start = *at;
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let Some(&byte) = self.bytes[..end].get(*at) else {
                return Err(self.malformed(start, "ends inside of a number".to_string()));
            };
            *at += 1;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.malformed(start, "a number is longer than 64 bits".to_string()))
    }

    fn malformed(&self, offset: usize, problem: String) -> ImportError {
        ImportError::Malformed { offset, field: self.path.join("."), problem }
    }
}
