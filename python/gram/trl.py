"""What TRL's trainers take: a reward function that judges in process, and a model-shaped wrapper.

    from gram.trl import reward_function, RewardModel
    GRPOTrainer(..., reward_funcs=[reward_function("my-judge")])                    # a judge or a reward model
    GRPOTrainer(..., reward_funcs=[RewardModel("my-reward-model")], reward_processing_classes=[tokenizer])
"""
import math

from gram.client import _runs
from gram.model import Model, _settled

__all__ = ["reward_function", "RewardModel"]


def reward_function(judge, reference_column=None, scheme=None, unit=None, lambda_=None, **options):
    """A reward function for GRPO, RLOO and the like. judge: a gram.Model, or a path, opened here with `options`. A
    prompt's completions stand side by side; a judge measures them against each other, both orders (or each against the
    data set's column of reference answers), a reward head or a judge of one answer (pointwise) each by itself. None,
    TRL's "not applicable", is given for a completion that cannot be judged, and where a judge that compares has one
    alone, with nothing to compare it with."""
    if isinstance(judge, Model):
        _settled("the judge", options)
    model = judge if isinstance(judge, Model) else Model(judge, **options)

    def gram_reward(prompts, completions, **columns):
        references = columns[reference_column] if reference_column else [None] * len(prompts)
        compares, out = model.head == "vocabulary" and not model._pointwise, []
        for start, end in _runs(list(zip(prompts, references))):
            if compares and references[start] is None and end - start < 2:
                out.extend([None] * (end - start))
                continue
            r = model.rewards(prompts[start], completions[start:end], scheme=scheme, unit=unit,
                              reference=references[start], lambda_=lambda_)
            out.extend(None if math.isnan(x) else float(x) for x in r)
        return out

    gram_reward.__name__ = "gram_reward"
    return gram_reward


def _classes():
    import torch
    from transformers import PretrainedConfig, PreTrainedModel
    from transformers.modeling_outputs import SequenceClassifierOutputWithPast

    class GramRewardModel(PreTrainedModel):
        """A reward model of gram's where a transformers model is asked for: forward() gives logits [n, 1], the reward
        head's number of each text. The ids are decoded and read by gram's own tokenizer, so the trainer's must be the
        checkpoint's. It is not trained and moves to no device."""
        config_class = PretrainedConfig
        base_model_prefix = "model"
        main_input_name = "input_ids"
        _supports_sdpa = _supports_flash_attn = _supports_flex_attn = True

        def __init__(self, path, tokenizer=None, **options):
            if isinstance(path, Model):
                _settled("the model", options)
            super().__init__(PretrainedConfig(num_labels=1, name_or_path=str(path)))
            self._gram = path if isinstance(path, Model) else Model(path, **options)
            self._tokenizer = tokenizer
            self.register_buffer("place", torch.zeros(()), persistent=False)

        def _texts(self, input_ids, attention_mask):
            keep = attention_mask.bool() if attention_mask is not None else torch.ones_like(input_ids).bool()
            rows = [row[m] for row, m in zip(input_ids, keep)]
            if self._tokenizer is None:
                return [self._gram.detokenize(row.tolist()) for row in rows]
            return [self._tokenizer.decode(row, skip_special_tokens=False, clean_up_tokenization_spaces=False)
                    for row in rows]

        @torch.no_grad()
        def forward(self, input_ids=None, attention_mask=None, **_):
            rewards = self._gram.text_rewards(self._texts(input_ids, attention_mask))
            return SequenceClassifierOutputWithPast(
                logits=torch.tensor(rewards, dtype=torch.float32, device=input_ids.device).unsqueeze(1))

    return GramRewardModel


def RewardModel(path, tokenizer=None, **options):
    """A PreTrainedModel whose forward() is gram's reward head; see GramRewardModel."""
    return _classes()(path, tokenizer, **options)
