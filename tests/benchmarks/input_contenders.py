"""One input pipeline that never ends: it reads, crops, batches and counts. Run by input_pipeline.py.

    python input_contenders.py NAME WORKERS IMAGES COUNTER

NAME: grain-folder, grain-records, torch or tf; then -bicubic, -bilinear (both antialiased) or -coarse
(bilinear, not antialiased). COUNTER: a file of eight bytes, the number of images that came out so far.
"""

import contextlib
import mmap
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

SIZE, BATCH = 224, 32
_NAMES = ("nms", "qnms", "roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool", "deform_conv2d")
OPERATORS = (*_NAMES, *(f"_{name}_backward" for name in _NAMES))
SCALE, RATIO = (0.08, 1.0), (3 / 4, 4 / 3)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def grain_batches(source: str, kind: str, workers: int, images: Path) -> Iterator[int]:
    """This package: uint8 to the device, which normalises."""
    from train_tpu.config import base_config
    from train_tpu.data import folder, pipeline, records
    from train_tpu.data.quarantine import CorruptImages

    data = base_config().data
    data.threads, data.image_size = workers, SIZE
    data.crop_scale, data.crop_ratio = SCALE, RATIO
    data.antialias = kind != "coarse"
    data.interpolation = "bicubic" if kind == "bicubic" else "bilinear"
    read = folder.load if source == "folder" else records.load
    train = read(images / source).train
    batches = pipeline.train_batches(
        train, data, seed=0, batch_size=BATCH, corrupt=CorruptImages(len(train), 0.0)
    )
    for batch in batches:
        yield len(batch["image"])


def torch_batches(source: str, kind: str, workers: int, images: Path) -> Iterator[int]:
    """torchvision's usual transforms and torch's DataLoader: normalised float32."""
    import torch

    try:
        import torchvision  # noqa: F401
    except (RuntimeError, AttributeError):  # it cannot load its operators, which transforms do not need
        library = torch.library.Library("torchvision", "DEF")
        for name in OPERATORS:
            with contextlib.suppress(RuntimeError):
                library.define(f"{name}(Tensor input) -> Tensor")
        for module in [m for m in sys.modules if m.split(".")[0] == "torchvision"]:
            del sys.modules[module]
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    modes = transforms.InterpolationMode
    mode = {"bicubic": modes.BICUBIC, "bilinear": modes.BILINEAR}[kind]
    transform = transforms.Compose(
        [
            transforms.RandomResizedCrop(SIZE, scale=SCALE, ratio=RATIO, interpolation=mode),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )
    dataset = ImageFolder(str(images / source / "train"), transform)
    endless = torch.utils.data.RandomSampler(dataset, replacement=True, num_samples=10**9)
    loader = torch.utils.data.DataLoader(
        dataset, batch_size=BATCH, sampler=endless, num_workers=workers, prefetch_factor=4
    )
    for batch, _ in loader:
        yield len(batch)


def tf_batches(source: str, kind: str, workers: int, images: Path) -> Iterator[int]:
    """tf.data as its guides write it: crop inside the decoder, bilinear without antialiasing, float32."""
    import os

    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import tensorflow as tf

    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.threading.set_intra_op_parallelism_threads(1)
    mean, std = tf.constant(MEAN), tf.constant(STD)

    def read(path: tf.Tensor) -> tf.Tensor:
        data = tf.io.read_file(path)
        shape = tf.image.extract_jpeg_shape(data)
        begin, size, _ = tf.image.sample_distorted_bounding_box(
            shape,
            tf.zeros([1, 0, 4]),
            area_range=SCALE,
            aspect_ratio_range=RATIO,
            max_attempts=10,
            use_image_if_no_bounding_boxes=True,
        )
        window = tf.stack([begin[0], begin[1], size[0], size[1]])
        image = tf.image.decode_and_crop_jpeg(data, window, channels=3)
        image = tf.image.resize(image, [SIZE, SIZE], antialias=kind != "coarse")
        image = tf.image.random_flip_left_right(image)
        return (image / 255 - mean) / std

    files = sorted(str(path) for path in (images / source / "train").glob("*/*.jpg"))
    dataset = tf.data.Dataset.from_tensor_slices(files).shuffle(len(files)).repeat()
    dataset = dataset.map(read, num_parallel_calls=workers, deterministic=True).batch(BATCH).prefetch(4)
    options = tf.data.Options()
    options.threading.private_threadpool_size = workers
    options.threading.max_intra_op_parallelism = 1
    for batch in dataset.with_options(options):
        yield len(batch)


CONTENDERS = {"grain": grain_batches, "torch": torch_batches, "tf": tf_batches}


def main(name: str, workers: str, images: str, counter: str) -> None:
    parts = name.split("-")
    batches = CONTENDERS[parts[0]](
        parts[1] if len(parts) == 3 else "folder", parts[-1], int(workers), Path(images)
    )
    total = 0
    with Path(counter).open("r+b") as file, mmap.mmap(file.fileno(), 8) as shared:
        for count in batches:
            total += count
            shared[:] = struct.pack("<q", total)


if __name__ == "__main__":
    main(*sys.argv[1:])
