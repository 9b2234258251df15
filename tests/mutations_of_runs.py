"""More mistakes that the tests must see: in data, losses, metrics and training."""

from __future__ import annotations

from mutations import Mutant

SAMPLER = "tests/data/test_sampler.py"
LOADER = "tests/data/test_loader.py"
PICTURES = ("tests/data/test_image_decode.py", "tests/data/test_image_augment.py")
SOURCES = "tests/data/test_sources.py"
LOSSES = "tests/tasks/test_losses.py"
METRICS = "tests/tasks/test_metrics.py"
RESUME = "tests/training/test_resume.py"
LEARNER = "tests/training/test_learner.py"
CHECKPOINT = "tests/training/test_checkpoint.py"
TRAINER = "tests/training/test_trainer.py"
OPTIM = "tests/training/test_optim.py"
BAD = "tests/training/test_bad_samples.py"

RUN_MUTANTS = (
    # ------------------------------------------------------------------ data
    Mutant(
        "data: every epoch has the same order",
        "data/sampler.py",
        "np.random.SeedSequence([self.seed, epoch, stream])",
        "np.random.SeedSequence([self.seed, 0, stream])",
        (SAMPLER,),
    ),
    Mutant(
        "data: a batch is read twice at each epoch's end",
        "data/loader.py",
        "Position(epoch, i + 1) if i + 1 < len(batches)",
        "Position(epoch, i + 1) if i < len(batches)",
        (LOADER,),
    ),
    Mutant(
        "data: augmentation forgets the epoch",
        "data/augment.py",
        "np.random.default_rng((_STREAM, seed, epoch, index))",
        "np.random.default_rng((_STREAM, seed, 0, index))",
        PICTURES,
    ),
    Mutant(
        "data: the seed of the split is ignored",
        "data/splits.py",
        'f"{config.seed}/{name}"',
        'f"0/{name}"',
        (SOURCES,),
    ),
    Mutant(
        "data: transparent parts show black",
        "data/decode.py",
        'Image.new("RGBA", image.size, "white")',
        'Image.new("RGBA", image.size, "black")',
        PICTURES,
    ),
    # ------------------------------------------------------------------ tasks
    Mutant(
        "loss: smoothing is not in the gradient",
        "tasks/losses.py",
        "grad -= smoothing / vocab",
        "grad -= 0.0",
        (LOSSES,),
    ),
    Mutant(
        "loss: only the last chunk reaches the map",
        "tasks/losses.py",
        "grad_weight.addmm_(grad.T.to(weight.dtype), x[rows].to(weight.dtype))",
        "grad_weight.addmm_(grad.T.to(weight.dtype), x[rows].to(weight.dtype), beta=0)",
        (LOSSES,),
    ),
    Mutant(
        "metrics: CIDEr-D does not clip",
        "tasks/metrics/cider.py",
        "min(weight, other) * other",
        "weight * other",
        (METRICS,),
    ),
    # ------------------------------------------------------------------ training
    Mutant(
        "resume: the data begins again",
        "training/session.py",
        "run.data.workers, device, state.position)",
        "run.data.workers, device)",
        (RESUME,),
    ),
    Mutant(
        "resume: random numbers begin again",
        "training/checkpoint.py",
        'torch.set_rng_state(state["cpu"])',
        "pass",
        (RESUME,),
    ),
    Mutant(
        "resume: the running mean begins again",
        "training/learner.py",
        'self.ema.load(load_tensors(folder / "ema.safetensors"))',
        "pass",
        (RESUME,),
    ),
    Mutant(
        "resume: lines after the checkpoint stay",
        "training/log.py",
        "self._file.truncate(size)",
        "pass",
        (RESUME,),
    ),
    Mutant(
        "checkpoint: damage goes unnoticed",
        "training/files.py",
        "if _sha256(folder / name) != expected:",
        "if not expected:",
        (CHECKPOINT,),
    ),
    Mutant(
        "checkpoint: the oldest are kept",
        "training/checkpoint.py",
        "self.all()[: -self.keep]",
        "self.all()[self.keep :]",
        (CHECKPOINT,),
    ),
    Mutant(
        "steps: accumulated batches weigh alike, whatever is in them",
        "training/learner.py",
        "(first / count.clamp_min(1)).float()",
        "torch.tensor(1.0 / len(batches))",
        (LEARNER,),
    ),
    Mutant(
        "steps: the best evaluation is the worst",
        "training/evaluate.py",
        "value < old[self.metric] if",
        "value > old[self.metric] if",
        (TRAINER,),
    ),
    Mutant(
        "steps: the running mean is not what is judged",
        "training/learner.py",
        "with self.ema.applied() if self.ema is not None else nullcontext(), merged(self.model):",
        "with merged(self.model):",
        (LEARNER, TRAINER),
    ),
    Mutant(
        "steps: no warm-up",
        "training/schedule.py",
        "min(1.0, step / self.warmup) if self.warmup else 1.0",
        "1.0",
        (OPTIM,),
    ),
    Mutant(
        "bad samples: any share is allowed",
        "training/bad_samples.py",
        "self.count > self.config.max_share * self.read",
        "self.count > self.read",
        (BAD,),
    ),
)
