"""Writes goldens/tfds again: python record_tfds.py DIR (needs tensorflow-datasets, not TensorFlow).

Image i is 16 x (12 + i % 3) pixels of gray level 10 i and of class i % 3.
"""

import io
import sys

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image


class Blobs(tfds.core.GeneratorBasedBuilder):
    """Made-up pictures of one gray level."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {
            "image": tfds.features.Image(encoding_format="jpeg"),
            "label": tfds.features.ClassLabel(names=["cat", "dog", "emu"]),
            "file_name": tfds.features.Text(),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "label"),
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(0, 10), "validation": self._generate_examples(10, 16)}

    def _generate_examples(self, start: int, stop: int):
        for i in range(start, stop):
            file = io.BytesIO()
            Image.fromarray(np.full((12 + i % 3, 16, 3), i * 10, np.uint8)).save(file, "JPEG", quality=90)
            file.seek(0)
            yield f"k{i}", {"image": file, "label": i % 3, "file_name": f"pic{i}.jpg"}


if __name__ == "__main__":
    builder = Blobs(data_dir=sys.argv[1], file_format="array_record")
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(num_shards=2))
