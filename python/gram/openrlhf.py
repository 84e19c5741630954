"""OpenRLHF's custom reward function, in process: --remote_rm_url .../gram/openrlhf.py with GRAM_JUDGE naming a reward
model.

The queries are texts that OpenRLHF rendered with the checkpoint's own template; they are read as they stand. A judge
that compares answers needs them side by side: `gram serve` and gram/client.py do that."""
from gram.model import GramError, from_environment


def reward_func(queries, prompts, labels, **_):
    import torch
    model = from_environment()
    if model.head == "vocabulary":
        raise GramError(f"{model.path}: this judge compares answers, and OpenRLHF shows one at a time: start "
                        "`gram serve` and give gram/client.py", "EUNSUPPORTED")
    rewards = torch.tensor(model.text_rewards(list(queries)), dtype=torch.float32)
    return {"rewards": rewards, "scores": rewards, "extra_logs": {"gram_reward": rewards}}
