"""OpenRLHF's custom reward function, in process: --remote_rm_url .../gram/openrlhf.py with GRAM_JUDGE naming a reward
model.

The queries are texts that OpenRLHF rendered with the checkpoint's own template; they are read as they stand. A judge
that compares answers needs them side by side: `gram serve` and gram/client.py do that."""
import os

_model = None


def _judge():
    global _model
    if _model is None:
        from gram.model import GramError, Model
        if not os.environ.get("GRAM_JUDGE"):
            raise GramError("GRAM_JUDGE names no reward model", "EARG")
        _model = Model(os.environ["GRAM_JUDGE"])
        if _model.head == "vocabulary":
            raise GramError(f"{_model.path}: this judge compares answers, and OpenRLHF shows one at a time: start "
                            "`gram serve` and give gram/client.py", "EUNSUPPORTED")
    return _model


def reward_func(queries, prompts, labels, **_):
    import torch
    rewards = torch.tensor(_judge().text_rewards(list(queries)), dtype=torch.float32)
    return {"rewards": rewards, "scores": rewards, "extra_logs": {"gram_reward": rewards}}
