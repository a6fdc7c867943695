"""The explanation methods: pure functions from feature maps, gradients and weights to attributions."""
