"""The explanation methods by name: what each needs, and where it was published."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Method:
    """An explanation method as planning and shards name it; `worker/explainers` computes it.

    Attributes:
        title: its name in print.
        doi: of its paper.
        needs_pooled_linear_head: whether it exists only for average pooling followed by one linear
            layer (or none), at the layer that enters the pooling.
    """

    title: str
    doi: str
    needs_pooled_linear_head: bool = False


METHODS = {
    "cam": Method("CAM", "10.1109/CVPR.2016.319", needs_pooled_linear_head=True),
    "gradcam": Method("Grad-CAM", "10.1109/ICCV.2017.74"),
}
