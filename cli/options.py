"""Options that several commands take: the model, and the machine it works on."""

from __future__ import annotations

from typing import Annotated

import typer

Classifier = Annotated[
    str,
    typer.Option(
        help="vit, resnet, cifar-resnet32, cifar-vgg16, mnist-convnet, any timm model, or package.module:function."
    ),
]
ModelArg = Annotated[list[str] | None, typer.Option(help="KEY=VALUE for the model's builder; may be repeated.")]
Preprocess = Annotated[
    list[str] | None,
    typer.Option(help="Replace part of the model's preprocessing, as in mean=0.5,0.5,0.5; may be repeated."),
]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1 …; auto takes the GPU where there is one.")]
Workers = Annotated[int, typer.Option(min=0, help="Decoding processes; 0 decodes in this one.")]
