"""The explanation methods by name: a line each, and the function that computes it."""

from dataclasses import dataclass

ACTIVATIONS = "activations"
GRADIENTS = "gradients"
POOLED_LINEAR_HEAD = "pooled_linear_head"


@dataclass(frozen=True)
class Method:
    """An explanation method as planning, workers and shards know it.

    Attributes:
        title: its name in print.
        needs: what its function is called with besides the feature maps: `activations` (nothing more),
            `gradients`, or the class weights of a `pooled_linear_head`. The last exist only for average
            pooling followed by one linear layer (or none), at the layer that enters the pooling.
        function: where the function is, `module:name`; planning never imports it.
        doi: of its paper.
    """

    title: str
    needs: str
    function: str
    doi: str

    @property
    def needs_pooled_linear_head(self) -> bool:
        """Whether the model's head decides if the method exists."""
        return self.needs == POOLED_LINEAR_HEAD


METHODS = {
    "cam": Method("CAM", POOLED_LINEAR_HEAD, "worker.explainers.cam:cam", "10.1109/CVPR.2016.319"),
    "gradcam": Method(
        "Grad-CAM", GRADIENTS, "worker.explainers.channel_weights:gradcam", "10.1109/ICCV.2017.74"
    ),
    "gradcam_plusplus": Method(
        "Grad-CAM++", GRADIENTS, "worker.explainers.channel_weights:gradcam_plusplus",
        "10.1109/WACV.2018.00097",
    ),
    "hirescam": Method(
        "HiResCAM", GRADIENTS, "worker.explainers.pixel_weights:hirescam", "10.48550/arXiv.2011.08891"
    ),
    "layercam": Method(
        "LayerCAM", GRADIENTS, "worker.explainers.pixel_weights:layercam", "10.1109/TIP.2021.3089943"
    ),
    "xgradcam": Method(
        "XGrad-CAM", GRADIENTS, "worker.explainers.channel_weights:xgradcam", "10.48550/arXiv.2008.02312"
    ),
    "eigencam": Method(
        "Eigen-CAM", ACTIVATIONS, "worker.explainers.eigen:eigencam", "10.1109/IJCNN48605.2020.9206626"
    ),
}  # fmt: skip
