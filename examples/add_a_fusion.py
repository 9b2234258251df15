"""A fusion of your own: the product of the towers' vectors, chosen by name, and held to the contract of all fusions."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

import patchword
from patchword.config import VectorFusionConfig, implements
from patchword.nn.fusion import VectorFusion, where_there
from patchword.testing import check_fusion


class ProductFusionConfig(VectorFusionConfig, kind="product"):
    """prod_m (1 + map_m(v_m)): a tower that a sample lacks is a factor of 1."""


@implements(ProductFusionConfig)
class ProductFusion(VectorFusion):
    def __init__(self, config: ProductFusionConfig, dims: Mapping[str, int], dim: int) -> None:
        super().__init__(config, dims, dim)
        self.maps = nn.ModuleList(nn.Linear(width, dim) for width in dims.values())

    def mix(self, vectors: list[Tensor], there: Tensor) -> Tensor:
        mapped = [m(v) for m, v in zip(self.maps, vectors, strict=True)]
        return torch.stack(where_there(mapped, there)).add(1).prod(0)


if __name__ == "__main__":
    print("obeys:", *check_fusion(ProductFusionConfig))
    towers = {"image": {"kind": "image"}, "question": {"kind": "text", "vocab_size": 100}}
    answers = {"kind": "label", "num_classes": 10}
    model = patchword.create_model(
        {"towers": towers, "fusion": "product", "trunk": {"depth": 1}, "heads": {"answer": answers}}
    )
    out = model({"image": torch.rand(2, 3, 64, 64), "question": torch.randint(0, 100, (2, 7))})
    print("answers:", list(out.heads["answer"].shape))
