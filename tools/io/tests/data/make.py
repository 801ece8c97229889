"""Makes the files beside this one with NumPy and onnx, as others' software writes them."""

import pathlib
import zipfile

import numpy as np
import onnx
from numpy.lib import format as npy_format
from onnx import numpy_helper

FOLDER = pathlib.Path(__file__).parent
# The tensor in all of them, as far as its type can hold it: [2, 3, 4], values 0 .. 23.
BASE = np.arange(24).reshape(2, 3, 4)
TYPES = ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"]


def write_npy(name, array, version=(1, 0)):
    with open(FOLDER / name, "wb") as file:
        npy_format.write_array(file, array, version=version)


for kind in TYPES:
    write_npy(f"little_{kind}.npy", BASE.astype("<" + kind))
    write_npy(f"big_fortran_{kind}.npy", np.asfortranarray(BASE.astype(">" + kind)))
write_npy("bool.npy", BASE % 2 == 1)
write_npy("version_2.npy", BASE.astype("<f4"), (2, 0))
write_npy("version_3.npy", BASE.astype("<f4"), (3, 0))
write_npy("scalar.npy", np.float32(7.5))
write_npy("vector.npy", np.arange(5, dtype="<i8"))
write_npy("empty.npy", np.zeros((0, 3), dtype="<f4"))
bf16_bits = (BASE.astype("<f4").view("<u4") >> 16).astype("<u2")
write_npy("bf16_as_u2.npy", bf16_bits)
write_npy("bf16_as_void.npy", bf16_bits.view("V2"))
with open(FOLDER / "object.npy", "wb") as file:
    npy_format.write_array(file, np.array([None, 1], dtype=object), allow_pickle=True)

np.savez(FOLDER / "stored.npz", x=BASE.astype("<f4"), y=np.arange(3))
np.savez_compressed(FOLDER / "deflated.npz", x=BASE.astype("<f4"), y=np.arange(3))
np.savez_compressed(FOLDER / "only.npz", anything=BASE.astype("<f4"))
with zipfile.ZipFile(FOLDER / "bzip2.npz", "w", zipfile.ZIP_BZIP2) as archive:
    archive.write(FOLDER / "little_f4.npy", "x.npy")

for kind in TYPES + ["?"]:
    array = BASE.astype("<" + kind) if kind != "?" else BASE % 2 == 1
    name = "bool" if kind == "?" else kind
    raw = numpy_helper.from_array(array, "x")
    (FOLDER / f"raw_{name}.pb").write_bytes(raw.SerializeToString())
    typed = onnx.helper.make_tensor("x", raw.data_type, array.shape, array.flatten().tolist())
    (FOLDER / f"typed_{name}.pb").write_bytes(typed.SerializeToString())
typed = onnx.helper.make_tensor(
    "x", onnx.TensorProto.BFLOAT16, BASE.shape, bf16_bits.flatten().tobytes(), raw=True
)
(FOLDER / "raw_bf16.pb").write_bytes(typed.SerializeToString())

strings = np.array([["a", ""], ["é😀", "b c"]])
np.save(FOLDER / "strings.npy", strings)
np.save(FOLDER / "strings_fortran.npy", np.asfortranarray(strings))
np.save(FOLDER / "strings_big.npy", strings.astype(">U3"))
