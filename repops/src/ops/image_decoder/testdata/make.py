"""Writes the pictures of this folder and, beside each, the pixels that Pillow reads from it (RGB, row by row)."""

import io
import struct
import zlib

import numpy as np
import PIL.Image

rng = np.random.default_rng(7)


def photo(height, width):
    """Smooth, with some noise: what JPEG is for."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x / 5 + c) * 80 + np.cos(y / (4 + c)) * 60 + 120 for c in range(3)]
    return PIL.Image.fromarray(np.clip(np.stack(waves, 2) + rng.normal(0, 12, (height, width, 3)), 0, 255).astype(np.uint8))


def keep(name, image, kind, pixels=True, **options):
    with io.BytesIO() as file:
        image.save(file, format=kind, **options)
        data = file.getvalue()
    open(name, "wb").write(data)
    if pixels:
        found = np.array(PIL.Image.open(io.BytesIO(data)).convert("RGB"))
        open(name.rsplit(".", 1)[0] + ".rgb", "wb").write(found.tobytes())


def interlaced(name, pixels):
    """Adam7, which Pillow reads but does not write."""
    chunk = lambda kind, body: struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    rows = [bytes([0]) + row.tobytes() for x, y, dx, dy in passes for row in pixels[y::dy, x::dx] if row.size]
    head = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 8, 2, 0, 0, 1)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"".join(rows))) + chunk(b"IEND", b"")
    open(name, "wb").write(data)
    assert np.array_equal(np.array(PIL.Image.open(name)), pixels)
    open("interlaced.rgb", "wb").write(pixels.tobytes())


small = photo(13, 21)
palette = small.quantize(11)
keep("palette.png", palette, "png")
keep("palette.bmp", palette, "bmp", pixels=False)
keep("gray.png", small.convert("1"), "png")
interlaced("interlaced.png", np.array(small))
keep("progressive.jpg", photo(29, 37), "jpeg", progressive=True, quality=70, subsampling="4:2:0")
keep("restart.jpg", photo(19, 43), "jpeg", restart_marker_rows=1, quality=60, subsampling="4:2:2")
keep("wide.jpg", photo(17, 50), "jpeg", quality=90, subsampling="4:4:4", optimize=True)
keep("packbits.tif", small, "tiff", compression="packbits")
keep("deflate.tif", small, "tiff", compression="tiff_adobe_deflate")
