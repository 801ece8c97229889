"""Small ONNX models, and one large one, made by script: weights are drawn, shapes are the real ones."""
from pathlib import Path

import numpy
import onnx
from onnx import TensorProto, helper, numpy_helper

F32 = TensorProto.FLOAT


class Maker:
    """Writes models and their inputs into a folder."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)

    def _random(self):
        return numpy.random.default_rng(0)

    def input(self, name, array):
        path = self.folder / f"{name}.npy"
        numpy.save(path, array)
        return str(path)

    def normal(self, name, *shape):
        return self.input(name, self._random().standard_normal(shape, dtype=numpy.float32))

    def bytes(self, name, shape, dtype=numpy.uint8):
        return self.input(name, self._random().integers(0, 100, shape).astype(dtype))

    def model(self, name, nodes, inputs, outputs, constants, opset=17, domains=()):
        """`inputs` and `outputs`: name to (type, shape); `constants`: name to array or TensorProto."""
        values = lambda table: [helper.make_tensor_value_info(n, t, s) for n, (t, s) in table.items()]
        tensors = [
            c if isinstance(c, TensorProto) else numpy_helper.from_array(c, n) for n, c in constants.items()
        ]
        graph = helper.make_graph(nodes, name, values(inputs), values(outputs), tensors)
        opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        path = self.folder / f"{name}.onnx"
        onnx.save(model, path)
        return str(path)

    def weights(self, *shape, scale=None):
        scale = scale or (shape[0] if len(shape) == 2 else max(1, numpy.prod(shape[1:]))) ** -0.5
        return (self._random().standard_normal(shape, dtype=numpy.float32) * scale).astype(numpy.float32)

    # ----- contractions -----

    def gemv(self, weight, batch, k, n):
        """`weight`: f32; or f16, bf16: cast to f32 in the model, as exporters write it."""
        name = f"gemv_{weight}_{batch}x{k}x{n}"
        w = self.weights(k, n)
        nodes, constants = [], {"w": w}
        if weight == "f16":
            constants = {"h": w.astype(numpy.float16)}
        elif weight == "bf16":
            raw = (w.view(numpy.uint32) >> 16).astype(numpy.uint16)
            constants = {"h": helper.make_tensor("h", TensorProto.BFLOAT16, (k, n), raw.tobytes(), raw=True)}
        if weight != "f32":
            nodes = [helper.make_node("Cast", ["h"], ["w"], to=F32)]
        nodes.append(helper.make_node("MatMul", ["x", "w"], ["y"]))
        model = self.model(name, nodes, {"x": (F32, (batch, k))}, {"y": (F32, (batch, n))}, constants)
        return model, {"x": self.normal(f"x_{batch}x{k}", batch, k)}

    def int8_matmul(self, kind, m, k, n):
        name = f"{kind}_{m}x{k}x{n}"
        w = self._random().integers(-100, 100, (k, n)).astype(numpy.int8)
        u8, i8, i32 = TensorProto.UINT8, TensorProto.INT8, TensorProto.INT32
        node = helper.make_node
        scalar = lambda value, dtype: numpy.array(value, dtype)
        constants = {"w": w, "wz": scalar(0, numpy.int8)}
        x, y = {"x": (u8, (m, k))}, {"y": (i32, (m, n))}
        given = lambda: {"x": self.bytes(f"u8_{m}x{k}", (m, k))}
        if kind == "MatMulInteger":
            nodes = [node("MatMulInteger", ["x", "w", "xz", "wz"], ["y"])]
            constants["xz"] = scalar(128, numpy.uint8)
        elif kind == "QLinearMatMul":
            nodes = [node("QLinearMatMul", ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz"], ["y"])]
            constants |= {"xs": scalar(0.02, "f"), "xz": scalar(128, "u1"), "ws": scalar(0.01, "f")}
            constants |= {"ys": scalar(0.5, "f"), "yz": scalar(128, "u1")}
            y = {"y": (u8, (m, n))}
        else:
            nodes = [
                node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
                node("MatMulInteger", ["q", "w", "z", "wz"], ["i"]),
                node("Cast", ["i"], ["f"], to=F32),
                node("Mul", ["s", "ws"], ["t"]),
                node("Mul", ["f", "t"], ["y"]),
            ]
            constants["ws"] = scalar(0.01, "f")
            x, y = {"x": (F32, (m, k))}, {"y": (F32, (m, n))}
            given = lambda: {"x": self.normal(f"x_{m}x{k}", m, k)}
        return self.model(name, nodes, x, y, constants), given()

    # ----- convolutions -----

    def conv(self, c, h, w, out, kernel, stride=1, group=1, is_int8=False):
        kind = "qconv" if is_int8 else "conv"
        name = f"{kind}_{c}x{h}x{w}_{out}_k{kernel}s{stride}g{group}"
        pad = kernel // 2
        attributes = dict(kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[pad] * 4, group=group)
        sizes = [(e + 2 * pad - kernel) // stride + 1 for e in (h, w)]
        shape = (out, c // group, kernel, kernel)
        if is_int8:
            u8 = TensorProto.UINT8
            constants = {
                "w": self._random().integers(-100, 100, shape).astype(numpy.int8),
                "b": self._random().integers(-1000, 1000, out).astype(numpy.int32),
                "xs": numpy.array(0.02, "f"), "xz": numpy.array(128, "u1"),
                "ws": numpy.array(0.01, "f"), "wz": numpy.array(0, "i1"),
                "ys": numpy.array(0.5, "f"), "yz": numpy.array(128, "u1"),
            }
            order = ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz", "b"]
            nodes = [helper.make_node("QLinearConv", order, ["y"], **attributes)]
            model = self.model(name, nodes, {"x": (u8, (1, c, h, w))}, {"y": (u8, (1, out, *sizes))}, constants)
            return model, {"x": self.bytes(f"u8_{c}x{h}x{w}", (1, c, h, w))}
        constants = {"w": self.weights(*shape), "b": self.weights(out, scale=0.1)}
        nodes = [helper.make_node("Conv", ["x", "w", "b"], ["y"], **attributes)]
        model = self.model(name, nodes, {"x": (F32, (1, c, h, w))}, {"y": (F32, (1, out, *sizes))}, constants)
        return model, {"x": self.normal(f"x_{c}x{h}x{w}", 1, c, h, w)}

    # ----- rows and elements -----

    def rows(self, operator, rows, width):
        shape = (rows, width)
        constants, names, attributes, opset = {}, ["x"], {}, 17
        if operator == "LayerNormalization":
            constants = {"g": self.weights(width, scale=1.0), "b": self.weights(width, scale=1.0)}
            names, attributes = ["x", "g", "b"], dict(axis=-1)
        elif operator == "Softmax":
            attributes = dict(axis=-1)
        elif operator == "Gelu":
            opset = 20
        nodes = [helper.make_node(operator, names, ["y"], **attributes)]
        io = ({"x": (F32, shape)}, {"y": (F32, shape)})
        model = self.model(f"{operator}_{rows}x{width}", nodes, *io, constants, opset=opset)
        return model, {"x": self.normal(f"x_{rows}x{width}", rows, width)}

    # ----- attention -----

    def attention(self, kind, positions, heads=12, head=64):
        """`steps`: products and softmax as exporters write them; `op`: ONNX's own operator (opset 23);
        `fused`: ONNX Runtime's contrib operator. All from and to [1, positions, heads * head]."""
        hidden, name = heads * head, f"attention_{kind}_{positions}"
        io = {n: (F32, (1, positions, hidden)) for n in "qkv"}
        given = {n: self.normal(f"x_1x{positions}x{hidden}", 1, positions, hidden) for n in "qkv"}
        out = {"y": (F32, (1, positions, hidden))}
        node = helper.make_node
        if kind == "fused":
            nodes = [node("MultiHeadAttention", ["q", "k", "v"], ["y"], domain="com.microsoft", num_heads=heads)]
            return self.model(name, nodes, io, out, {}, domains=["com.microsoft"]), given
        if kind == "op":
            nodes = [node("Attention", ["q", "k", "v"], ["y"], q_num_heads=heads, kv_num_heads=heads)]
            return self.model(name, nodes, io, out, {}, opset=23), given
        nodes = []
        for n, order in (("q", [0, 2, 1, 3]), ("k", [0, 2, 3, 1]), ("v", [0, 2, 1, 3])):
            nodes.append(node("Reshape", [n, "split"], [n + "4"]))
            nodes.append(node("Transpose", [n + "4"], [n + "h"], perm=order))
        nodes += [
            node("MatMul", ["qh", "kh"], ["scores"]),
            node("Mul", ["scores", "scale"], ["scaled"]),
            node("Softmax", ["scaled"], ["weights"], axis=-1),
            node("MatMul", ["weights", "vh"], ["yh"]),
            node("Transpose", ["yh"], ["y4"], perm=[0, 2, 1, 3]),
            node("Reshape", ["y4", "join"], ["y"]),
        ]
        constants = {
            "split": numpy.array([1, positions, heads, head]), "join": numpy.array([1, positions, hidden]),
            "scale": numpy.array(head ** -0.5, "f"),
        }
        return self.model(name, nodes, io, out, constants), given

    # ----- a whole network -----

    def resnet50(self):
        """The shapes of ResNet-50 at 224 x 224, batch normalization folded into the convolutions."""
        nodes, constants = [], {}

        def conv(x, c, out, kernel, stride, relu):
            n = len(constants)
            constants[f"w{n}"] = self.weights(out, c, kernel, kernel)
            constants[f"b{n}"] = self.weights(out, scale=0.1)
            pads = [kernel // 2] * 4
            attributes = dict(kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=pads)
            nodes.append(helper.make_node("Conv", [x, f"w{n}", f"b{n}"], [f"c{n}"], **attributes))
            if relu:
                nodes.append(helper.make_node("Relu", [f"c{n}"], [f"r{n}"]))
            return f"r{n}" if relu else f"c{n}"

        x = conv("x", 3, 64, 7, 2, True)
        nodes.append(helper.make_node("MaxPool", [x], ["pooled"], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4))
        x, channels = "pooled", 64
        for stage, (width, blocks) in enumerate([(64, 3), (128, 4), (256, 6), (512, 3)]):
            for block in range(blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                short = x if block else conv(x, channels, 4 * width, 1, stride, False)
                y = conv(x, channels, width, 1, 1, True)
                y = conv(y, width, width, 3, stride, True)
                y = conv(y, width, 4 * width, 1, 1, False)
                place = f"{stage}_{block}"
                nodes.append(helper.make_node("Add", [y, short], [f"sum{place}"]))
                nodes.append(helper.make_node("Relu", [f"sum{place}"], [f"out{place}"]))
                x, channels = f"out{place}", 4 * width
        constants |= {"wf": self.weights(2048, 1000), "bf": self.weights(1000, scale=0.1)}
        nodes += [
            helper.make_node("GlobalAveragePool", [x], ["average"]),
            helper.make_node("Flatten", ["average"], ["flat"]),
            helper.make_node("Gemm", ["flat", "wf", "bf"], ["y"]),
        ]
        io = ({"x": (F32, (1, 3, 224, 224))}, {"y": (F32, (1, 1000))})
        return self.model("resnet50", nodes, *io, constants), {"x": self.normal("x_224", 1, 3, 224, 224)}
