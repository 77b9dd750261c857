"""One readable training loop on Lightning Fabric: render, step, average, validate, save; the same for all networks."""

import copy
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric
from lightning.fabric.loggers.tensorboard import TensorBoardLogger
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn

from s5cli.errors import OutputError, S5Error, UsageError
from s5cli.synth.library import Library
from s5cli.train.card import card
from s5cli.train.data import Batch, ExampleSettings, Scenes, Span, batches, echoed
from s5cli.train.recipe import Recipe, Schedule
from s5cli.train.tasks import Validation, task_of
from s5cli.weights import places
from s5cli.weights.registry import registry

_VALIDATION_SEED = 1_000_003  # no training run uses it


@dataclass(frozen=True)
class RunOptions:
    """What changes how fast a run goes, not what it learns."""

    folder: Path
    devices: int = 1
    accelerator: str = "auto"
    precision: str = "32-true"
    workers: int = 1
    threads: int = 1
    minutes: float | None = None  # stop with a checkpoint after this long
    report: Callable[[str], None] = print


def train(
    recipe: Recipe,
    network: nn.Module,
    library: Library,
    held_out: Library | None,
    options: RunOptions,
    began_as: Sequence[str] = (),
) -> Path:
    """Runs a recipe to its end, or on from the checkpoint in the run's folder; returns the finished weights' path.

    `began_as` is what the network has been, the latest first; the weights and their card carry it on.

    Raises:
        UsageError: the folder holds a run of another recipe, the recipe cannot be run with this network, or there is no
            such accelerator or precision here.
        S5Error: the loss is no longer finite.
    """
    check(recipe, network)
    torch.set_num_threads(options.threads)
    # the official separator stores parameters that it does not use
    strategy = "ddp_find_unused_parameters_true" if options.devices > 1 else "auto"
    try:
        fabric = Fabric(
            accelerator=options.accelerator,
            strategy=strategy,
            devices=options.devices,
            precision=options.precision,  # type: ignore[arg-type]
            loggers=TensorBoardLogger(options.folder, name="tensorboard", version=""),
        )
    except (ValueError, RuntimeError) as error:
        asked = f"accelerator {options.accelerator!r}, devices {options.devices}, precision {options.precision!r}"
        raise UsageError(f"{asked} cannot be had: {str(error).strip().splitlines()[0]}") from error
    fabric.launch()
    if not fabric.is_global_zero:
        options = replace(options, report=lambda line: None)
    fabric.seed_everything(recipe.examples.seed)
    run = Run(recipe, network, fabric, options)
    run.resume()
    validation = validation_batches(recipe, held_out)
    try:
        for batch in run.examples(library):
            run.step(batch.to(fabric.device))
            if run.due(recipe.schedule.validate_steps) and validation:
                with torch.inference_mode():
                    run.log(run.task.validate(run.averaged, [batch.to(fabric.device) for batch in validation]))
            if run.due(recipe.schedule.checkpoint_steps):
                run.save()
            if run.out_of_time():
                break
    except SystemExit as stopped:  # a signal
        stopped.add_note(f"the same command goes on after step {run.saved_steps} of {recipe.schedule.steps}")
        raise
    run.save()
    path = run.export(began_as)
    if fabric.is_global_zero:
        about = card(recipe, run.config, run.done_steps, library, held_out, began_as)
        path.with_suffix(".md").write_text(about, encoding="utf-8")
    return path


def check(recipe: Recipe, network: nn.Module) -> None:
    """Raises UsageError if the recipe asks for something that it or the network cannot give."""
    try:
        problems = list(task_of(recipe.task).problems(recipe, network))
    except UsageError as error:
        problems = [str(error)]
    for problem in (*_out_of_bounds(recipe), *problems):
        raise UsageError(f"recipe {recipe.name}: {problem}")
    if recipe.installs is not None:
        registry().file(recipe.installs)


def _out_of_bounds(recipe: Recipe) -> Iterator[str]:
    most = {"batch_size": 1 << 16, "validation_scenes": 1 << 16}
    for name, number in (vars(recipe.schedule) | {"frame_weight": recipe.frame_weight}).items():
        least = int(name in ("steps", "batch_size", "echo", "checkpoint_steps", "validate_steps"))
        if not least <= number <= most.get(name, 1 << 31):
            yield f"{name} must be at least {least} and at most {most.get(name, 1 << 31)}"


def validation_batches(recipe: Recipe, held_out: Library | None) -> list[Batch]:
    """A few scenes from recordings that training never sees, rendered once."""
    if held_out is None:
        return []
    n = recipe.schedule.validation_scenes
    settings = replace(recipe.scenes, speed_range=(1.0, 1.0), eq_db=0.0, rotate=False)
    dataset = Scenes(settings, held_out, ExampleSettings(seed=_VALIDATION_SEED))
    return list(batches(dataset, Span(0, n), batch_size=1, workers=0))


class Run:
    """Network, optimiser and averaged weights of one run, and where it stands."""

    def __init__(self, recipe: Recipe, network: nn.Module, fabric: Fabric, options: RunOptions) -> None:
        self.recipe, self.fabric, self.options, self.task = recipe, fabric, options, task_of(recipe.task)
        self.task.folder = options.folder
        freeze(network, recipe.trainable)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # faster on CPUs
        s = recipe.schedule
        groups = parameter_groups(network, recipe)
        optimiser = torch.optim.AdamW(groups, lr=s.learning_rate, weight_decay=s.weight_decay)
        self.averaged = copy.deepcopy(network).to(fabric.device).eval().requires_grad_(False)
        self.network, self.optimiser = fabric.setup(network, optimiser)
        self.beginnings = [[p.detach().clone() for p in group["params"]] for group in self.optimiser.param_groups]
        for name in self.task.calls:
            if hasattr(network, name):
                self.network.mark_forward_method(name)
        self.done_steps = self.saved_steps = 0
        self.started_s = time.monotonic()
        self.spoken_s, self.losses = self.started_s, list[float]()

    def examples(self, library: Library) -> Any:
        """The batches that remain."""
        s, n_ranks = self.recipe.schedule, self.fabric.world_size
        per_step = s.batch_size * n_ranks
        first, last = self.done_steps // s.echo, -(-s.steps // s.echo)
        span = Span(first * per_step, last * per_step, self.fabric.global_rank, n_ranks)
        dataset = self.task.examples(self.recipe, library, self.averaged)
        rendered = batches(dataset, span, s.batch_size, self.options.workers)
        left = s.steps - self.done_steps
        return islice(echoed(rendered, s.echo, self.recipe.examples.seed + self.done_steps), left)

    def step(self, batch: Batch) -> None:
        s = self.recipe.schedule
        for group in self.optimiser.param_groups:
            group["lr"] = group["scale"] * learning_rate(self.done_steps, s)
        train_mode(self.network, () if self.recipe.freeze_statistics else self.recipe.trainable)
        with self.fabric.autocast():
            loss = self.task.loss(self.recipe, self.network, batch)
        if not torch.isfinite(loss):
            what = f"loss is {loss.item()} at step {self.done_steps}"
            raise S5Error(f"training {self.recipe.name}: {what}; lower the learning rate")
        self.fabric.backward(loss)
        self.fabric.clip_gradients(self.network, self.optimiser, max_norm=s.clip_norm)
        self.optimiser.step()
        self.pull_back()
        self.optimiser.zero_grad(set_to_none=True)
        self.done_steps += 1
        average(self.averaged, self.network.module, min(s.ema, self.done_steps / (self.done_steps + 10)))
        self.losses.append(loss.item())
        self.fabric.log("loss", self.losses[-1], self.done_steps)
        self.speak()

    @torch.no_grad()
    def pull_back(self) -> None:
        """A step towards the initial weights, decoupled from the gradient as AdamW's decay is.

        Source: L2-SP (Li et al., ICML 2018).
        """
        decay = self.recipe.schedule.pull_back
        for group, beginnings in zip(self.optimiser.param_groups, self.beginnings, strict=True):
            for p, start in zip(group["params"], beginnings, strict=True):
                p.lerp_(start, group["lr"] * decay)

    def due(self, every: int) -> bool:
        return self.done_steps % every == 0 or self.done_steps == self.recipe.schedule.steps

    def out_of_time(self) -> bool:
        if self.options.minutes is None:
            return False
        over = time.monotonic() - self.started_s > 60 * self.options.minutes
        return bool(self.fabric.broadcast(over))  # or devices would wait for one that has left

    def speak(self, every_s: float = 20.0) -> None:
        now = time.monotonic()
        if now - self.spoken_s < every_s and self.done_steps != self.recipe.schedule.steps:
            return
        mean = sum(self.losses) / len(self.losses)
        rate = len(self.losses) / (now - self.spoken_s)
        left_min = (self.recipe.schedule.steps - self.done_steps) / rate / 60
        where = f"step {self.done_steps}/{self.recipe.schedule.steps}"
        self.options.report(f"{where}  loss {mean:.3f}  {rate:.2f} steps/s  {left_min:.0f} min left")
        self.spoken_s, self.losses = now, []

    def log(self, validation: Validation) -> None:
        self.options.report(f"step {self.done_steps}  {validation.line()}")
        for name, value in validation.scores.items():
            self.fabric.log(f"valid/{name}", value, self.done_steps)

    @property
    def config(self) -> dict[str, Any]:
        """The network's own configuration, wherever it came from."""
        config: Any = self.averaged.config
        return asdict(config)

    @property
    def checkpoint(self) -> Path:
        return self.options.folder / "checkpoint.pt"

    @property
    def weights(self) -> Path:
        """Those that come out of it."""
        return self.options.folder / f"{self.recipe.name}.safetensors"

    def save(self) -> None:
        """The whole state, atomically."""
        state = {
            "recipe": self.recipe.name,
            "network": self.network.module.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "steps": self.done_steps,
        }
        if self.fabric.is_global_zero:
            with written(self.checkpoint) as part:
                torch.save(state, part)
        self.saved_steps = self.done_steps
        self.fabric.barrier()

    def resume(self) -> None:
        """Goes on from the folder's checkpoint, if there is one.

        Raises:
            UsageError: the folder holds another run, a checkpoint that cannot be read, or finished weights without any.
        """
        places.make_folder(self.options.folder)
        if not self.checkpoint.exists():
            if self.weights.exists():
                raise UsageError(f"{self.weights} is there, but no checkpoint to go on from; give another -o")
            return
        try:
            state = torch.load(self.checkpoint, map_location=self.fabric.device, weights_only=True)
            begun = state["recipe"]
            if begun == self.recipe.name:
                self.network.module.load_state_dict(state["network"])
                self.averaged.load_state_dict(state["averaged"])
                self.optimiser.load_state_dict(state["optimiser"])
                self.done_steps = self.saved_steps = state["steps"]
        except Exception as error:  # whatever a damaged file, or that of another program, comes to
            reason = str(error).strip().partition("\n")[0].partition(". ")[0] or type(error).__name__
            raise UsageError(f"{self.checkpoint}: no checkpoint of this run ({reason}); give another -o") from error
        if begun != self.recipe.name:
            raise UsageError(
                f"{self.options.folder} holds a run of {begun!r}, not {self.recipe.name!r}; give another -o"
            )
        self.options.report(f"resumed at step {self.done_steps}")

    def export(self, began_as: Sequence[str]) -> Path:
        """The averaged weights as safetensors, float16 where the recipe says so, with their configuration inside."""
        path = self.weights
        if self.fabric.is_global_zero:
            state = {key: value.contiguous() for key, value in self.averaged.state_dict().items()}
            if self.recipe.half:
                state = {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
            metadata = {
                "network": self.recipe.network,
                "config": json.dumps(self.config),
                "recipe": self.recipe.name,
                "steps": str(self.done_steps),
                "began_as": json.dumps(list(began_as)),
            }
            with written(path) as part:
                save_file(state, part, metadata=metadata)
        return path


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """A path beside it that takes its place at the end.

    Raises:
        OutputError: the place cannot be written to or is full, which PyTorch and safetensors tell in their own ways.
    """
    part = path.with_suffix(".part")
    try:
        yield part
        part.replace(path)
    except (OSError, RuntimeError, SafetensorError) as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise OutputError(f"{path}: cannot be written ({reason}); with room there the same command goes on") from error


def learning_rate(step: int, schedule: Schedule) -> float:
    """Linear warm-up, then half a cosine.

    >>> round(learning_rate(0, Schedule(steps=100, batch_size=1, learning_rate=1.0, warmup_steps=10)), 3)
    0.1
    """
    warm = (step + 1) / max(1, schedule.warmup_steps)
    progress = min(1.0, step / schedule.steps)
    return schedule.learning_rate * min(1.0, warm) * 0.5 * (1 + math.cos(math.pi * progress))


def parameter_groups(network: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """What learns, as the optimiser takes it: each group with the scale of its learning rate."""
    groups: dict[float, list[nn.Parameter]] = {}
    for name, p in network.named_parameters():
        if p.requires_grad:
            scale = recipe.schedule.slow_scale if name.startswith(recipe.slow) else 1.0
            groups.setdefault(scale, []).append(p)
    return [{"params": parameters, "scale": scale} for scale, parameters in groups.items()]


def freeze(network: nn.Module, trainable: tuple[str, ...]) -> None:
    """Only parameters whose names begin with one of the prefixes learn."""
    learning = [p for name, p in network.named_parameters() if p.requires_grad and name.startswith(trainable)]
    if not learning:
        raise UsageError(f"no parameter begins with any of {', '.join(map(repr, trainable))}")
    for p in network.parameters():
        p.requires_grad_(False)
    for p in learning:
        p.requires_grad_(True)


def train_mode(network: nn.Module, trainable: tuple[str, ...]) -> None:
    """Training mode, but only modules under one of the prefixes change their batch statistics."""
    inner = getattr(network, "module", network)
    network.train()
    for name, module in inner.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and not name.startswith(trainable):
            module.eval()


@torch.no_grad()
def average(averaged: nn.Module, network: nn.Module, decay: float) -> None:
    """Exponential moving average of everything floating, counters copied."""
    for mean, now in zip(averaged.state_dict().values(), network.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(now, 1 - decay)
        else:
            mean.copy_(now)
