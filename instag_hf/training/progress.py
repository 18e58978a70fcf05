"""One line of progress on stderr: steps, loss and the time left."""

import sys
from typing import Any


def progress_bar() -> Any:
    """Make a callback for a Trainer that shows one bar; its loss is the mean of the last steps."""
    import transformers
    from tqdm import tqdm

    class ProgressBar(transformers.TrainerCallback):
        """Follows a Trainer's events."""

        bar: Any = None

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.bar = tqdm(
                total=state.max_steps,
                initial=state.global_step,
                unit="step",
                desc="training",
                file=sys.stderr,
                disable=not state.is_world_process_zero,
            )

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.bar.update(state.global_step - self.bar.n)

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
            for name, shown in (("loss", "loss"), ("eval_loss", "dev")):
                if logs and name in logs:
                    self.shown = {**getattr(self, "shown", {}), shown: f"{float(logs[name]):.3f}"}
                    self.bar.set_postfix(self.shown)

        def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.bar.close()

    return ProgressBar()
