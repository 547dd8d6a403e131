"""Map methods: from a trained network and a batch of images to maps."""
