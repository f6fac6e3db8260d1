"""The table that COCO's papers print, and one row a class, as lines of text."""

from collections.abc import Mapping, Sequence

from train_tpu.evaluation.detection_scores import KINDS, MEASURES, ClassPrecision

TITLES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
WIDTH = 7  # of a column


def coco_table(values: Mapping[str, float]) -> list[str]:
    """Twelve numbers in percent for boxes and for masks, where they are scored.

    AP and AR are means over IoU .50 to .95; s, m, l: objects up to 32^2, up to 96^2 and above, in pixels of
    area; AR1, AR10, AR100: with so many detections an image. A dash: there is no such object.

    Args:
      values: of DetectionMeter.
    """
    lines = [" " * 4 + "".join(f"{title:>{WIDTH}}" for title in TITLES)]
    for kind in KINDS:
        if f"{kind}_ap" in values:
            cells = [_percent(values.get(f"{kind}_{name}"), WIDTH) for name in MEASURES]
            lines.append(f"{kind:4}" + "".join(cells))
    return lines


def class_table(classes: Sequence[ClassPrecision]) -> list[str]:
    """AP of each class in percent, the lowest box AP first; those without objects come last, with dashes."""
    width = min(32, max(len("class"), *(len(c.name) for c in classes)))
    masks = any(c.mask_ap is not None for c in classes)
    head = f"{'class':{width}}  {'objects':>8}  {'box AP':>{WIDTH}}"
    lines = [f"{head}  {'mask AP':>{WIDTH}}" if masks else head]
    for row in sorted(classes, key=lambda c: (c.box_ap is None, c.box_ap or 0.0)):
        cells = f"{row.name[:width]:{width}}  {row.objects:8,}  {_percent(row.box_ap, WIDTH)}"
        lines.append(f"{cells}  {_percent(row.mask_ap, WIDTH)}" if masks else cells)
    return lines


def _percent(share: float | None, width: int) -> str:
    return f"{'-':>{width}}" if share is None else f"{100 * share:{width}.1f}"
