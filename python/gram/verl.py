"""verl's custom reward functions, in process: custom_reward_function.path=.../gram/verl.py with GRAM_JUDGE naming a
model.

compute_score gives one response its preference over ground_truth, the reference answer (a judge), or the reward head's
number; compute_score_batch does it for many at once."""
from gram.client import _reference
from gram.model import GramError, from_environment


def _prompt(extra_info):
    for name in ("raw_prompt", "prompt", "question"):
        if extra_info and extra_info.get(name) is not None:
            p = extra_info[name]
            return p if isinstance(p, str) else list(p)
    raise GramError("extra_info holds no raw_prompt, prompt or question", "EARG")


def _reward(model, prompt, solution):
    r = model.rewards(prompt, [solution])
    if r.error[0]:                      # verl would learn from a NaN
        raise GramError(r.error[0], "EARG")
    return float(r[0])


def compute_score_batch(data_sources, solution_strs, ground_truths, extra_infos, **_):
    model, prompts = from_environment(), [_prompt(e) for e in extra_infos]
    if model.head != "vocabulary":
        return [_reward(model, p, s) for p, s in zip(prompts, solution_strs)]
    if any(g is None for g in ground_truths):
        raise GramError("this judge compares: it needs a ground_truth, the reference answer", "EARG")
    v = model.score_pairs([(p, s, _reference(g, "EARG")) for p, s, g in zip(prompts, solution_strs, ground_truths)])
    return [float(x) for x in v.preference]


def compute_score(data_source, solution_str, ground_truth, extra_info=None, **_):
    return compute_score_batch([data_source], [solution_str], [ground_truth], [extra_info])[0]
