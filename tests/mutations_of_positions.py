"""Mistakes in positions, and in parts of each modality, that the tests must see."""

from __future__ import annotations

from mutations import Mutant

ROTARY = "tests/nn/test_rotary.py"
LEARNED = "tests/nn/test_learned_positions.py"
RELATIVE = "tests/nn/test_relative_positions.py"
MIXED = "tests/nn/test_per_modality_positions.py"
MODALITY = "tests/nn/test_modality.py"
POSITIONS = "tests/nn/test_positions.py"

POSITION_MUTANTS = (
    Mutant(
        "stretched: YaRN's ramp turned around",
        "nn/positions/scaling.py",
        "turns * (1 - slow) + turns / self.factor * slow",
        "turns * slow + turns / self.factor * (1 - slow)",
        (ROTARY,),
    ),
    Mutant(
        "stretched: YaRN without its factor on scores",
        "nn/positions/scaling.py",
        "0.1 * math.log(config.factor) + 1.0",
        "1.0",
        (ROTARY,),
    ),
    Mutant(
        "stretched: NTK stretches the fastest wave, too",
        "nn/positions/scaling.py",
        "return turns * self.factor**-steps",
        "return turns / self.factor**0.5 * self.factor**-steps",
        (ROTARY,),
    ),
    Mutant(
        "resized: corners are aligned",
        "nn/positions/bicubic.py",
        "(place.to(wide) + 0.5) * (extent / size.to(wide)) - 0.5",
        "place.to(wide) * ((extent - 1) / (size.to(wide) - 1).clamp_min(1))",
        (LEARNED,),
    ),
    Mutant(
        "resized: one size for the whole batch",
        "nn/positions/learned.py",
        "sizes = pos.amax(1) + 1",
        "sizes = (pos.amax(1) + 1).amax(0, keepdim=True).expand(len(pos), -1)",
        (LEARNED,),
    ),
    Mutant(
        "relative: key and query the other way round",
        "nn/positions/base.py",
        "others[:, None] - own[:, :, None]",
        "own[:, :, None] - others[:, None]",
        (RELATIVE,),
    ),
    Mutant(
        "relative: a causal table is two-sided",
        "nn/positions/relative_bias.py",
        "not heads.causal or places.axes > 1",
        "True",
        (RELATIVE,),
    ),
    Mutant(
        "relative: both axes of a picture share a table",
        "nn/positions/relative_bias.py",
        "starts = config.num_buckets * torch.arange(places.axes)",
        "starts = 0 * torch.arange(places.axes)",
        (RELATIVE,),
    ),
    Mutant(
        "relative: keys are not cut at the longest distance",
        "nn/positions/relative_key.py",
        ".clamp(-self.reach, self.reach) + self.reach",
        " + self.reach",
        (RELATIVE,),
    ),
    Mutant(
        "alibi: other slopes where heads are no power of two",
        "nn/positions/alibi.py",
        "dtype=torch.float32) + 0.5",
        "dtype=torch.float32) + 1.5",
        (RELATIVE,),
    ),
    Mutant(
        "by modality: a bias between two towers",
        "nn/positions/per_modality.py",
        "mine[:, None, :, None] & theirs[:, None, None, :]",
        "mine[:, None, :, None] | theirs[:, None, None, :]",
        (MIXED,),
    ),
    Mutant(
        "by modality: pictures stand at their place in the sequence",
        "nn/positions/per_modality.py",
        "pos = torch.where(mine[..., None], grid, 0)",
        "pos = torch.where(mine[..., None], mine.cumsum(-1)[..., None], 0).expand_as(grid)",
        (MIXED,),
    ),
    Mutant(
        "by modality: results in the order of the parts",
        "nn/modality.py",
        "torch.cat(rows), torch.cat(made)",
        "torch.cat(rows).sort().values, torch.cat(made)",
        (MODALITY,),
    ),
    Mutant(
        "places: a cache forgets which tower keys are from",
        "cache.py",
        "self._modality = self._kept(self._modality, info.modality, batch, places)",
        "self._modality = None if info.modality is None else torch.zeros(1, self.max_len).long()",
        (MIXED,),
    ),
    Mutant(
        "places: chosen rows keep the places of others",
        "cache.py",
        "fact if fact is None or (len(fact) == 1 and not self.static) else fact.index_select(0, rows)",
        "fact if fact is None or len(fact) == 1 else fact[torch.zeros_like(rows)]",
        (MIXED,),
    ),
    Mutant(
        "places: a bias is made again in every layer",
        "nn/mechanisms/softmax.py",
        "return mask.once(key, lambda: biased(bias(q), added, triangle))",
        "return biased(bias(q), added, triangle)",
        (POSITIONS,),
    ),
)
