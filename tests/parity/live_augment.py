"""Compare training augmentation and losses with timm's and torchvision's: `live_augment.py [--write]`.

Every operation at fixed parameters, on two pictures; boxes of crops and of erasing from the same random
numbers; mixup, CutMix and losses on the same batch. --write records timm's side in tests/goldens/augment.npz,
which the tests without timm use. Exit status 1 if anything differs by more than its limit.
"""

import argparse
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
import torch
from live_timm import import_timm
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))
import augment_cases as cases  # noqa: E402

GOLDENS = ROOT / "tests" / "goldens" / "augment.npz"


def operations() -> dict[str, np.ndarray]:
    """timm's AugmentOp at each magnitude and sign."""
    from timm.data import auto_augment

    made = {}
    for case in cases.operations():
        operation = auto_augment.AugmentOp(
            case.name,
            prob=1.0,
            magnitude=case.magnitude,
            hparams={"img_mean": cases.FILL, "interpolation": cases.RESAMPLING[case.interpolation]},
        )
        draw = SimpleNamespace(random=lambda sign=case.sign: 0.9 if sign < 0 else 0.1)
        with mock.patch.object(auto_augment, "random", draw):
            for number, picture in enumerate(cases.pictures()):
                made[f"{case.key}/{number}"] = np.asarray(operation(Image.fromarray(picture)))
    return made


def jitter() -> dict[str, np.ndarray]:
    """torchvision's functions of ColorJitter."""
    from torchvision.transforms import functional

    return {
        f"jitter/{name}/{factor}/{number}": np.asarray(
            getattr(functional, f"adjust_{name}")(Image.fromarray(picture), factor)
        )
        for name in ("brightness", "contrast", "saturation")
        for factor in cases.FACTORS
        for number, picture in enumerate(cases.pictures())
    }


def crop_boxes() -> dict[str, np.ndarray]:
    """(top, left, height, width) of timm's RandomResizedCrop, drawn with numpy's generator."""
    from timm.data import transforms

    rows = []
    rng = np.random.default_rng(cases.SEED)
    draw = SimpleNamespace(uniform=rng.uniform, randint=lambda low, high: int(rng.integers(low, high + 1)))
    with mock.patch.object(transforms, "random", draw):
        for height, width in cases.SHAPES:
            image = Image.new("RGB", (width, height))
            rows.append(
                transforms.RandomResizedCropAndInterpolation.get_params(image, cases.SCALE, cases.RATIO)
            )
    return {"crops": np.array(rows)}


def erased() -> dict[str, np.ndarray]:
    """1 where timm's RandomErasing erases, given the shares, aspects and places of the boxes."""
    from timm.data import random_erasing

    made = {}
    for size, (shares, aspects, places) in cases.erasing().items():
        masks = []
        for share, aspect, place in zip(shares, np.log(aspects), places, strict=True):
            drawn = iter(np.stack([share, aspect], axis=1).ravel())
            corner = iter(place)
            draw = SimpleNamespace(
                random=lambda: 0.0,
                uniform=lambda low, high, drawn=drawn: next(drawn),
                randint=lambda low, high, corner=corner: int(next(corner) * (high + 1)),
            )
            with (
                mock.patch.object(random_erasing, "random", draw),
                mock.patch.object(random_erasing, "_get_pixels", lambda *a, **k: torch.ones(a[2])),
            ):
                erase = random_erasing.RandomErasing(1.0, mode="pixel", device="cpu")
                masks.append(erase(torch.zeros(1, *size))[0].numpy().astype(bool))
        made[f"erasing/{size[0]}x{size[1]}"] = np.stack(masks)
    return made


def mixed() -> dict[str, np.ndarray]:
    """Images and targets of timm's Mixup at given lambdas and centres of boxes."""
    from timm.data import mixup

    made = {}
    images, labels = cases.batch()
    for name, lam, centre in cases.MIXES:
        mixer = mixup.Mixup(1.0, 1.0, label_smoothing=cases.SMOOTHING, num_classes=cases.CLASSES)
        corner = iter(centre)
        with (
            mock.patch.object(mixer, "_params_per_batch", lambda lam=lam, name=name: (lam, name == "cutmix")),
            mock.patch.object(mixup.np.random, "randint", lambda *a, corner=corner, **k: next(corner)),
        ):
            x = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
            x, targets = mixer(x, torch.from_numpy(labels))
        made[f"mix/{name}/{lam}/images"] = x.numpy().transpose(0, 2, 3, 1)
        made[f"mix/{name}/{lam}/targets"] = targets.numpy()
    return made


def losses() -> dict[str, np.ndarray]:
    """Of timm and torch, averaged over the batch as they do."""
    from timm.loss import BinaryCrossEntropy, SoftTargetCrossEntropy

    logits, targets, weights, labels = (torch.from_numpy(array) for array in cases.loss_inputs())
    cross_entropy = torch.nn.functional.cross_entropy
    made = {
        "loss/cross_entropy": SoftTargetCrossEntropy()(logits, targets),
        "loss/cross_entropy/weights": cross_entropy(logits, targets, weights),
        "loss/cross_entropy/labels": cross_entropy(logits, labels, label_smoothing=cases.SMOOTHING),
        "loss/bce": BinaryCrossEntropy()(logits, targets),
        "loss/bce/threshold": BinaryCrossEntropy(target_threshold=cases.THRESHOLD)(logits, targets),
        "loss/bce/weights": BinaryCrossEntropy(weight=weights)(logits, targets),
        "loss/bce/labels": BinaryCrossEntropy(smoothing=cases.SMOOTHING)(logits, labels),
    }
    return {name: value.numpy() for name, value in made.items()}


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args(argv)
    import_timm()
    theirs = operations() | jitter() | crop_boxes() | erased() | mixed() | losses()
    ours = cases.ours()
    worst = cases.differences(ours, theirs)
    for group, (count, difference, limit) in worst.items():
        print(f"{group}: {count} results, largest difference {difference:.1e}, limit {limit:.1e}")
    if arguments.write:
        np.savez_compressed(GOLDENS, **theirs)
        print(f"{GOLDENS.name}: {GOLDENS.stat().st_size / 1e3:.0f} kB")
    return int(any(difference > limit for _, difference, limit in worst.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
