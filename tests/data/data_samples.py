"""Small made-up data for the tests: images of many kinds, class folders, parquet files, binary CIFAR archives."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import tarfile
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

SHARED_CIFAR = Path(__file__).parents[2].parent / "shared" / "data" / "cifar10"


def picture(seed: int, size: tuple[int, int] = (8, 8), channels: int = 3) -> np.ndarray:
    """Seeded noise, uint8 [H, W, C]."""
    return np.random.default_rng(seed).integers(0, 256, (*size, channels), dtype=np.uint8)


def encode(array: np.ndarray, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array).save(buffer, kind, **options)
    return buffer.getvalue()


def class_folders(root: Path, classes: dict[str, int], size: tuple[int, int] = (8, 8), first_seed: int = 0) -> Path:
    """`root/CLASS/0.png` and on, lossless noise."""
    seed = first_seed
    for name, count in classes.items():
        (root / name).mkdir(parents=True)
        for i in range(count):
            (root / name / f"{i}.png").write_bytes(encode(picture(seed, size)))
            seed += 1
    return root


def parquet(
    path: Path,
    images: list[bytes | None],
    labels: list[Any] | None,
    names: list[str] | None = None,
    image_column: str = "img",
    label_column: str = "label",
    row_group: int = 3,
) -> Path:
    """A parquet file in the hub's layout; with `names` also with its metadata."""
    cells = [{"bytes": data, "path": f"{i}.png"} for i, data in enumerate(images)]
    columns: dict[str, Any] = {
        image_column: pa.array(cells, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    }
    if labels is not None:
        columns[label_column] = pa.array(labels)
    table = pa.table(columns)
    if names is not None:
        features = {image_column: {"_type": "Image"}, label_column: {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=row_group)
    return path


def bomb() -> bytes:
    """A PNG of 60 bytes whose header claims 20000×20000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 20000, 20000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def cifar_files(name: str, records: int, classes: int) -> dict[str, bytes]:
    """The binary files of CIFAR-10 or CIFAR-100 with a few noise records each; the label of record i is i modulo classes."""
    files = (
        [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
        if name == "cifar10"
        else ["train.bin", "test.bin"]
    )
    held = {}
    for number, file in enumerate(files):
        rows = []
        for i in range(records):
            label = bytes([i % classes]) if name == "cifar10" else bytes([7, i % classes])
            rows.append(label + picture(1000 * number + i, (32, 32)).transpose(2, 0, 1).tobytes())
        held[file] = b"".join(rows)
    return held


def cifar_archive(path: Path, name: str, records: int = 4, classes: int = 2) -> str:
    """Writes a binary archive with its folder inside, and gives its MD5."""
    with tarfile.open(path, "w:gz") as archive:
        for file, data in cifar_files(name, records, classes).items():
            member = tarfile.TarInfo(f"cifar-batches-bin/{file}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return hashlib.md5(path.read_bytes()).hexdigest()


def small_layout(monkeypatch: Any, name: str, md5: str, records: int = 4) -> None:
    """Makes the CIFAR source expect so few records and that checksum."""
    from vitscope.data.sources import cifar

    layout = cifar.LAYOUTS[name]
    changed = replace(layout, md5=md5, records=dict.fromkeys(layout.records, records))
    monkeypatch.setitem(cifar.LAYOUTS, name, changed)
