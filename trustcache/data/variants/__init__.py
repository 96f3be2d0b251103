"""Variants: transformations of images, made on the fly where no files of them exist."""
