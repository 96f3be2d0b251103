"""Built-in models, beside those of timm."""
